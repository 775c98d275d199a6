"""The histogram that takes a chunk at once says what prometheus_client's own would say."""

import random

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from pipeline.distribution import Distribution

BOUNDS = (0.1, 0.5, 1.0)


def text(collector: Distribution) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode().splitlines()


def test_it_agrees_with_the_librarys_histogram() -> None:
    draw = random.Random(1)
    values = [draw.uniform(0, 2) for _ in range(500)] + list(BOUNDS) + [0.0]
    registry = CollectorRegistry()
    theirs = Histogram("waits", "w", ("stage",), buckets=BOUNDS, registry=registry)
    ours = Distribution("waits", "w", ("stage",), BOUNDS)
    for value in values:
        theirs.labels("gate").observe(value)
    ours.add(("gate",), values[:200])
    ours.add(("gate",), values[200:])
    kept = [
        line for line in generate_latest(registry).decode().splitlines() if "_created" not in line
    ]
    assert _numbers(text(ours)) == pytest.approx(_numbers(kept))


def test_a_value_may_stand_for_several() -> None:
    ours = Distribution("work", "w", ("stage",), BOUNDS)
    ours.add(("gate",), (0.25,), times=4)
    lines = text(ours)
    assert 'work_bucket{le="0.1",stage="gate"} 0.0' in lines
    assert 'work_bucket{le="0.5",stage="gate"} 4.0' in lines
    assert 'work_count{stage="gate"} 4.0' in lines
    assert 'work_sum{stage="gate"} 1.0' in lines


def test_wrong_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="labels"):
        Distribution("work", "w", ("stage",), BOUNDS).add(("gate", "chest"), (1.0,))


def _numbers(lines: list[str]) -> dict[str, float]:
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(number) for name, number in pairs}
