"""Many that scan the same rows of PostgreSQL: nobody takes a row twice, nobody waits for another.

SQLite has one write transaction at a time, so there is nothing of this kind to see there.
"""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import Engine, Table, select, text, update

from pipeline import db
from pipeline.flow import PREPARE
from pipeline.records import claims, deliveries, intake, overdue
from pipeline.records.intake import Arrival
from pipeline.states import Priority
from pipeline.tables import deliveries as sendings
from pipeline.tables import images, outbox
from pipeline.uid import new_id
from tests.stand_in.databases import Databases

T = TypeVar("T")
TOGETHER = 6
COUNT = 48
LEASE_S = 600.0
CAP = 3


@pytest.fixture
def engine(postgres_databases: Databases) -> Iterator[Engine]:
    """A database with all tables, and a pool in which many find a connection."""
    with postgres_databases.fresh(migrated=True) as url:
        yield db.engine_of(url)


def together(work: Callable[[int], T]) -> list[T]:
    """What each of several threads gets that begin at the same moment."""
    barrier = Barrier(TOGETHER)

    def begun(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(TOGETHER) as threads:
        return list(threads.map(begun, range(TOGETHER)))


@contextmanager
def locked(engine: Engine, table: Table, column: str, value: str) -> Iterator[None]:
    """Rows that somebody else has in hand and has not committed.

    Who waits for them waits until the server ends that transaction as idle, and then finds rows
    that are his: what a test says of the answer does not hold.
    """
    query = select(table).where(table.c[column] == value).with_for_update()
    with engine.connect() as connection:
        connection.execute(query)
        yield
        connection.rollback()


def admitted(engine: Engine, count: int = COUNT) -> list[str]:
    job = intake.open_job(engine, "api", Priority.ROUTINE)
    arrivals = [Arrival(new_id(), f"{n}.png", sha256="0" * 64) for n in range(count)]
    intake.admit(engine, job, arrivals, PREPARE, 1, LEASE_S)
    return [arrival.id for arrival in arrivals]


def let_time_pass(engine: Engine, table: Table) -> None:
    db.write(engine, lambda c: c.execute(update(table).values(due_at=db.now_s() - LEASE_S)))


def deadlocks(engine: Engine) -> int:
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        return int(connection.execute(text(query)).scalar_one())


def test_doubled_messages_claim_each_image_once(engine: Engine) -> None:
    ids = admitted(engine)

    def claim_in_an_order_of_its_own(number: int) -> list[str]:
        mine = random.Random(number).sample(ids, len(ids))
        held = [claims.claim(engine, PREPARE, mine[n::2], LEASE_S, "w", CAP) for n in (0, 1)]
        return [one.image_id for some in held for one in some]

    claimed = together(claim_in_an_order_of_its_own)
    assert sorted(image_id for some in claimed for image_id in some) == sorted(ids)
    assert deadlocks(engine) == 0


def test_relays_share_the_outbox(engine: Engine) -> None:
    admitted(engine)
    let_time_pass(engine, outbox)
    taken = together(lambda _: [n.id for n in overdue.unsent(engine, 0.0, LEASE_S, limit=5)])
    sent = [nudge_id for some in taken for nudge_id in some]
    assert len(sent) == len(set(sent)) == TOGETHER * 5, "nobody waited, nobody came away empty"


def test_a_relay_passes_over_what_another_sends(engine: Engine) -> None:
    admitted(engine, 2)
    let_time_pass(engine, outbox)
    with engine.connect() as connection:
        first, second = connection.execute(select(outbox.c.id).order_by(outbox.c.id)).scalars()
    with locked(engine, outbox, "id", first):
        assert [nudge.id for nudge in overdue.unsent(engine, 0.0, LEASE_S)] == [second]


def test_reconcilers_send_each_overdue_image_once(engine: Engine) -> None:
    ids = admitted(engine)
    let_time_pass(engine, images)
    found = together(lambda _: overdue.scan(engine, LEASE_S, CAP, 4, lambda *_: True))
    again = [image_id for scan in found for nudge in scan.nudges for image_id in nudge.image_ids]
    assert sorted(again) == sorted(ids)


def test_a_reconciler_passes_over_what_another_scans(engine: Engine) -> None:
    first, second = admitted(engine, 2)
    let_time_pass(engine, images)
    with locked(engine, images, "id", first):
        scan = overdue.scan(engine, LEASE_S, CAP, 4, lambda *_: True)
    assert [nudge.image_ids for nudge in scan.nudges] == [[second]]


def test_senders_claim_each_result_once(engine: Engine) -> None:
    planned(engine, 3, 20)
    held = together(lambda _: deliveries.claim(engine, "dest", LEASE_S, limit=10))
    assert all(held), "there is something for everybody"
    while more := deliveries.claim(engine, "dest", LEASE_S):
        held.append(more)
    uids = [one.sop_instance_uid for some in held for one in some]
    assert len(uids) == len(set(uids)) == 60


def test_a_sender_takes_another_job_than_the_one_in_anothers_hand(engine: Engine) -> None:
    first, second = planned(engine, 2, 2)
    with locked(engine, sendings, "job_id", first):
        held = deliveries.claim(engine, "dest", LEASE_S)
    assert {one.job_id for one in held} == {second}


def planned(engine: Engine, count: int, results: int) -> list[str]:
    """Jobs with results that are due, the first one's first."""
    made = [intake.open_job(engine, "dicom", Priority.ROUTINE) for _ in range(count)]
    for job_id in made:
        deliveries.plan(engine, job_id, [f"2.25.{new_id()}" for _ in range(results)], "dest")
    return made


def test_the_same_files_come_twice_at_once_and_are_taken_once(engine: Engine) -> None:
    """A bulk run that was killed may still be committing when its heir begins."""
    job = intake.open_job(engine, "cli", Priority.BULK)
    keys = [f"/archive/{number}.png" for number in range(8)]

    def admit(_: int) -> int:
        arrivals = [Arrival(new_id(), key, key, sha256="0" * 64) for key in keys]
        return len(intake.admit(engine, job, arrivals, PREPARE, 16, LEASE_S)[0])

    for _ in range(5):
        assert sum(together(admit)) == len(keys)
        keys = [f"{key}x" for key in keys]
