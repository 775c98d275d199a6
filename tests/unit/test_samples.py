"""The samples are what their tables say, small, and each has its source named."""

import csv
from pathlib import Path

import pytest

from pipeline.image import decode
from pipeline.reasons import Unreadable

SAMPLES = Path(__file__).parents[2] / "samples"
FILES = sorted(path for path in (SAMPLES / "images").rglob("*") if path.is_file())


def expected() -> dict[str, dict[str, str]]:
    with (SAMPLES / "expected.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_every_file_has_its_expectation() -> None:
    assert {str(path.relative_to(SAMPLES)) for path in FILES} == expected().keys()


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES) < 2 * 2**20


def test_every_file_has_its_source_named() -> None:
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    named = [
        pattern.strip("` ")
        for line in text.splitlines()
        if line.startswith("| `")
        for pattern in line.split("|")[1].split(",")
    ]
    folder = ""
    patterns = []
    for pattern in named:
        folder = pattern.rpartition("/")[0] or folder
        patterns.append(f"{folder}/{pattern.rpartition('/')[2]}")
    for path in FILES:
        assert any(path.match(pattern) for pattern in patterns), path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_the_gate_shall_see_decodes_and_nothing_else(path: Path) -> None:
    row = expected()[str(path.relative_to(SAMPLES))]
    if row["is_xray"]:
        assert min(decode(path.read_bytes()).pixels.shape) >= 100
    else:
        with pytest.raises(Unreadable):
            decode(path.read_bytes())
