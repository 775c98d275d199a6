"""All files of a run's results, written in one pass over the database."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from models.catalogue import read_cards
from models.errors import CardError
from models.spec import StageSpec
from pipeline.overlay import Store
from pipeline.records import results
from pipeline.reports.files import write_json
from pipeline.reports.heatmaps import HeatmapFolder
from pipeline.reports.page import Heading, write_page
from pipeline.reports.selection import Selection
from pipeline.reports.summary import Summary
from pipeline.reports.tables import tables

SUMMARY = "summary.json"
SHOWN = (500, 100)
"""Images on the page: the most abnormal, and the sample of each status besides."""

DISCLAIMER = "Not a medical device: a research tool whose answers a physician has to check."
"""Said where no model card says it."""


@dataclass(frozen=True, slots=True)
class About:
    """What the database does not know of a run."""

    roots: tuple[str, ...]
    program: str
    images: int
    """Images that ended during this run; a resumed run begins to count anew."""
    seconds: float

    @property
    def images_per_s(self) -> float:
        """Throughput of this run."""
        return round(self.images / self.seconds, 2) if self.seconds > 0 else 0.0


def write_results(
    engine: Engine,
    store: Store,
    stages: tuple[StageSpec, ...],
    job_id: str,
    out: Path,
    about: About,
) -> Summary:
    """Write tables, heatmaps, summary and page of a job into `out`, each file whole.

    Raises OSError where `out` cannot be written, and the database's errors.
    """
    out.mkdir(parents=True, exist_ok=True)
    heatmaps, summary, selection = HeatmapFolder(out, store), Summary(), Selection(*SHOWN)
    with tables(out) as written:
        for views in results.pages(engine, job_id):
            heatmaps.fetch(views)
            written.add(views)
            summary.add(views)
            selection.add(views)
    summary.heatmaps_missing = heatmaps.missing
    write_json(out / SUMMARY, _document(job_id, about, summary))
    heading = Heading(
        title="X-ray triage report",
        roots=about.roots,
        when=_span(summary),
        program=about.program,
        disclaimers=tuple(dict.fromkeys(_disclaimers(stages))) or (DISCLAIMER,),
        images_per_s=about.images_per_s or None,
    )
    write_page(out, store, heading, summary.as_dict(), selection.chosen())
    return summary


def _document(job_id: str, about: About, summary: Summary) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "program": about.program,
        "paths": list(about.roots),
        "first_accepted": _moment(summary.first_accepted),
        "last_finished": _moment(summary.last_finished),
        "this_run": {
            "images": about.images,
            "seconds": round(about.seconds, 2),
            "images_per_s": about.images_per_s,
        },
        **summary.as_dict(),
    }


def _disclaimers(stages: tuple[StageSpec, ...]) -> Iterator[str]:
    for stage in stages:
        try:
            yield from (card.disclaimer for card in read_cards([stage]).values())
        except CardError:
            continue  # the weights lie elsewhere: the workers may run on another machine


def _moment(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).astimezone().isoformat(timespec="seconds")


def _span(summary: Summary) -> str:
    """When it was, in words, by the clock of this place."""
    if summary.first_accepted is None:
        return datetime.now(UTC).astimezone().strftime("%-d %B %Y, %H:%M")
    began = datetime.fromtimestamp(summary.first_accepted, UTC).astimezone()
    ended = datetime.fromtimestamp(summary.last_finished or summary.first_accepted, UTC)
    day_and_time = "%-d %B %Y, %H:%M"
    first, last = began.strftime(day_and_time), ended.astimezone().strftime(day_and_time)
    if first == last:
        return first
    return f"{first} to {last.removeprefix(began.strftime('%-d %B %Y, '))}"
