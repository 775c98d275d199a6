"""A Prometheus histogram that takes many values at once: some 0.3 µs a value instead of 3."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from threading import Lock

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Distribution(Collector):
    """Counts of values per bucket, for each combination of label values."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        """Nothing is counted yet. A bucket holds what is at most its bound."""
        self.name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = tuple(bounds)
        self._lock = Lock()
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def add(self, labels: tuple[str, ...], values: Iterable[float], times: int = 1) -> None:
        """Count each value `times` times."""
        with self._lock:
            counts = self._counts.get(labels)
            if counts is None:
                if len(labels) != len(self._labels):
                    raise ValueError(f"{self.name} has labels {self._labels}, not {labels}")
                counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
                self._sums[labels] = 0.0
            total = 0.0
            for value in values:
                counts[bisect_left(self._bounds, value)] += times
                total += value
            self._sums[labels] += total * times

    def collect(self) -> Iterator[Metric]:
        """The histogram in the registry's words."""
        family = HistogramMetricFamily(self.name, self._documentation, labels=self._labels)
        with self._lock:
            known = [(k, list(v), self._sums[k]) for k, v in self._counts.items()]
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts, total in known:
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets, sum_value=total)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Its name, so that the registry sees a clash."""
        yield HistogramMetricFamily(self.name, self._documentation, labels=self._labels)
