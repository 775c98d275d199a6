"""The bulk command is killed in the middle of a tree and run again."""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from pipeline.tables import images
from tests.faults.conftest import NewPlant
from tests.faults.pictures import name_of, number_of, picture
from tests.faults.plant import Plant
from tests.faults.servers import PATIENCE, wait_until
from tests.faults.worker_process import REPOSITORY

pytestmark = pytest.mark.faults

COMMAND = "from pipeline.cli import main; main()"
COUNT = 240
KILLED_AT = (40, 120)
"""Images taken in when it is killed, the first and the second time."""


def test_the_report_lists_every_path_once(new_plant: NewPlant) -> None:
    plant = new_plant()
    plant.staff()
    plant.ready()
    tree = _tree(plant.folder / "tree")
    out = plant.folder / "out"
    for count in KILLED_AT:
        run = _screen(plant, tree, out)
        wait_until(lambda: _taken_in(plant) >= count, f"{count} images are taken in")  # noqa: B023
        assert run.poll() is None, "it is in mid-tree"
        run.kill()
        run.wait(30)
    plant.over()
    assert _screen(plant, tree, out).wait(150 * PATIENCE) == 0
    _adopt(plant)
    plant.settle("bulk command killed twice in mid-tree")
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    paths = Counter(row["path"] for row in rows)
    assert set(paths.values()) == {1}
    assert {Path(path).name for path in paths} == {p.name for p in tree.rglob("*.*")}


def _tree(root: Path) -> Path:
    """Pictures in folders, and a file that is none."""
    for number in range(COUNT):
        folder = root / f"ward {number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name_of(number)).write_bytes(picture(number))
    (root / "notes.txt").write_text("not an image")
    return root


def _screen(plant: Plant, tree: Path, out: Path) -> subprocess.Popen[bytes]:
    with (plant.folder / "screen.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "screen", str(tree), "--out", str(out)],
            cwd=REPOSITORY,
            env=plant.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _taken_in(plant: Plant) -> int:
    with plant.context.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(images)).scalar_one())


def _adopt(plant: Plant) -> None:
    """The command took these in, not the plant; what was accepted is what lies in the tree."""
    for image_id, view in plant.views().items():
        plant.accepted[image_id] = number_of(view.row["name"])
    numbers = sorted(number for number in plant.accepted.values() if number is not None)
    assert numbers == list(range(COUNT)), "every file once"
