"""What `xraytriage demo` may remove, what it answers with, and its table."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.commands import demo
from pipeline.embedded import Stack, StackError, procfs, record
from pipeline.reports.row import COLUMNS
from pipeline.reports.summary import Summary
from pipeline.screen import Interrupted

ROOT = Path(__file__).parents[3]
NOT_STARTED = "the stack is not started in this test"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    def refuse(_: Stack) -> None:
        raise StackError(NOT_STARTED)

    monkeypatch.setattr(Stack, "start", refuse)


def run(out: Path, *more: str) -> Any:
    return CliRunner().invoke(cli.app, ["demo", "--out", str(out), "--no-stay", *more])


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    shown = run(tmp_path)
    assert shown.exit_code == 2
    assert "no demo made it" in " ".join(shown.output.split())
    assert (tmp_path / "results" / "thesis.txt").read_text() == "years of work"


def test_only_what_a_demo_left_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "new"
    assert NOT_STARTED in str(run(out).exception)
    for name in ("state/database", "results/heatmaps"):
        (out / name).mkdir(parents=True)
    (out / "results" / "results.csv").touch()
    (out / "state" / "stack.json").touch()
    (out / "notes.txt").write_text("mine")
    assert NOT_STARTED in str(run(out).exception)
    left = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert left == {demo.MARK, "notes.txt", "state", "state/lock"}


def test_a_demo_that_runs_is_not_removed_but_named(tmp_path: Path) -> None:
    run(tmp_path)
    state = tmp_path / "state"
    state.mkdir()
    lock = record.Lock(state)
    assert lock.take()
    me = record.Process("up", os.getpid(), procfs.started_at(os.getpid()) or 0)
    addresses = {"api": "http://127.0.0.1:20001"}
    record.write(state, record.Record(me, procfs.boot_id(), True, {}, addresses))
    (tmp_path / "results").mkdir()
    shown = run(tmp_path)
    lock.release()
    assert shown.exit_code == 2
    assert f"started by process {os.getpid()}" in " ".join(shown.output.split())
    assert addresses["api"] in shown.output
    assert (tmp_path / "results").is_dir()
    assert (state / record.RECORD).is_file()


def test_a_wrong_setting_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XRAYTRIAGE_PORT", "many")
    shown = run(tmp_path / "new")
    assert shown.exit_code == 2
    assert "XRAYTRIAGE_PORT" in shown.output
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("stopped", [KeyboardInterrupt(), Interrupted(Summary())])
def test_stopped_before_the_answers_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stopped: BaseException
) -> None:
    def stop(*_: object) -> None:
        raise stopped

    monkeypatch.setattr(Stack, "start", lambda _: None)
    monkeypatch.setattr("pipeline.context.Context.open", lambda _: None)
    monkeypatch.setattr("pipeline.screen.screen", stop)
    shown = run(tmp_path / "new")
    assert shown.exit_code == 1
    assert "Stopped before" in shown.output


def test_right_answers_read_like_what_the_source_says(tmp_path: Path) -> None:
    with (ROOT / "samples" / "expected.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    results = tmp_path / "results.csv"
    with results.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(_answered(row) for row in expected)
    table = demo._table(results)
    said, found, scores = (list(table.columns[at].cells) for at in (1, 2, 3))
    readable = [(s, f) for s, f in zip(said, found, strict=True) if f != "rejected"]
    assert len(readable) > len(expected) / 2
    assert all(source == answer for source, answer in readable)
    kinds = {str(score).split()[0] for score in scores if score}
    assert {"X-ray", "abnormal", "hand"} <= kinds


def _answered(row: dict[str, str]) -> dict[str, str]:
    is_chest = row["xray_type"] == "chest"
    refusal = "not_xray: no X-ray" if row["is_xray"] == "false" else "truncated: cut short"
    return {
        **dict.fromkeys(COLUMNS, ""),
        **{name: row[name] for name in ("status", "is_xray", "xray_type", "abnormal")},
        "path": f"samples/{row['path']}",
        "xray_score": "0.5",
        "type_score": "0.9" if row["xray_type"] else "",
        "abnormality_score": "0.7" if is_chest else "",
        "findings": json.dumps({"Effusion": 0.8}) if is_chest else "",
        "reason": "" if row["status"] == "done" else refusal,
    }
