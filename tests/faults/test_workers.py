"""Workers that die, fall asleep or are told to stop, at random and at the worst moments."""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline.states import State
from pipeline.tables import stage_runs
from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.plant import Plant
from tests.faults.servers import wait_until
from tests.faults.worker_process import Worker

pytestmark = pytest.mark.faults

KILLS = 20
FLOW = 320
EACH_ALONE = (("prepare",), ("gate",), ("type",), ("chest",), ("reconcile",))


def test_an_undisturbed_run_says_what_was_worked_out_beforehand(plant: Plant) -> None:
    plant.submit(range(200))
    plant.settle("none")


def test_twenty_kills_at_random_moments_while_images_flow(new_plant: NewPlant) -> None:
    # Chance may put one image into the hands of three that are killed, which by the rule is
    # poison (test_poison): here no image is, so the rule is out of reach.
    plant = new_plant(attempts=KILLS + 1)
    plant.staff(EACH_ALONE, slow_s=0.1)
    plant.start("reconcile", name="a second reconciler")
    plant.ready()
    chance = random.Random(4)
    job = plant.open_job()
    victims = [name for (name,) in EACH_ALONE] + ["child of prepare"]
    chance.shuffle(victims)
    in_hand = []
    plant.submit(range(FLOW // 2), job)
    for kill in range(KILLS):
        first = len(plant.accepted)
        plant.submit(range(first, first + FLOW // 2 // KILLS), job)
        worker = plant.workers[victims[kill % len(victims)].rpartition(" ")[2]]
        plant.ready(worker.name)
        _await_work(plant, worker)
        time.sleep(chance.uniform(0.0, 0.5))  # the moment is the point, not a condition
        in_hand.append(len(plant.held_by(worker)))
        _kill(worker, child="child" in victims[kill % len(victims)])
        plant.tend()
    plant.over()
    assert len(plant.accepted) == FLOW
    assert sum(in_hand) > KILLS, "they were killed at work"
    ledger.NOTES.append(f"images in the hand of each killed worker: {in_hand}")
    plant.settle(f"{KILLS} x kill -9, all kinds of worker", deadline_s=200)


def _await_work(plant: Plant, worker: Worker) -> None:
    """Wait until it has images in hand; not for long, as there may be none for it."""
    with suppress(AssertionError):
        wait_until(lambda: bool(plant.held_by(worker)), "work", deadline_s=2.0)


def _kill(worker: Worker, *, child: bool) -> None:
    if child:
        worker.children()[0].kill()
    else:
        worker.kill()


@pytest.mark.parametrize("point", ["after_put", "after_commit", "before_send", "before_ack"])
def test_death_at_the_worst_moments(new_plant: NewPlant, point: str) -> None:
    """Prepare's child dies there, and later the process with the models."""
    plant = new_plant()
    for name, stages in (("prepare", ("prepare",)), ("models", ("gate", "type", "chest"))):
        mark = plant.folder / f"{name}.died"
        plant.start(*stages, name=name, die_at=point, die_once=mark)
    plant.start("reconcile")
    plant.ready()
    plant.submit(range(40))
    plant.over()
    plant.settle(f"death {point.replace('_', ' ')}")
    assert (plant.folder / "prepare.died").exists()
    assert plant.workers["models"].starts == 2


def test_no_child_outlives_a_killed_prepare_worker(plant: Plant) -> None:
    children = plant.workers["prepare"].children()
    assert len(children) == 2
    plant.workers["prepare"].kill()
    wait_until(lambda: not any(child.is_running() for child in children), "children have ended")


def test_a_sleeper_writes_nothing_while_its_heir_still_works(new_plant: NewPlant) -> None:
    """SIGSTOP with results in hand, beyond the lease; SIGCONT while another holds the images."""
    plant = new_plant(attempts=5)
    plant.start("prepare")
    plant.start("reconcile")
    log = plant.folder / "commits"
    sleeper = _start_sleeper(plant, "sleeper", log)
    plant.kept |= {"sleeper", "heir"}
    plant.ready()
    ids = plant.submit(range(4))  # one chunk
    wait_until(lambda: sleeper.is_stopped, "the first worker has fallen asleep")
    assert set(plant.held_by(sleeper)) == set(ids)
    heir = _start_sleeper(plant, "heir", log)
    wait_until(lambda: heir.is_stopped, "the second worker took over and fell asleep too")
    taken_over = plant.held_by(heir)
    assert taken_over
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_until(lambda: log.exists() and str(sleeper.pid) in log.read_text(), "it tried to write")
    assert _writers(plant, taken_over, "gate") == {}
    sleeper.kill()
    os.kill(heir.pid, signal.SIGCONT)
    plant.over()
    plant.settle("SIGSTOP beyond the lease, then SIGCONT")
    writers = _writers(plant, taken_over, "gate")
    assert {writer.rpartition(":")[2] for writer in writers.values()} == {str(heir.pid)}


def _start_sleeper(plant: Plant, name: str, log: Path) -> Worker:
    once = plant.folder / f"{name}.slept"
    stages = ("gate", "type", "chest")
    # One thread: a second one might be stopped inside a transaction, and SQLite has one write lock.
    return plant.start(
        *stages, name=name, threads=1, stop_at="before_commit", die_once=once, log=log
    )


def _writers(plant: Plant, ids: list[str], stage: str) -> dict[str, str]:
    query = select(stage_runs.c.image_id, stage_runs.c.worker)
    query = query.where(stage_runs.c.image_id.in_(ids), stage_runs.c.stage == stage)
    with plant.context.engine.connect() as connection:
        return {row.image_id: row.worker for row in connection.execute(query)}


def test_a_sleeper_changes_nothing_once_all_is_done(new_plant: NewPlant) -> None:
    """Pool and children stopped in mid-work, everything finished by others, then continued."""
    plant = new_plant()
    sleepers = [plant.start("prepare", slow_s=0.1), plant.start("gate", "type", slow_s=0.1)]
    plant.kept |= {worker.name for worker in sleepers}
    plant.start("reconcile")
    plant.ready()
    plant.submit(range(60))
    wait_until(lambda: bool(plant.held_by(sleepers[1])), "the models have images in hand")
    _stop_outside_transactions(plant, sleepers)
    plant.over()
    plant.start("prepare", name="prepare-2")
    plant.start("gate", "type", "chest", name="models-2")
    plant.settle("SIGSTOP of all workers, others take over")
    before = plant.rows()
    for sleeper in sleepers:
        os.killpg(sleeper.pid, signal.SIGCONT)
        sleeper.terminate()  # a warm stop: what it has in hand it ends first
    assert plant.rows() == before


def _stop_outside_transactions(plant: Plant, workers: list[Worker]) -> None:
    """Whoever stops in a transaction stops others too: all on SQLite, with its one write lock."""

    def stopped() -> bool:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGSTOP)
        if plant.is_writable():
            return True
        for worker in workers:
            os.killpg(worker.pid, signal.SIGCONT)
        return False

    wait_until(stopped, "all are stopped, none inside a transaction")


def test_sigterm_under_load_drains_and_loses_nothing(new_plant: NewPlant) -> None:
    plant = new_plant(lease_s=60.0)
    plant.staff(slow_s=0.05)
    plant.ready()
    plant.submit(range(120))
    wait_until(lambda: plant.finished() > 0, "the first image is done")
    began = time.monotonic()
    plant.kept |= set(plant.workers)
    for worker in plant.workers.values():
        os.kill(worker.pid, signal.SIGTERM)
    codes = {worker.name: worker.terminate() for worker in plant.workers.values()}
    assert codes == dict.fromkeys(codes, 0)
    assert time.monotonic() - began < plant.settings.drain_s + 10
    assert plant.held_by(plant.workers["gate"]) == [], "what it had in hand it finished"
    assert State.RECEIVED in plant.states().values(), "it was under load"
    plant.kept.clear()
    plant.over()
    plant.settle("SIGTERM under load, started again")
