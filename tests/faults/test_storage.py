"""The storage dies, errs, cuts answers short, or has no room; so has the disk of this host."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline import disk
from pipeline.context import Context
from pipeline.ingest import NoRoom
from pipeline.settings import Settings
from pipeline.storage import StorageUnavailable
from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.pictures import source
from tests.faults.plant import Plant
from tests.faults.proxy import FaultyProxy
from tests.faults.servers import Weed, wait_until

pytestmark = pytest.mark.faults

MAX_TRIES = 20


@pytest.fixture
def proxy(weed: Weed) -> Iterator[FaultyProxy]:
    """A healthy proxy in front of the storage."""
    made = FaultyProxy(weed.url, seed=11)
    yield made
    made.close()


def test_the_storage_is_killed_in_mid_run(new_plant: NewPlant, weed: Weed) -> None:
    plant = new_plant()
    plant.staff(slow_s=0.02)
    plant.ready()
    plant.submit(range(1000, 1160))
    wait_until(lambda: plant.finished() >= 8, "the first images are done")
    weed.kill()
    _wait_for_given_back(plant)
    weed.start()
    plant.over()
    plant.settle("storage killed and restarted")


def test_the_storage_falls_silent(new_plant: NewPlant, weed: Weed) -> None:
    plant = new_plant()
    plant.staff(slow_s=0.02)
    plant.ready()
    plant.submit(range(1200, 1300))
    wait_until(lambda: plant.finished() > 0, "the first images are done")
    weed.pause()
    try:
        _wait_for_given_back(plant)
    finally:
        weed.resume()
    plant.over()
    plant.settle("storage paused beyond all timeouts")


def _wait_for_given_back(plant: Plant) -> None:
    logs = [worker.log for worker in plant.workers.values()]
    wait_until(
        lambda: any("given back" in log.read_text() for log in logs), "claims were given back"
    )


def test_the_storage_errs_in_a_fifth_of_all_requests(
    new_plant: NewPlant, proxy: FaultyProxy
) -> None:
    plant = new_plant(s3_endpoint=proxy.url)
    plant.staff()
    plant.ready()
    proxy.rate = 0.2
    job = plant.open_job()
    plant.door = Context.open(Settings(**plant.values))
    for start in range(2000, 2160, 8):
        _submit_stubbornly(plant, range(start, start + 8), job)
    plant.over()
    plant.settle("storage: 20 % errors, resets, truncations")
    assert len(proxy.met) > len(proxy.faults) // 2, "most kinds of fault were met"
    ledger.NOTES.append(f"faults met at the storage: {proxy.met}")


def _submit_stubbornly(plant: Plant, numbers: range, job: str) -> None:
    """As a client does that got no answer; the keys keep what was taken from being taken twice."""
    for _ in range(MAX_TRIES):
        files = [replace(source(n), once_key=str(n)) for n in numbers]
        try:
            list(plant.take(files, job))
        except StorageUnavailable:
            continue
        return
    raise AssertionError(f"not accepted in {MAX_TRIES} tries")


def test_the_storage_is_full_for_a_while(new_plant: NewPlant, proxy: FaultyProxy) -> None:
    plant = new_plant(s3_endpoint=proxy.url)
    plant.staff()
    plant.ready()
    proxy.faults, proxy.rate = ("full",), 1.0
    plant.submit(range(3000, 3040))  # through the door that bypasses the proxy
    log = plant.workers["prepare"].log
    wait_until(lambda: "StorageFull" in log.read_text(), "claims were given back")
    assert plant.finished() == 0
    proxy.rate = 0.0
    plant.over()
    plant.settle("storage full, then room again")


def test_a_full_disk_refuses_new_work_and_resumes_by_itself(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.submit(range(24))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "free_bytes", lambda _: plant.settings.disk_watermark_bytes - 1)
        with pytest.raises(NoRoom, match="are free"):
            plant.submit(range(24, 48))
    plant.over()
    plant.submit(range(24, 48))
    plant.settle("disk full, then room again")
