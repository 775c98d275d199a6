"""The command line teaches, and explains what is wrong."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.training import __main__ as entry
from models.training import cli

RUNNER = CliRunner()


@pytest.mark.parametrize("command", ["train", "evaluate", "calibrate"])
def test_help_names_the_options(command: str) -> None:
    found = RUNNER.invoke(cli.app, [command, "--help"], env={"COLUMNS": "120"})
    assert found.exit_code == 0
    assert "--out" in found.output


def test_an_error_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["training", "evaluate", "--manifest", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert entry.main() == 1
    assert "no known layout" in capsys.readouterr().err


def test_training_a_stage_that_is_none_lists_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["training", "train", "foot", "--data", str(tmp_path), "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert entry.main() == 1
    assert "choose joint, gate, type, chest" in capsys.readouterr().err


def test_a_trial_from_the_command_line(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    config = tmp_path / "gate.toml"
    config.write_text(
        'stage = "gate"\nheads = ["gate"]\npack_px = 40\n'
        "[[phase]]\npx = 32\nsteps = 4\nbatch = 4\nlr = 1e-3\nlr_end = 1e-4\n"
        "[loss]\ngate = 1.0\n[shares]\nother = 0.5\nlimb = 0.25\nchest = 0.25\n"
    )
    monkeypatch.setattr(
        "sys.argv",
        [
            "training",
            "train",
            "gate",
            "--data",
            str(manifest),
            "--out",
            str(out),
            "--config",
            str(config),
            "--steps",
            "1",
            "--seed",
            "12",
        ],
    )
    assert entry.main() == 0
    assert (out / "card.json").is_file()
    assert json.loads((out / "config.json").read_text())["seed"] == 12
