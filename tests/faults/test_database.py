"""The database is locked, restarted or crashes; PostgreSQL as well as SQLite."""

import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.plant import Plant
from tests.faults.servers import Postgres, wait_until
from tests.stand_in.databases import open_folder

pytestmark = pytest.mark.faults

LOCK_S = 10.0
LOCK = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
held.execute("COMMIT")
held.close()
"""


@pytest.mark.sqlite("the lock on its file")
def test_sqlite_is_locked_by_somebody_else(plant: Plant) -> None:
    plant.submit(range(120))
    wait_until(lambda: plant.finished() > 0, "the first image is done")
    arguments = [sys.executable, "-c", LOCK, str(plant.settings.sqlite_path), str(LOCK_S)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        began = time.monotonic()
        plant.submit(range(120, 128))
        ledger.NOTES.append(f"accepted with SQLite locked: {time.monotonic() - began:.1f} s")
        assert holder.wait(60) == 0
    plant.over()
    plant.settle(f"SQLite locked for {LOCK_S:g} s")


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A PostgreSQL server of these tests alone, since they crash it."""
    with open_folder() as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.crash()


def test_postgresql_restarts_and_crashes_in_mid_run(new_plant: NewPlant, mortal: Postgres) -> None:
    plant = new_plant(database_url=mortal.database("restarted"))
    plant.staff(slow_s=0.01)
    plant.start("reconcile", name="a second reconciler")
    plant.ready()
    plant.submit(range(100))
    plant.settle("none, on PostgreSQL")
    for end in (mortal.restart_fast, mortal.crash):
        first = len(plant.accepted)
        done = plant.finished()
        plant.submit(range(first, first + 100))
        wait_until(lambda: plant.finished() > done, "it flows")  # noqa: B023
        end()
        starter = Thread(target=mortal.start)
        starter.start()
        plant.submit(range(first + 100, first + 120))  # it waits until the database is back
        starter.join()
        plant.over()
        plant.settle(f"PostgreSQL: {end.__name__.replace('_', ' ')}")


def test_a_worker_freezes_inside_a_transaction_on_postgresql(
    new_plant: NewPlant, mortal: Postgres
) -> None:
    """The server gives its locks back; on SQLite it would hold up all others until it is killed."""
    plant = new_plant(database_url=mortal.database("frozen"))
    plant.start("prepare")
    plant.start("reconcile")
    once = plant.folder / "froze"
    models = ("gate", "type", "chest")
    frozen = plant.start(*models, name="frozen", threads=1, stop_at="in_transaction", die_once=once)
    plant.ready()
    plant.submit(range(40))
    wait_until(lambda: frozen.is_stopped, "it is frozen inside a transaction")
    plant.over()
    plant.start(*models, name="heir")
    plant.settle("PostgreSQL: a worker froze in a transaction")
    assert frozen.is_stopped
