"""Which images a page shows when there are too many for one page: chosen in constant memory."""

import heapq
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.records.results import ImageView
from pipeline.reports.row import abnormality, abnormality_runs


@dataclass(slots=True)
class Selection:
    """The most abnormal images, and an even sample of the others by status."""

    most_abnormal: int = 500
    sample: int = 100
    """How many of each status are shown besides, drawn evenly."""
    seen: int = 0
    _abnormal: list[tuple[float, int, ImageView]] = field(default_factory=list)
    _others: dict[str, list[ImageView]] = field(default_factory=lambda: defaultdict(list))
    _passed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    # Seeded: the same images make the same page.
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, views: Iterable[ImageView]) -> None:
        """Offer some images."""
        for view in views:
            self.seen += 1
            score = severity(view)
            if score is None:
                self._offer(view)
                continue
            # The counter keeps equal scores in the order of arrival and views out of comparisons.
            heapq.heappush(self._abnormal, (score, -self.seen, view))
            if len(self._abnormal) > self.most_abnormal:
                self._offer(heapq.heappop(self._abnormal)[2])

    def chosen(self) -> Iterator[ImageView]:
        """The images to show, the most abnormal first."""
        yield from (view for _, _, view in sorted(self._abnormal, key=lambda item: item[:2])[::-1])
        rest = [view for views in self._others.values() for view in views]
        rest.sort(key=lambda view: (-(severity(view) or -1.0), view.row["name"]))
        yield from rest

    def _offer(self, view: ImageView) -> None:
        """Reservoir sampling (Vitter's algorithm R): each one offered stays equally likely."""
        status = str(view.row["state"])
        kept = self._others[status]
        self._passed[status] += 1
        if len(kept) < self.sample:
            kept.append(view)
        elif (place := self._random.randrange(self._passed[status])) < self.sample:
            kept[place] = view


def severity(view: ImageView) -> float | None:
    """The highest abnormality score; None where no stage looked for findings."""
    verdicts = (abnormality(run) for run in abnormality_runs(view))
    return max((score for verdict in verdicts if verdict for _, score in [verdict]), default=None)
