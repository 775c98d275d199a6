"""What was sent leaves the outbox a moment later, whatever befalls the database meanwhile."""

import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline import db
from pipeline.records import intake, results
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.uid import new_id
from workers.sent import Sent, of

DEADLINE_S = 60.0


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A database with all tables."""
    settings = Settings(data_dir=tmp_path)
    db.upgrade(settings)
    return db.engine(settings)


def announced(engine: Engine, count: int) -> list[str]:
    job = intake.open_job(engine, "api", Priority.ROUTINE)
    arrivals = [intake.Arrival(new_id(), "a.png", sha256="0" * 64) for _ in range(count)]
    return [nudge.id for nudge in intake.admit(engine, job, arrivals, "prepare", 1, 60.0)[1]]


def until(met: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not met():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_what_was_sent_leaves_the_outbox_and_nothing_else(engine: Engine) -> None:
    first, second, kept = announced(engine, 3)
    sent = Sent(engine, gather_s=0.0)
    sent.add([first])
    sent.add([])
    sent.add([second])
    until(lambda: results.unsent(engine) == 1)
    intake.sent(engine, [kept])
    assert results.unsent(engine) == 0


def test_what_comes_close_together_goes_in_one_transaction(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, seen, real = announced(engine, 4), [], intake.sent
    sent = Sent(engine, gather_s=0.2)

    def note(engine: Engine, nudge_ids: Sequence[str]) -> None:
        seen.append(nudge_ids)
        real(engine, nudge_ids)

    monkeypatch.setattr(intake, "sent", note)
    for image_id in ids:
        sent.add([image_id])
    until(lambda: results.unsent(engine) == 0)
    assert sorted(chain.from_iterable(seen)) == sorted(ids)
    assert len(seen) < len(ids)


def test_an_error_leaves_rows_to_the_reconciler_and_the_thread_alive(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, taken = announced(engine, 2)
    real, failed = intake.sent, []

    def fail_once(engine: Engine, nudge_ids: Sequence[str]) -> None:
        if not failed:
            failed.append(nudge_ids)
            raise RuntimeError("no database")
        real(engine, nudge_ids)

    monkeypatch.setattr(intake, "sent", fail_once)
    sent = Sent(engine, gather_s=0.0)
    sent.add([lost])
    until(lambda: bool(failed))
    sent.add([taken])
    until(lambda: results.unsent(engine) == 1)


def test_a_process_has_one_for_each_database(engine: Engine) -> None:
    assert of(engine) is of(engine)
