"""A new X-ray type is a catalogue entry, a folder with weights and a worker; nothing else."""

import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.spec import WEIGHTS_ROOT
from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.embedded.part import environment
from pipeline.ingest import Source, accept
from pipeline.records import intake, results
from pipeline.settings import Settings
from pipeline.states import Priority, State
from tests.acceptance.conftest import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A site's file: a stage for hands, with the chest's network under another name."""
    shutil.copytree(WEIGHTS_ROOT / "chest", tmp_path / "hand")
    card = json.loads((tmp_path / "hand" / "card.json").read_text())
    card["stage"] = "hand"
    card["model_version"] = card["model_version"].replace("chest", "hand", 1)
    (tmp_path / "hand" / "card.json").write_text(json.dumps(card))
    file = tmp_path / "catalogue.toml"
    file.write_text('[[stage]]\nname = "hand"\nafter = "type"\non = "hand"\nweights = "hand"\n')
    return file


@pytest.fixture
def site(catalogue: Path, tmp_path: Path, database_url: str | None) -> Iterator[Context]:
    """Gate and type are stand-ins that call any mid-gray image a hand; the hand stage is real."""
    settings = Settings(
        data_dir=tmp_path / "state", database_url=database_url, catalogue=catalogue, scan_s=1.0
    )
    with Stack(settings, workers=False, flower=False, api=False) as stack:
        commands = [
            ["-m", "tests.stand_in.worker", "prepare"],
            ["-m", "tests.stand_in.worker", "gate", "type"],
            ["-m", "workers", "hand"],
        ]
        running = [
            subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment(stack.settings))
            for command in commands
        ]
        yield Context.open(stack.settings)
        for process in running:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in running] == [0, 0, 0]


def test_an_image_goes_through_the_new_stage(site: Context) -> None:
    pixels = np.random.default_rng(0).integers(140, 160, (64, 64), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    job = intake.open_job(site.engine, "test", Priority.ROUTINE)
    source = Source("hand.png", lambda: io.BytesIO(buffer.getvalue()))
    (answer,) = accept(site, job, [source])
    until(lambda: not results.waiting(site.engine), "the hand ends")
    view = results.image(site.engine, answer.image_id)
    assert view is not None
    assert view.row["state"] == State.DONE
    assert [run.stage for run in view.runs] == ["gate", "type", "hand"]
    assert view.runs[-1].model_version.startswith("hand-")
