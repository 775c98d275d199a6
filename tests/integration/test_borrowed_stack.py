"""A command that uses the stack of another process: it waits for its start and outlives its end."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.commands import running
from pipeline.commands.running import OwnerGone, for_one_run
from pipeline.embedded import connect, record
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.faults.servers import wait_until
from tests.integration.test_embedded import ROOT


def test_it_waits_for_the_start_and_goes_on_after_the_end(
    tmp_path: Path, needs_servers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "GONE_S", 1.0)
    settings = Settings(data_dir=tmp_path / "state")
    console = Console(file=io.StringIO())
    owner = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.up_with_stand_ins", "polite"],
        cwd=ROOT,
        env={"PATH": "", "XRAYTRIAGE_DATA_DIR": str(settings.data_dir)},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: record.read(settings.data_dir) is not None, "it begins")
        assert connect(settings) is None, "it is still starting"
        with for_one_run(settings, console, workers=False) as reached:
            assert reached.settings == connect(settings)
            reached.check()
            owner.kill()
            owner.wait()
            wait_until(lambda: _is_gone(reached), "the end is noticed")
        with for_one_run(settings, console, workers=False) as own:
            own.check()
            ObjectStore(own.settings).ensure_bucket()
    finally:
        owner.kill()
        owner.wait()
    assert "waiting for it" in " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert connect(settings) is None


def _is_gone(reached: running.Reached) -> bool:
    try:
        reached.check()
    except OwnerGone:
        return True
    return False
