"""The one decision on trying again, as a table; and the loop around it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import psycopg
import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st

from pipeline.retry import (
    ErrorKind,
    GiveUp,
    Policy,
    Retry,
    call,
    classify_database,
    decide,
)

POLICY = Policy(attempts=5, base_s=1.0, cap_s=6.0, total_s=100.0)


@pytest.mark.parametrize(
    ("kind", "attempt", "expected"),
    [
        (ErrorKind.UNAVAILABLE, 1, Retry(1.0)),
        (ErrorKind.UNAVAILABLE, 2, Retry(2.0)),
        (ErrorKind.UNAVAILABLE, 3, Retry(4.0)),
        (ErrorKind.UNAVAILABLE, 4, Retry(6.0)),  # the cap
        (ErrorKind.UNAVAILABLE, 5, GiveUp(ErrorKind.UNAVAILABLE)),
        (ErrorKind.LOCKED, 4, Retry(6.0)),
        (ErrorKind.LOCKED, 5, GiveUp(ErrorKind.LOCKED)),
        (ErrorKind.MISSING, 2, Retry(2.0)),
        (ErrorKind.MISSING, 3, GiveUp(ErrorKind.MISSING)),
        (ErrorKind.CORRUPT, 2, Retry(2.0)),
        (ErrorKind.CORRUPT, 3, GiveUp(ErrorKind.CORRUPT)),
        (ErrorKind.FULL, 1, Retry(1.0)),
        (ErrorKind.FULL, 2, GiveUp(ErrorKind.FULL)),
        (ErrorKind.REFUSED, 1, GiveUp(ErrorKind.REFUSED)),
        (ErrorKind.PERMANENT, 1, GiveUp(ErrorKind.PERMANENT)),
    ],
)
def test_decision(kind: ErrorKind, attempt: int, expected: Retry | GiveUp) -> None:
    assert decide(kind, attempt, POLICY) == expected


def test_the_policy_may_be_less_patient_than_the_kind() -> None:
    assert decide(ErrorKind.MISSING, 1, Policy(attempts=1)) == GiveUp(ErrorKind.MISSING)


def test_no_try_is_begun_when_the_time_is_over() -> None:
    assert decide(ErrorKind.UNAVAILABLE, 1, POLICY, elapsed_s=99.5) == GiveUp(ErrorKind.UNAVAILABLE)


@given(
    kind=st.sampled_from(ErrorKind),
    attempt=st.integers(1, 100),
    jitter=st.floats(0, 1),
    elapsed_s=st.floats(0, 1e6),
)
def test_a_pause_is_never_negative_nor_beyond_the_cap(
    kind: ErrorKind, attempt: int, jitter: float, elapsed_s: float
) -> None:
    step = decide(kind, attempt, POLICY, jitter=jitter, elapsed_s=elapsed_s)
    if isinstance(step, Retry):
        assert 0.0 <= step.delay_s <= POLICY.cap_s
        assert elapsed_s + step.delay_s <= POLICY.total_s
        assert attempt < POLICY.attempts


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


def test_call_returns_the_first_success() -> None:
    clock, answers = Clock(), iter([OSError(), OSError(), "done"])

    def work() -> object:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    done = call(work, lambda _: ErrorKind.UNAVAILABLE, POLICY, sleep=clock.sleep, clock=clock)
    assert done == "done"
    assert len(clock.sleeps) == 2
    assert all(pause <= most for pause, most in zip(clock.sleeps, (1.0, 2.0), strict=True))


def test_call_raises_the_last_error() -> None:
    clock, errors = Clock(), iter([OSError("first"), OSError("last")])

    def work() -> NoReturn:
        raise next(errors)

    with pytest.raises(OSError, match="last"):
        call(work, lambda _: ErrorKind.FULL, POLICY, sleep=clock.sleep, clock=clock)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[sqlalchemy.exc.DBAPIError]:
    path = tmp_path / "x.sqlite3"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    yield caught.value
    holder.close()
    engine.dispose()


def test_a_locked_sqlite_file(locked: sqlalchemy.exc.DBAPIError) -> None:
    assert classify_database(locked) is ErrorKind.LOCKED


def test_a_wrong_statement_is_permanent() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught, engine.connect() as connection:
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
    engine.dispose()
    assert classify_database(caught.value) is ErrorKind.PERMANENT


def postgres_error(kind: type[psycopg.Error]) -> sqlalchemy.exc.DBAPIError:
    return sqlalchemy.exc.OperationalError("SELECT 1", {}, kind("words"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError, ErrorKind.UNAVAILABLE),  # could not connect: no SQLSTATE
        (psycopg.errors.AdminShutdown, ErrorKind.UNAVAILABLE),
        (psycopg.errors.CannotConnectNow, ErrorKind.UNAVAILABLE),
        (psycopg.errors.TooManyConnections, ErrorKind.UNAVAILABLE),
        (psycopg.errors.SerializationFailure, ErrorKind.LOCKED),
        (psycopg.errors.DeadlockDetected, ErrorKind.LOCKED),
        (psycopg.errors.LockNotAvailable, ErrorKind.LOCKED),
        (psycopg.errors.DiskFull, ErrorKind.FULL),
        (psycopg.errors.InvalidPassword, ErrorKind.REFUSED),
        (psycopg.errors.InvalidCatalogName, ErrorKind.REFUSED),
        (psycopg.errors.UniqueViolation, ErrorKind.PERMANENT),
        (psycopg.errors.SyntaxError, ErrorKind.PERMANENT),
    ],
)
def test_postgres_errors(error: type[psycopg.Error], expected: ErrorKind) -> None:
    assert classify_database(postgres_error(error)) is expected


def test_other_errors() -> None:
    lost = sqlalchemy.exc.DBAPIError("SELECT 1", {}, Exception(), connection_invalidated=True)
    assert classify_database(lost) is ErrorKind.UNAVAILABLE
    assert classify_database(sqlalchemy.exc.TimeoutError()) is ErrorKind.UNAVAILABLE
    assert classify_database(ValueError()) is ErrorKind.PERMANENT
    wrong_use = sqlalchemy.exc.ProgrammingError("SELECT", {}, SimpleNamespace())  # type: ignore[arg-type]
    assert classify_database(wrong_use) is ErrorKind.PERMANENT
