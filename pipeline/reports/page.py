"""`report.html`: one file that a person likes to read, without a server and without a network."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.overlay import Store, drawn, read
from pipeline.records.results import FindingView, ImageView, RunView
from pipeline.reports.files import replacing
from pipeline.reports.heatmaps import link
from pipeline.reports.row import ABNORMAL, abnormality_runs, said
from pipeline.reports.selection import severity
from pipeline.reports.tables import cells
from pipeline.reports.thumbnails import data_address

PAGE = "report.html"
HEATMAPS_SHOWN = 1
"""Heatmaps of one image on the page; the others are linked from their findings."""
CARDS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture, where the full one lies, and what it shows."""

    address: str | None
    link: str | None
    caption: str


@dataclass(frozen=True, slots=True)
class Card:
    """One image on the page."""

    cells: dict[str, str]
    state: str
    reason_code: str
    reason: str
    severity: float | None
    findings: tuple[FindingView, ...]
    """What was found, without the summing label; labels are said as `row.said` says them."""
    links: dict[str, str]
    """Label -> its heatmap."""
    pictures: tuple[Picture, ...]
    """The image first, then its heatmaps."""
    size_px: tuple[int, int] | None
    """Width and height of the original."""
    flags: tuple[str, ...]
    """Where header and networks disagree, in words."""

    @property
    def order(self) -> float:
        """Sorts what no stage looked at behind everything else."""
        return -1.0 if self.severity is None else self.severity


@dataclass(frozen=True, slots=True)
class Heading:
    """What the head of the page says."""

    title: str
    roots: tuple[str, ...]
    when: str
    program: str
    disclaimers: tuple[str, ...]
    images_per_s: float | None


def write_page(
    out: Path, store: Store, heading: Heading, summary: dict[str, Any], views: Iterable[ImageView]
) -> None:
    """Write the page of these images into the folder `out`; `summary` covers all of the job."""
    environment = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["said"] = said
    template = environment.get_template("report.html.j2")
    views = list(views)
    with replacing(out / PAGE) as file:
        file.writelines(
            template.generate(
                heading=heading,
                summary=summary,
                shown=len(views),
                types=sorted({cells(view)["xray_type"] for view in views} - {""}),
                states=sorted({str(view.row["state"]) for view in views}),
                cards=_cards(store, views),
            )
        )


def _cards(store: Store, views: Iterable[ImageView]) -> Iterator[Card]:
    # Pictures are fetched for a few cards at a time and forgotten once those are written.
    iterator = iter(views)
    while some := list(islice(iterator, CARDS_AT_ONCE)):
        yield from (_card(view, pictures) for view, pictures in _pictured(store, some))


def _pictured(
    store: Store, views: Sequence[ImageView]
) -> Iterator[tuple[ImageView, tuple[Picture, ...]]]:
    """Each image with its pictures: itself, then its heatmaps over it."""
    rows = [view.row["prepared"] for view in views]
    seen = [
        (row, finding.heatmap or "")
        for view, row in zip(views, rows, strict=True)
        for finding in _mapped(view)
    ]
    blobs = read(store, [*rows, *(ref for _, ref in seen)])
    overlays = iter(drawn(seen, blobs))
    for view, row in zip(views, rows, strict=True):
        image = Picture(None if row is None else data_address(blobs[row]), None, "image")
        heatmaps = (
            Picture(data_address(next(overlays)), link(view, finding), said(finding))
            for finding in _mapped(view)
        )
        yield view, (image, *heatmaps)


def _card(view: ImageView, pictures: tuple[Picture, ...]) -> Card:
    row = view.row
    return Card(
        cells=cells(view),
        state=str(row["state"]),
        reason_code=row["reason_code"] or "",
        reason=row["reason"] or "",
        severity=severity(view),
        findings=tuple(finding for finding in _found(view) if finding.label != ABNORMAL),
        links={f.label: link(view, f) for f in _found(view) if f.heatmap is not None},
        pictures=pictures,
        size_px=(row["width_px"], row["height_px"]) if row["width_px"] else None,
        flags=tuple(flag["message"] for flag in row["flags"] or ()),
    )


def _found(view: ImageView) -> list[FindingView]:
    runs: list[RunView] = abnormality_runs(view)
    return [finding for run in runs for finding in run.findings]


def _mapped(view: ImageView) -> list[FindingView]:
    """The findings whose heatmaps are shown: the surest."""
    mapped = [finding for finding in _found(view) if finding.heatmap is not None]
    mapped.sort(key=lambda finding: -finding.score)
    return mapped[:HEATMAPS_SHOWN]
