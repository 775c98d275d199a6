"""The broker is restarted, paused, emptied, full, absent, or delivers twice and out of order."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import update

from pipeline import db
from pipeline.db import now_s
from pipeline.dispatch import Dispatcher
from pipeline.flow import PREPARE
from pipeline.records import overdue, results
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.tables import images
from pipeline.uid import new_id
from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.plant import LEASE_S, Plant
from tests.faults.servers import wait_until
from workers import reconcile

pytestmark = pytest.mark.faults

SLACK_S = 5.0
"""For storage and database on a busy machine; a broker that hung would take far longer."""


def _flowing(new_plant: NewPlant, *, durable: bool = False) -> Plant:
    """A plant in the middle of 160 images."""
    plant = new_plant(durable=durable)
    plant.staff(slow_s=0.02)
    plant.ready()
    plant.submit(range(160))
    wait_until(lambda: plant.finished() >= 8, "the first images are done")
    return plant


def _submit_in_time(plant: Plant, numbers: Iterable[int], what: str) -> None:
    """A submission is accepted, and within the publish deadline."""
    began = time.monotonic()
    plant.submit(numbers)
    took = time.monotonic() - began
    ledger.NOTES.append(f"accepted with the broker {what}: {took:.2f} s for one chunk")
    assert took < plant.settings.publish_timeout_s + SLACK_S


def test_the_broker_loses_everything_in_a_restart(new_plant: NewPlant) -> None:
    plant = _flowing(new_plant)
    plant.valkey.kill()
    _submit_in_time(plant, range(160, 168), "dead")
    plant.valkey.start()
    plant.over()
    plant.settle("Redis killed, restarted empty")


def test_the_broker_comes_back_with_its_messages(new_plant: NewPlant) -> None:
    plant = _flowing(new_plant, durable=True)
    plant.valkey.stop()
    plant.valkey.start()
    plant.over()
    plant.settle("Redis restarted, messages kept")


def test_the_broker_falls_silent(new_plant: NewPlant) -> None:
    plant = _flowing(new_plant)
    plant.valkey.pause()
    _submit_in_time(plant, range(160, 168), "paused")
    _submit_in_time(plant, range(168, 176), "still paused")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > LEASE_S + 1, "every lease is over")
    plant.valkey.resume()
    plant.over()
    plant.settle("Redis paused beyond the lease")


def test_the_broker_is_flushed(new_plant: NewPlant) -> None:
    plant = _flowing(new_plant)
    plant.valkey.ask("FLUSHALL")
    plant.over()
    plant.settle("Redis FLUSHALL")


def test_the_broker_is_full(new_plant: NewPlant) -> None:
    plant = _flowing(new_plant)
    plant.valkey.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    plant.valkey.ask("CONFIG", "SET", "maxmemory", "1mb")
    _submit_in_time(plant, range(160, 168), "full")
    wait_until(lambda: results.unsent(plant.context.engine) > 0, "messages wait in the outbox")
    plant.valkey.ask("CONFIG", "SET", "maxmemory", "0")
    plant.over()
    plant.settle("Redis full (noeviction)")


def test_the_broker_is_absent_at_the_start(new_plant: NewPlant) -> None:
    """The outbox alone brings the messages out: no lease ends before the deadline."""
    plant = new_plant(broker=False, lease_s=600.0)
    plant.staff()
    _submit_in_time(plant, range(8), "absent")
    plant.submit(range(8, 60))
    assert results.unsent(plant.context.engine) > 0
    plant.valkey.start()
    plant.over()
    plant.settle("Redis absent at the start", deadline_s=90)


@contextmanager
def _doubling(dispatcher: Dispatcher, shuffle: Callable[[list[Nudge]], None]) -> Iterator[None]:
    real = dispatcher.publish

    def publish(nudges: list[Nudge], root_id: str | None = None) -> list[str]:
        doubled = [*nudges, *nudges]
        shuffle(doubled)
        return real(doubled, root_id)

    dispatcher.publish = publish  # type: ignore[method-assign, assignment]
    yield
    dispatcher.publish = real  # type: ignore[method-assign]


def test_every_message_comes_twice_and_out_of_order(new_plant: NewPlant) -> None:
    plant = new_plant()
    with _doubling(plant.context.dispatcher, random.Random(5).shuffle):
        plant.submit(range(200))
    plant.over()
    plant.staff(twice=6)
    plant.settle("each message twice, out of order")
    _deliver_late(plant)


def _deliver_late(plant: Plant) -> None:
    """All messages of all stages once more, when all is done: nothing may change."""
    before = plant.rows()
    ids = list(plant.accepted)
    random.Random(7).shuffle(ids)
    stages = (PREPARE, "gate", "type", "chest")
    late = [
        Nudge(new_id(), stage, Priority.ROUTINE, ids[start : start + 8])
        for stage in stages
        for start in range(0, len(ids), 8)
    ]
    patient = Dispatcher(_patient(plant))
    assert len(patient.publish(late)) == len(late)
    depth = plant.context.dispatcher.depth
    wait_until(
        lambda: all(depth(stage, Priority.ROUTINE) == 0 for stage in stages), "all were taken"
    )
    for worker in plant.workers.values():
        assert worker.terminate() == 0  # a warm stop: what was taken is worked on first
    assert plant.rows() == before


def _patient(plant: Plant) -> Settings:
    return plant.settings.model_copy(update={"publish_timeout_s": 30.0})


def test_threads_that_publish_at_once_wait_for_each_other(new_plant: NewPlant) -> None:
    """Nobody is turned away, and left to the reconciler, by a broker that is well."""
    dispatcher = Dispatcher(_patient(new_plant()))
    nudges = [Nudge(new_id(), "gate", Priority.ROUTINE, [new_id()]) for _ in range(64)]
    with ThreadPoolExecutor(8) as threads:
        sent = list(threads.map(lambda nudge: dispatcher.publish([nudge]), nudges))
    assert sent == [[nudge.id] for nudge in nudges]


def test_the_outbox_stops_growing_while_the_broker_is_away(new_plant: NewPlant) -> None:
    plant = new_plant(broker=False)
    plant.submit(range(16))
    engine, wait_s = plant.context.engine, reconcile.GRACE_S + plant.settings.scan_s
    wait_until(lambda: overdue.is_congested(engine, wait_s), "messages wait for too long")
    failed = update(images).values(attempts=1, due_at=now_s() - 1)
    for _ in range(3):
        db.write(engine, lambda connection: connection.execute(failed))
        reconcile.scan(plant.context)
    assert results.unsent(engine) == 16 / plant.settings.chunk_size, "as after the submission"
    plant.valkey.start()
    plant.over()
    plant.staff()
    plant.settle("Redis absent, attempts had failed")
