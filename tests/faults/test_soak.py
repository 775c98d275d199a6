"""Nothing grows over a long run: memory, open files, Redis, temporary files."""

import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import pytest

from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.plant import Plant

STEADY = 200
"""Images in flight: as many as are fed, no more."""
WARM_UP = 0.4
"""Share of the run that fills caches and pools."""
MIB = 2**20


class Allowed(NamedTuple):
    """Most growth for each 1,000 images."""

    rss_mib: float
    files: float
    keys: float
    redis_mib: float
    temporary: float


FIRST = 600
"""Images before the first look: threads open their connections one after the other until then."""
SHORT = Allowed(24.0, 6.0, 3.0, 0.5, 2.0)
LONG = Allowed(2.0, 0.5, 0.3, 0.1, 0.2)
"""A longer run says more exactly what is noise."""


@pytest.mark.faults
def test_a_thousand_images_leave_nothing_behind(new_plant: NewPlant) -> None:
    _soak(new_plant, 1_000, SHORT)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_thousand_images_leave_nothing_behind(new_plant: NewPlant) -> None:
    _soak(new_plant, 10_000, LONG)


def _soak(new_plant: NewPlant, count: int, allowed: Allowed) -> None:
    # The usual lease: on a busy machine nothing here is to be done twice.
    plant = new_plant(lease_s=60.0, scan_s=1.0, chunk_size=16)
    (plant.folder / "tmp").mkdir()
    plant.variables["TMPDIR"] = str(plant.folder / "tmp")
    plant.staff()
    plant.ready()
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    began = time.monotonic()
    for done in _fed(plant, FIRST + count):
        if done >= FIRST:
            for name, value in _look(plant):
                seen[name].append((done / 1000, value))
    plant.settle(f"none, soak of {FIRST + count} images", deadline_s=300)
    _judge(seen, allowed, (FIRST + count) / (time.monotonic() - began))


def _fed(plant: Plant, count: int) -> Iterator[int]:
    """Keep images in flight until all were sent; the number finished, time after time."""
    job = plant.open_job()
    while (sent := len(plant.accepted)) < count:
        done = plant.finished()
        yield done
        if sent - done < STEADY:
            plant.submit(range(sent, min(sent + 64, count)), job)


def _look(plant: Plant) -> Iterator[tuple[str, float]]:
    for worker in plant.workers.values():
        processes = [psutil.Process(worker.pid), *worker.children()]
        try:
            rss = sum(process.memory_info().rss for process in processes)
            files = sum(process.num_fds() for process in processes)
        except psutil.NoSuchProcess:
            continue  # a child that has been recycled just now
        yield f"rss_mib of {worker.name}", rss / MIB
        yield f"files of {worker.name}", files
    memory = plant.valkey.info("memory")["used_memory"]
    yield "redis_mib", float(memory) / MIB
    yield "keys", float(str(plant.valkey.ask("DBSIZE")))
    yield "temporary", float(sum(1 for _ in Path(plant.folder / "tmp").rglob("*")))


def _judge(
    seen: dict[str, list[tuple[float, float]]], allowed: Allowed, images_per_s: float
) -> None:
    grown = {}
    for name, points in sorted(seen.items()):
        warm = points[int(len(points) * WARM_UP) :]
        slope = _slope(warm)
        limit = getattr(allowed, name.partition(" ")[0])
        ledger.NOTES.append(
            f"soak: {name}: {slope:+.2f} for each 1,000 images (at most {limit:g}), "
            f"{warm[0][1]:.1f} -> {warm[-1][1]:.1f}"
        )
        if slope > limit:
            grown[name] = slope
    ledger.NOTES.append(f"soak: {images_per_s:.0f} images/s")
    assert grown == {}


def _slope(points: list[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes between all pairs, deaf to single jumps."""
    thin = points[:: max(1, len(points) // 200)]
    pairs = combinations(thin, 2)
    return median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1)
