"""A folder with good and bad files through the command line: every row, object and state."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.reports.row import COLUMNS
from pipeline.verify import violations
from tests.acceptance import trouble

Row = dict[str, str]


@dataclass(frozen=True)
class Screened:
    """A finished run of `xraytriage screen`."""

    root: Path
    out: Path
    rows: dict[str, Row]
    reasons: dict[str, str]


def xraytriage(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("xraytriage")), *arguments]
    data_dir = ("--data-dir", str(stack.settings.data_dir))
    return subprocess.run([*command, *data_dir], capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def screened(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Screened:
    here = tmp_path_factory.mktemp("archive")
    root, out = here / "images", here / "out"
    samples = Path(__file__).parents[2] / "samples" / "images"
    shutil.copytree(samples, root)
    reasons = trouble.build(root / "trouble", samples / "chest" / "adult-normal-1.jpg")
    done = xraytriage(stack, "screen", str(root), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames or ()) == tuple(COLUMNS)
        listed = list(reader)
    rows = {str(Path(row["path"]).relative_to(root)): row for row in listed}
    assert len(rows) == len(listed), "a path has two rows"
    return Screened(root, out, rows, reasons)


def test_every_path_has_one_row(screened: Screened) -> None:
    samples = {
        str(path.relative_to(screened.root))
        for path in screened.root.rglob("*")
        if path.is_file() and not path.is_relative_to(screened.root / "trouble")
    }
    assert set(screened.rows) == samples | {f"trouble/{name}" for name in screened.reasons}


def test_every_sample_is_right_in_kind(screened: Screened, samples: Path) -> None:
    with (samples / "expected.csv").open(newline="", encoding="utf-8") as file:
        expected = list(csv.DictReader(file))
    assert expected
    for wanted in expected:
        found = screened.rows[wanted["path"].removeprefix("images/")]
        kind = ("status", "is_xray", "xray_type")
        assert [found[name] for name in kind] == [wanted[name] for name in kind], wanted["path"]


def test_bad_files_are_refused_with_their_reason(screened: Screened) -> None:
    told = {
        name: screened.rows[f"trouble/{name}"]["reason"].partition(":")[0]
        for name, code in screened.reasons.items()
        if code
    }
    assert told == {name: code for name, code in screened.reasons.items() if code}


def test_a_good_file_with_a_bad_name_is_triaged(screened: Screened) -> None:
    good = [name for name, code in screened.reasons.items() if not code]
    assert len(good) == 3
    for name in good:
        assert screened.rows[f"trouble/{name}"]["is_xray"] == "true", name


def test_rows_are_right_in_kind(screened: Screened) -> None:
    for name, row in screened.rows.items():
        assert row["status"] in {"done", "rejected"}, name
        assert (row["status"] == "rejected") == bool(row["reason"]) or row["status"] == "done"
        if row["is_xray"] == "true":
            assert row["xray_type"], name
            assert 0.0 <= float(row["type_score"]) <= 1.0
        if row["xray_type"] == "chest":
            assert row["abnormal"] in {"true", "false"}, name
            assert isinstance(json.loads(row["findings"]), dict)
        else:
            assert row["abnormal"] == row["findings"] == "", name


def test_every_heatmap_named_is_a_picture(screened: Screened) -> None:
    named = [
        screened.out / path
        for row in screened.rows.values()
        for path in json.loads(row["heatmaps"] or "{}").values()
    ]
    assert named, "no chest of the samples has a finding"
    for path in named:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"


def test_the_report_stands_alone(screened: Screened) -> None:
    page = (screened.out / "report.html").read_text(encoding="utf-8")
    assert "not a medical device" in page.lower()
    assert not re.search(r"https?://", page.replace("http://www.w3.org", ""))
    summary = json.loads((screened.out / "summary.json").read_text(encoding="utf-8"))
    assert summary["images"] == len(screened.rows)


def test_the_promises_hold(screened: Screened, context: Context, stack: Stack) -> None:
    assert list(violations(context, settled=True)) == []
    assert xraytriage(stack, "verify").returncode == 0
