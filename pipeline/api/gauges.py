"""What waits in the whole installation, as Prometheus reads it from any API process.

Every API process tells the same, since the database does: aggregate with `max`, never with `sum`.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from itertools import product
from threading import Lock
from time import monotonic

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from pipeline.context import Context
from pipeline.disk import free_bytes
from pipeline.flow import PREPARE
from pipeline.records import backlog
from pipeline.records.backlog import Backlog, Line
from pipeline.states import Priority

DEADLINE_S = 3.0
"""A scrape does not wait longer for the database; Prometheus itself gives up after ten seconds."""
KEPT_S = 5.0
"""Scrapes that come closer together are answered from the same look."""
SHARE = 20.0
"""A look that took long is kept that many times as long: at most 5 % of one connection."""

_NOTHING = Line(0, 0.0, 0)


class Gauges(Collector):
    """The backlog at the time of the scrape, or of a few seconds before."""

    def __init__(self, context: Context) -> None:
        """Nothing is asked yet."""
        self._context = context
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gauges")
        self._lock = Lock()
        self._look: Future[tuple[Backlog, float]] | None = None

    def collect(self) -> Iterator[Metric]:
        """All gauges; those of the database are absent while it does not answer."""
        found = self._found()
        yield _gauge("database_up", "Whether the database answered this scrape", float(bool(found)))
        if found is not None:
            yield from _waiting(found, self._lines())
            yield _gauge("quarantined_images", "Images kept for a person", found.quarantined)
            yield _gauge("outbox_rows", "Signatures that still have to be sent", found.unsent)
            yield _gauge(
                "outbox_oldest_age_seconds", "Age of the oldest of them", found.oldest_unsent_s
            )
        yield from self._disk()

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: registering must not ask the database."""
        return iter(())

    def close(self) -> None:
        """Ask no more; do not wait for a database that hangs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _found(self) -> Backlog | None:
        with self._lock:
            if self._look is None or self._is_old(self._look):
                self._look = self._thread.submit(self._ask)
            look = self._look
        try:
            return look.result(DEADLINE_S)[0]
        except (FutureTimeout, SQLAlchemyError):
            return None

    def _ask(self) -> tuple[Backlog, float]:
        """The backlog, and the monotonic time until which it may be shown."""
        begun = monotonic()
        found = backlog.look(self._context.engine)
        ended = monotonic()
        return found, ended + max(KEPT_S, SHARE * (ended - begun))

    def _is_old(self, look: Future[tuple[Backlog, float]]) -> bool:
        # One that still runs is waited for again: a hanging database is not asked twice.
        return look.done() and (look.exception() is not None or look.result()[1] < monotonic())

    def _lines(self) -> list[tuple[str, int]]:
        stages = (PREPARE, *(stage.name for stage in self._context.stages))
        return list(product(stages, Priority))

    def _disk(self) -> Iterator[Metric]:
        settings = self._context.settings
        try:
            free = free_bytes(settings.data_dir)
        except OSError:
            return
        yield _gauge("disk_free_bytes", "Free bytes where this process keeps its data", free)
        watermark = settings.disk_watermark_bytes
        yield _gauge("disk_watermark_bytes", "Under so many, new work is refused", watermark)


def _waiting(found: Backlog, lines: list[tuple[str, int]]) -> Iterator[Metric]:
    # Lines without images are told as 0: a gauge that vanishes keeps its last value on a screen.
    labels = ("stage", "priority")
    images = GaugeMetricFamily(
        "xraytriage_queue_images", "Images that wait for a stage or are in its hands", labels=labels
    )
    oldest = GaugeMetricFamily(
        "xraytriage_queue_oldest_age_seconds", "Age of the oldest of them", labels=labels
    )
    overdue = GaugeMetricFamily(
        "xraytriage_overdue_images",
        "Those whose time is over and whom nobody claims",
        labels=labels,
    )
    for stage, priority in sorted({*lines, *found.lines}):
        line = found.lines.get((stage, priority), _NOTHING)
        values = (stage, Priority(priority).word)
        images.add_metric(values, line.images)
        oldest.add_metric(values, line.oldest_s)
        overdue.add_metric(values, line.overdue)
    yield from (images, oldest, overdue)


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"xraytriage_{name}", words, value=value)
