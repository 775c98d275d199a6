"""The page on scaling: its tables follow from the measured numbers, and say so."""

from typing import Any

import pytest

from tests.benchmarks import scaling_paper as paper
from tests.benchmarks.scaling import PAGE
from tests.benchmarks.scaling_tables import MARK, filled

FOUND: dict[str, Any] = {
    "machine": "x86_64, 2 cores, no GPU",
    "load_before": 0.1,
    "date": "2026-01-01",
    "images": 100,
    "counted_images": 110,
    "ended": {"done": 100},
    "ingest_cpu_s": 0.002,
    "stage_cpu_s": {"prepare": 0.02, "gate": 0.02, "type": 0.02, "chest": 0.04},
    "cpu_s": {"broker": 0.0005, "storage": 0.004, "database": 0.003},
    "images_per_s_1": 6.0,
    "broker_messages": 0.25,
    "broker_commands": 4.0,
    "row_writes": 12.0,
    "commits": 2.0,
    "wal_bytes": 9000.0,
    "s3_requests": {"PUT": 0.2, "GET": 0.3},
    "objects": {"originals": {"objects": 4, "bytes": 110 * 200_000}},
    "database_bytes": {"PostgreSQL": 3000.0, "SQLite": 2500.0},
    "broker_bytes": {"1": 900.0, "32": 60.0},
}


def test_the_page_has_a_place_for_every_table_and_is_filled() -> None:
    page = PAGE.read_text()
    again = filled(page, FOUND)
    assert filled(again, FOUND) == again
    assert "| 6 |" in again, "the measured speed"
    for part in page.split("<!-- ")[1::2]:
        assert part.count("\n| ") >= 2, f"{part[:20]}: nobody ran `make scaling`"


def test_a_page_without_a_place_is_refused() -> None:
    page = PAGE.read_text().replace(MARK.format(name="limits"), "")
    with pytest.raises(ValueError, match="limits"):
        filled(page, FOUND)


def test_demands_grow_with_the_images() -> None:
    one, many = paper.demands(FOUND, 1.0), paper.demands(FOUND, 1000.0)
    assert one["broker: messages"] == (0.25, "1/s")
    assert many["storage: bytes kept"] == pytest.approx((200.0, "MB/s"))
    assert all(many[name][0] == pytest.approx(1000.0 * one[name][0]) for name in one)


def test_the_first_limit_is_the_lowest() -> None:
    ends = paper.limits(FOUND)
    assert ends == sorted(ends, key=lambda end: end.images_per_s)
    rates = {end.what: end.images_per_s for end in ends}
    assert rates["broker: the one core of Valkey"] == pytest.approx(2000.0)
    assert rates["storage: PUT of one prefix"] == pytest.approx(17_500.0)


def test_the_bill_of_a_million() -> None:
    on_gpu = {cost.what: cost.dollars for cost in paper.costs(FOUND, gpu=True)}
    on_cpu = {cost.what: cost.dollars for cost in paper.costs(FOUND, gpu=False)}
    hours = 1e6 / paper.gpu_images_per_s() / 3600.0
    assert on_gpu["GPU, all networks"] == pytest.approx(hours * paper.value("gpu_h"))
    assert on_gpu["S3: PUT"] == on_cpu["S3: PUT"] == pytest.approx(1.0)
    assert on_gpu["S3: one month"] == pytest.approx(200.0 * 0.023)
    seconds = 1e6 * (0.002 + 0.02 + 0.02 + 0.02 + 0.04)
    assert on_cpu["CPU: ingest, prepare, networks"] == pytest.approx(
        seconds / 3600.0 / 4.0 * paper.value("cpu_h")
    )
