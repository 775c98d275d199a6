"""The shipped models, killed at work, say what they say undisturbed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from pipeline.ingest import Source
from pipeline.records.results import ImageView
from tests.faults.conftest import NewPlant
from tests.faults.plant import Plant
from tests.faults.servers import wait_until
from tests.faults.worker_process import REPOSITORY

WEIGHTS = REPOSITORY / "models" / "weights" / "chest" / "weights.safetensors"

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not WEIGHTS.exists(), reason="the weights are not in this checkout"),
]

SAME = 2e-3
"""A batch of another size may round otherwise."""
PER_FOLDER = 4


def test_real_models_are_killed_at_work(new_plant: NewPlant) -> None:
    plant = new_plant(lease_s=20.0)
    plant.staff(models="real")
    plant.ready()
    quiet = set(_submit(plant))
    plant.settle("none, real models", deadline_s=240, answers=False)
    disturbed = set(_submit(plant))
    worker = plant.workers["gate"]
    wait_until(lambda: bool(plant.held_by(worker)), "the models have images in hand")
    worker.kill()
    plant.over()
    plant.settle("kill -9 of the real models", deadline_s=240, answers=False)
    views = plant.views()
    first = {views[i].row["name"]: views[i] for i in quiet}
    second = {views[i].row["name"]: views[i] for i in disturbed}
    assert set(first) == set(second)
    for name, view in first.items():
        _are_equal(view, second[name])


def _submit(plant: Plant) -> list[str]:
    return [item.image_id for item in plant.take(_samples())]


def _samples() -> Iterator[Source]:
    for folder in sorted((REPOSITORY / "samples" / "images").iterdir()):
        for path in sorted(path for path in folder.iterdir() if path.is_file())[:PER_FOLDER]:
            yield Source(f"{folder.name}/{path.name}", _opener(path))


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: path.open("rb")


def _are_equal(one: ImageView, other: ImageView) -> None:
    for column in ("state", "reason_code", "xray_type"):
        assert one.row[column] == other.row[column]
    assert [run.stage for run in one.runs] == [run.stage for run in other.runs]
    for run, again in zip(one.runs, other.runs, strict=True):
        assert run.model_version == again.model_version
        assert run.answer == again.answer
        assert run.scores == pytest.approx(again.scores, abs=SAME)
