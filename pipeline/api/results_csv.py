"""The results of a job as CSV, in the columns of the command line's `results.csv`."""

import csv
from collections.abc import Iterable, Iterator
from io import StringIO

from sqlalchemy import Engine

from pipeline.api.present import Links, heatmap_link
from pipeline.records import results
from pipeline.records.results import ImageView
from pipeline.reports.row import COLUMNS, row_of

PAGE = 500


def whole(engine: Engine, job_id: str, after: str | None, link: Links) -> Iterator[str]:
    """Every row from behind the image `after`, page by page, in constant memory."""
    yield header()
    while views := results.page(engine, job_id, after, PAGE):
        yield rows(views, link)
        after = views[-1].row["id"]


def header() -> str:
    """The first line."""
    return _text([dict(zip(COLUMNS, COLUMNS, strict=True))])


def rows(views: Iterable[ImageView], link: Links) -> str:
    """One line an image; heatmaps are addresses."""
    return _text(_cells(view, link) for view in views)


def _cells(view: ImageView, link: Links) -> dict[str, str]:
    return row_of(view, lambda finding: heatmap_link(link, view.row["id"], finding))


def _text(lines: Iterable[dict[str, str]]) -> str:
    out = StringIO()
    csv.DictWriter(out, COLUMNS).writerows(lines)
    return out.getvalue()
