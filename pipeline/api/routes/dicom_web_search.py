"""QIDO-RS (PS3.18 10.6): which studies, series and instances there are among our results."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydicom.datadict import keyword_for_tag
from starlette.requests import Request

from pipeline.api import dicom_examples, dicom_json
from pipeline.api.acceptable import JSON, chosen
from pipeline.api.deps import ContextDep
from pipeline.api.dicom_json import Address, DicomJson
from pipeline.api.problems import Kind, documented, field_error
from pipeline.api.routes.dicom_web import UID_FORM, Uid
from pipeline.context import Context
from pipeline.dicom import results
from pipeline.dicom.results import Result

router = APIRouter(prefix="/dicom-web", tags=["dicomweb"])

_MATCHED: Final[dict[str, Callable[[Result], str]]] = {
    "StudyInstanceUID": lambda result: result.study_uid,
    "SeriesInstanceUID": lambda result: result.place.series_uid,
    "SOPInstanceUID": lambda result: result.sop_uid,
    "Modality": lambda result: result.modality,
    "ModalitiesInStudy": lambda result: result.modality,
}
_SETTLED: Final = frozenset(("limit", "offset", "includefield", "fuzzymatching"))
"""Parameters that are no match; we always answer with all fields that we have."""


def _found(example: Any) -> dict[int | str, dict[str, Any]]:
    content = {JSON: {"schema": {"type": "array"}, "example": example}}
    return {
        200: {"description": "What matches; an empty list where nothing does", "content": content},
        **documented(Kind.NOT_ACCEPTABLE, Kind.INVALID, Kind.INTERNAL, Kind.DATABASE_UNAVAILABLE),
    }


@dataclass(frozen=True, slots=True)
class Search:
    """What the caller looks for, and which part of it."""

    wanted: dict[str, frozenset[str]]
    limit: int
    offset: int
    address: Address

    def fits(self, result: Result) -> bool:
        """Whether an instance matches all that is asked."""
        return all(_MATCHED[name](result) in values for name, values in self.wanted.items())

    def part(self, found: Iterator[dict[str, Any]]) -> DicomJson:
        """The asked part of what was found."""
        return DicomJson(list(islice(found, self.offset, self.offset + self.limit)))


def search(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most entries")] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Entries to leave out")] = 0,
) -> Search:
    """The search in the query: `limit`, `offset`, and attributes by keyword or tag to match.

    Matched are StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID (several with commas),
    Modality and ModalitiesInStudy; asking for another is an error, since what is answered would
    not be what was asked.
    """
    chosen(request, JSON)
    wanted: dict[str, frozenset[str]] = {}
    for name, value in request.query_params.multi_items():
        if name in _SETTLED:
            continue
        keyword = _keyword(name)
        if keyword not in _MATCHED:
            raise field_error(name, f"is not matched; there are {', '.join(_MATCHED)}")
        if value and value != "*":
            wanted[keyword] = frozenset(value.replace("\\", ",").split(","))
    return Search(wanted, limit, offset, _addresses(request))


SearchDep = Annotated[Search, Depends(search)]


@router.get("/studies", response_class=DicomJson, responses=_found(dicom_examples.QIDO_STUDIES))
def search_studies(context: ContextDep, asked: SearchDep) -> DicomJson:
    """Studies that have results, the latest first; matched by any of their instances (QIDO-RS)."""
    return asked.part(
        dicom_json.study(found, asked.address)
        for found in _studies(context, asked)
        if any(asked.fits(result) for result in found)
    )


@router.get(
    "/studies/{study}/series",
    response_class=DicomJson,
    responses=_found(dicom_examples.QIDO_SERIES),
)
def search_series(context: ContextDep, study: Uid, asked: SearchDep) -> DicomJson:
    """The series of a study that hold results (QIDO-RS)."""
    return asked.part(
        dicom_json.series(found, asked.address)
        for found in _series(results.of_study(context, study))
        if any(asked.fits(result) for result in found)
    )


@router.get(
    "/studies/{study}/instances",
    response_class=DicomJson,
    responses=_found(dicom_examples.QIDO_INSTANCES),
)
def search_study_instances(context: ContextDep, study: Uid, asked: SearchDep) -> DicomJson:
    """The results of a study (QIDO-RS)."""
    return _instances(asked, results.of_study(context, study))


@router.get(
    "/studies/{study}/series/{series}/instances",
    response_class=DicomJson,
    responses=_found(dicom_examples.QIDO_INSTANCES),
)
def search_series_instances(
    context: ContextDep, study: Uid, series: Uid, asked: SearchDep
) -> DicomJson:
    """The results of a series (QIDO-RS)."""
    found = [r for r in results.of_study(context, study) if r.place.series_uid == series]
    return _instances(asked, found)


def _instances(asked: Search, found: Sequence[Result]) -> DicomJson:
    return asked.part(
        dicom_json.instance(result, asked.address) for result in found if asked.fits(result)
    )


def _studies(context: Context, asked: Search) -> Iterator[list[Result]]:
    named = asked.wanted.get("StudyInstanceUID")
    if named is None:
        return results.studies(context)
    # What is no UID matches nothing; it may hold what PostgreSQL takes for no text at all.
    uids = sorted(uid for uid in named if UID_FORM.fullmatch(uid))
    return filter(None, (results.of_study(context, uid) for uid in uids))


def _series(found: Sequence[Result]) -> Iterator[list[Result]]:
    def of(result: Result) -> tuple[int, str]:
        return result.place.series_number, result.place.series_uid

    return (list(some) for _, some in groupby(sorted(found, key=of), of))


def _keyword(name: str) -> str:
    """The keyword of an attribute that is named by keyword or by tag, as in 0020000D."""
    try:
        return keyword_for_tag(int(name, 16)) if len(name) == 8 else name
    except (ValueError, OverflowError):
        return name


def _addresses(request: Request) -> Address:
    def address(*uids: str) -> str:
        route = ("retrieve_study", "retrieve_series", "retrieve_instance")[len(uids) - 1]
        levels = ("study", "series", "instance")[: len(uids)]
        return str(request.url_for(route, **dict(zip(levels, uids, strict=True))))

    return address
