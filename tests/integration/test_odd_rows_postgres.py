"""What SQLite bears and PostgreSQL does not: long keys, odd values, lost words, idle sessions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from secrets import token_hex
from traceback import format_exception
from typing import Any, cast

import pytest
from psycopg import OperationalError
from sqlalchemy import Connection, Engine, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from models.catalogue import STAGES
from pipeline import db, verify
from pipeline.context import Context
from pipeline.dicom.header import facts
from pipeline.dispatch import Dispatcher
from pipeline.flow import PREPARE, Step
from pipeline.records import claims, intake
from pipeline.records.claims import Outcome
from pipeline.records.intake import Arrival
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.storage import ObjectRef, ObjectStore, StorageError
from pipeline.tables import images, jobs
from pipeline.uid import new_id
from tests.faults.plant import IN_TRANSACTION
from tests.stand_in.databases import Databases
from tests.stand_in.dicom_peer import radiograph
from tests.stand_in.finished import FinishedJob, MemoryStore
from tests.unit.pipeline.api.memory import Broker

LEASE_S = 600.0


@pytest.fixture
def engine(postgres_databases: Databases) -> Iterator[Engine]:
    """A database with all tables."""
    with postgres_databases.fresh(migrated=True) as url:
        yield db.engine_of(url)


@pytest.fixture
def job(engine: Engine) -> str:
    return intake.open_job(engine, "cli", Priority.BULK)


@contextmanager
def lost_answers(engine: Engine) -> Iterator[list[int]]:
    """Each thing that is written is committed, and the first time nobody hears of it."""
    real, lost = engine.dialect.do_commit, [0]

    def commit(connection: Any) -> None:
        real(connection)
        if lost[-1] == 0:
            lost[-1] = 1
            connection.driver_connection.close()
            raise OperationalError("server closed the connection unexpectedly")
        lost.append(0)

    engine.dialect.do_commit = commit  # type: ignore[method-assign]
    yield lost
    del engine.dialect.do_commit
    lost.pop()


def admit(engine: Engine, job: str, *arrivals: Arrival) -> set[str]:
    return intake.admit(engine, job, arrivals, PREPARE, 16, LEASE_S)[0]


def test_the_longest_path_of_linux_is_a_key(engine: Engine, job: str) -> None:
    """An entry of PostgreSQL's index has 2,704 bytes at most."""
    folders = "/".join(token_hex(112) for _ in range(18))  # 4,049 bytes that do not compress
    first, second = (Arrival(new_id(), name, f"/{folders}/{name}") for name in ("a", "b"))
    assert admit(engine, job, first, second) == {first.id, second.id}
    keys = [str(first.once_key), str(second.once_key), "/another"]
    assert intake.known_keys(engine, job, keys) == set(keys[:2])
    assert admit(engine, job, Arrival(new_id(), "a", first.once_key)) == set()


def test_a_commit_whose_answer_got_lost_is_not_made_twice(engine: Engine) -> None:
    """The server has committed, the line breaks: what is tried again finds its own rows."""
    with lost_answers(engine) as lost:
        job = intake.open_job(engine, "api", Priority.ROUTINE)
        arrival = Arrival(new_id(), "a.png", sha256="0" * 64)
        taken = admit(engine, job, arrival)
    assert lost == [1, 1]
    assert taken == {arrival.id}
    with engine.connect() as connection:
        for table in (jobs, images):
            count = select(func.count()).select_from(table)
            assert connection.execute(count).scalar_one() == 1


class Watched(MemoryStore):
    """A storage that looks, whenever it is asked, for sessions that wait in a transaction."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        self.open: list[int] = []

    def get_many(self, refs: Sequence[ObjectRef]) -> list[bytes | StorageError]:
        with self.engine.connect() as connection:
            self.open.append(connection.execute(text(IN_TRANSACTION)).scalar_one())
        return super().get_many(refs)


def test_no_transaction_is_open_while_the_promises_are_checked_at_the_storage(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends what waits in a transaction for 20 s, and a storage may take longer."""
    monkeypatch.setattr(verify, "BATCH", 2)
    store = Watched(engine)
    finished = FinishedJob(engine, store, intake.open_job(engine, "api", Priority.ROUTINE))
    for number in range(5):
        finished.chest(f"{number}.png")
    broker = cast(Dispatcher, Broker())
    context = Context(Settings(), engine, cast(ObjectStore, store), broker, STAGES)
    assert [v for v in verify.violations(context) if v.promise != "I4"] == []
    assert sum(store.asked) == 5 + 15, "prepared images and heatmaps, each once"
    assert len(store.asked) == 3 + 8
    assert set(store.open) == {0}


def test_the_words_of_an_error_quote_no_row(engine: Engine, job: str) -> None:
    """The server quotes keys, and whole rows; errors end in logs, and a path may name a patient."""
    secret = token_hex(8)
    query = insert(images).values(job_id=job, priority=9, state=State.DONE, created_at=0.0)
    query = query.values(size_bytes=0, attempts=0, once_key=secret)
    db.write(engine, lambda connection: connection.execute(query.values(id="1", name=secret)))
    doubled, nameless = query.values(id="2", name=secret), query.values(id="3")
    for wrong in (doubled, nameless):
        with pytest.raises(IntegrityError) as caught:
            db.write(engine, partial(Connection.execute, statement=wrong))
        words = "".join(format_exception(caught.value))
        assert "constraint" in words
        assert secret not in words


def test_numbers_beyond_all_bounds_are_left_out_of_a_header(engine: Engine, job: str) -> None:
    dataset = radiograph(1)
    dataset.ImagerPixelSpacing = ["1e999", "0.1"]
    dataset.PixelSpacing = ["0.2", "0.2"]
    header = dict(facts(dataset))
    assert "imager_pixel_spacing" not in header
    assert header["pixel_spacing"] == (0.2, 0.2)
    arrival = Arrival(new_id(), "a.dcm", sha256="0" * 64)
    admit(engine, job, arrival)
    held = claims.claim(engine, PREPARE, [arrival.id], LEASE_S, "w", 3)
    outcome = Outcome(held[0], Step(State.PREPARED, "gate"), {"header": header})
    assert len(claims.complete(engine, PREPARE, [outcome], 16, LEASE_S)) == 1
