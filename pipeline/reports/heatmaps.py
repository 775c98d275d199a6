"""Heatmaps as files: drawn from the storage in bulk, named so that a person finds them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.overlay import Store, overlays
from pipeline.records.results import FindingView, ImageView
from pipeline.reports.files import write_bytes
from pipeline.reports.row import abnormality_runs
from pipeline.storage import ObjectRef, StorageError

AT_ONCE = 64
"""Heatmaps in memory at the same time."""

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


class HeatmapFolder:
    """The folder `heatmaps` of a run's results."""

    def __init__(self, out: Path, store: Store) -> None:
        """Make the folder below `out`."""
        self.missing = 0
        """Heatmaps that the database names and the storage did not give."""
        self._out = out
        self._store = store
        (out / "heatmaps").mkdir(parents=True, exist_ok=True)

    def fetch(self, views: Iterable[ImageView]) -> None:
        """Write the heatmaps of these images, those left out that are there already."""
        absent = [
            (view.row["prepared"], ref, path)
            for view, finding, ref in _with_heatmap(views)
            if not (path := self._out / link(view, finding)).exists()
        ]
        absent.sort(key=lambda each: each[1])  # those of one pack come in one request
        for start in range(0, len(absent), AT_ONCE):
            some = absent[start : start + AT_ONCE]
            pictures = overlays(self._store, [(image, ref) for image, ref, _ in some])
            for (_, _, path), picture in zip(some, pictures, strict=True):
                if isinstance(picture, StorageError):
                    self.missing += 1
                else:
                    write_bytes(path, picture)


def link(view: ImageView, finding: FindingView) -> str:
    """The path of a finding's heatmap relative to the results: image, label, what is in it.

    The checksum makes the name that of one content for ever: a file that is there is the right one.
    """
    name = view.row["name"].rpartition("/")[2]
    stem = _NOT_IN_NAMES.sub("_", name.rpartition(".")[0] or name)[:60]
    label = _NOT_IN_NAMES.sub("_", finding.label)
    checksum = ObjectRef.parse(finding.heatmap or "").sha256[:12]
    return f"heatmaps/{stem}-{label}-{checksum}.png"


def _with_heatmap(views: Iterable[ImageView]) -> Iterator[tuple[ImageView, FindingView, str]]:
    for view in views:
        for run in abnormality_runs(view):
            for finding in run.findings:
                if finding.heatmap is not None:
                    yield view, finding, finding.heatmap
