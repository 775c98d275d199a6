"""Cores: never more than the container's quota, never none."""

import os
from pathlib import Path

import pytest

from models.cores import usable_cores

AVAILABLE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("100000 100000\n", 1),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("99900000 100000\n", AVAILABLE),
        ("max 100000\n", AVAILABLE),
        ("", AVAILABLE),
    ],
)
def test_the_quota_limits(tmp_path: Path, limit: str, expected: int) -> None:
    path = tmp_path / "cpu.max"
    path.write_text(limit)
    assert usable_cores(path) == expected


def test_no_quota_file_means_all_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == AVAILABLE
