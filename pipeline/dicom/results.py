"""What was found, as DICOM instances: planned from the records alone, made when asked for.

A plan needs no pixels, so that a search is cheap; `make` reads the storage and gives the bytes of
a Part 10 file, the same ones each time.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from pipeline.context import Context
from pipeline.dicom import sc, sr
from pipeline.dicom.owner import NOBODY, owners
from pipeline.dicom.source import NOTICE, Place, Source, source_of
from pipeline.dicom.uids import image_of_study, named
from pipeline.overlay import overlays
from pipeline.records import reported
from pipeline.records.reported import Told
from pipeline.records.results import FindingView, ImageView, RunView
from pipeline.storage import ObjectRef, StorageError

FORMAT: Final = "1"
"""Part of every UID; raise it when the same findings are written differently."""

_FIRST_SERIES: Final = 9000  # far behind those of any modality


@dataclass(frozen=True, slots=True)
class Result:
    """One instance that can be made."""

    study_uid: str
    sop_class_uid: str
    modality: str
    place: Place
    sources: tuple[Source, ...]
    """What it is about: all images of the study for a report, one for a picture."""
    make_dataset: Callable[[Context], Dataset]

    @property
    def sop_uid(self) -> str:
        """(0008,0018)."""
        return self.place.sop_uid

    @property
    def finished_at(self) -> float:
        """When the last of its images ended, seconds since 1970."""
        return max(float(source.view.row["finished_at"]) for source in self.sources)


def of_study(context: Context, study_uid: str) -> list[Result]:
    """All results of a study, of every job that had it. Empty where there is none."""
    told = reported.of_study(context.engine, study_uid, image_of_study(study_uid))
    return [result for result in _planned(context, told) if result.study_uid == study_uid]


def of_job(context: Context, job_id: str) -> list[Result]:
    """All results of a job."""
    return list(_planned(context, reported.of_job(context.engine, job_id)))


def of_image(context: Context, view: ImageView) -> list[Result]:
    """The report of the image's study, and the pictures of this image."""
    planned = _planned(context, reported.beside(context.engine, view))
    mine = view.row["id"]
    return [result for result in planned if any(source.id == mine for source in result.sources)]


def studies(context: Context) -> Iterator[list[Result]]:
    """The results of each study that has some, the latest study first; fetched when asked for."""
    for key in reported.keys(context.engine):
        found: dict[str, list[Result]] = defaultdict(list)
        for result in _planned(context, reported.of_study(context.engine, key, (key, key))):
            found[result.study_uid].append(result)
        yield from found.values()


def make(context: Context, result: Result) -> bytes:
    """The bytes of the instance. Raises StorageError where a picture cannot be read.

    Who does not need bytes takes `make_dataset`: to read a hospital's odd values back is to be
    warned of them, in words that quote them.
    """
    return as_file(result.make_dataset(context))


def as_file(instance: Dataset) -> bytes:
    """The instance as a file (PS3.10)."""
    file = BytesIO()
    dcmwrite(file, instance, enforce_file_format=True)
    return file.getvalue()


def _planned(context: Context, told: Iterable[Told]) -> Iterator[Result]:
    for unit in told:
        known = owners(context, [view.row["id"] for view in unit.views])
        studies: dict[str, list[Source]] = defaultdict(list)
        for view in unit.views:
            source = source_of(view, *known.get(view.row["id"], NOBODY))
            studies[source.study_uid].append(source)
        for sources in studies.values():
            yield from _instances(unit.job_id, tuple(sources))


def _instances(job_id: str, sources: tuple[Source, ...]) -> Iterator[Result]:
    study_uid = sources[0].study_uid
    yield _report(job_id, study_uid, sources)
    for source in sources:
        if not source.is_dicom:
            yield _picture(study_uid, source)
    shown = [
        (number, source, run, finding)
        for number, source in enumerate(sources, 1)
        for run in source.newest
        for finding in run.findings
        if finding.heatmap is not None
    ]
    series = sorted({(run.model_version, finding.label) for _, _, run, finding in shown})
    for number, source, run, finding in shown:
        rank = series.index((run.model_version, finding.label))
        place = Place(
            named("overlays", job_id, study_uid, run.model_version, finding.label),
            _FIRST_SERIES + 2 + rank,
            f"AI heatmap {finding.label} {run.model_version}"[:64],
            named("overlay", *_content(source), run.stage, finding.label),
            number,
        )
        yield _overlay(study_uid, source, run, finding, place)


def _report(job_id: str, study_uid: str, sources: tuple[Source, ...]) -> Result:
    content = [part for source in sources for part in _content(source)]
    place = Place(
        named("reports", job_id, study_uid), _FIRST_SERIES, NOTICE, named("report", *content), 1
    )
    return Result(
        study_uid,
        ComprehensiveSRStorage,
        "SR",
        place,
        sources,
        lambda _context: sr.report(sources, place),
    )


def _picture(study_uid: str, source: Source) -> Result:
    place = Place(source.series_uid, _FIRST_SERIES + 1, "Image as triaged", source.sop_uid, 1)

    def make_dataset(context: Context) -> Dataset:
        stored = context.store.get(ObjectRef.parse(source.view.row["prepared"]))
        return sc.picture(source, stored, place)

    return Result(study_uid, SecondaryCaptureImageStorage, "OT", place, (source,), make_dataset)


def _overlay(
    study_uid: str, source: Source, run: RunView, finding: FindingView, place: Place
) -> Result:
    def make_dataset(context: Context) -> Dataset:
        (png,) = overlays(context.store, [(source.view.row["prepared"], finding.heatmap or "")])
        if isinstance(png, StorageError):
            raise png
        return sc.overlay(source, run, finding, png, place)

    return Result(study_uid, SecondaryCaptureImageStorage, "OT", place, (source,), make_dataset)


def _content(source: Source) -> tuple[str, ...]:
    """Everything of an image that its instances may show, for their UIDs."""
    row = source.view.row
    runs = [_facts(run) for run in source.newest]
    facts = [runs, row["flags"], row["header"], str(row["state"]), row["finished_at"]]
    return FORMAT, source.id, source.sop_uid, source.seal, json.dumps(facts, sort_keys=True)


def _facts(run: RunView) -> Sequence[Any]:
    findings = [
        (f.label, f.score, f.threshold, f.positive, f.experimental, f.heatmap) for f in run.findings
    ]
    return run.model_version, run.answer, run.scores, run.operating_point, run.rules, findings
