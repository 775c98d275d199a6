"""Claims of processes that died on this machine end at once; of all others, with their lease."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import db
from pipeline.records import claims, intake, overdue
from pipeline.settings import Settings
from pipeline.states import TERMINAL, Priority
from pipeline.uid import new_id
from tests.faults.conftest import NewPlant
from tests.faults.plant import Plant
from tests.faults.servers import wait_until
from workers.names import dead_ones, worker_name

pytestmark = pytest.mark.faults

LEASE_S = 60.0


def _name_of_a_dead_process() -> str:
    program = "from workers.names import worker_name; print(worker_name('gate'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return done.stdout.decode().strip()


def test_only_a_dead_process_of_this_machine_counts_as_dead() -> None:
    dead = _name_of_a_dead_process()
    alive = worker_name("gate")
    machine, _, pid = dead.rpartition(":")
    elsewhere = [f"gate@elsewhere#00000000:{pid}", f"{machine}0:{pid}", f"gate@plain:{pid}"]
    assert dead_ones([alive, dead, *elsewhere]) == [dead]
    assert alive.rpartition(":")[2] == str(os.getpid())


def test_its_images_are_sent_again_alone_and_the_attempt_counts(
    tmp_path: Path, migrated_url: str | None
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=migrated_url)
    db.upgrade(settings)
    engine = db.engine(settings)
    job = intake.open_job(engine, "tests", Priority.ROUTINE)
    arrivals = [intake.Arrival(new_id(), str(n), sha256="0" * 64) for n in range(4)]
    intake.admit(engine, job, arrivals, "prepare", 4, LEASE_S)
    ids = [arrival.id for arrival in arrivals]
    dead, alive = _name_of_a_dead_process(), worker_name("prepare")
    claims.claim(engine, "prepare", ids[:2], LEASE_S, dead, 3)
    claims.claim(engine, "prepare", ids[2:], LEASE_S, alive, 3)
    assert claims.holders(engine, LEASE_S) == {dead, alive}
    assert claims.forsake(engine, dead_ones(claims.holders(engine, LEASE_S))) == 2
    again = overdue.scan(engine, LEASE_S, 3, 4, lambda *_: False).nudges
    assert sorted(nudge.image_ids for nudge in again) == sorted([[ids[0]], [ids[1]]])
    held = claims.claim(engine, "prepare", ids, LEASE_S, alive, 3)
    assert sorted((claim.image_id, claim.attempts) for claim in held) == [(i, 2) for i in ids[:2]]
    engine.dispose()


def test_work_goes_on_within_a_scan_although_the_lease_is_long(new_plant: NewPlant) -> None:
    plant = new_plant(lease_s=LEASE_S)
    plant.staff(slow_s=0.05)
    plant.ready()
    plant.submit(range(40))
    models = plant.workers["gate"]
    wait_until(lambda: bool(plant.held_by(models)), "the models have images in hand")
    in_hand = plant.held_by(models)
    models.kill()
    plant.over()
    wait_until(lambda: _have_ended(plant, in_hand), "what it had in hand was taken over", 45.0)
    plant.settle(f"kill -9, lease of {LEASE_S:g} s")


def _have_ended(plant: Plant, ids: list[str]) -> bool:
    plant.tend()
    states = plant.states()
    return all(states[image_id] in TERMINAL for image_id in ids)
