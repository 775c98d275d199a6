"""WADO-RS (PS3.18 10.4): our results as DICOM instances, and those of one image as a zip."""

import io
import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api import dicom_examples, dicom_json
from pipeline.api.acceptable import DICOM, JSON, RELATED, chosen
from pipeline.api.deps import ContextDep, ImageDep
from pipeline.api.dicom_json import DicomJson
from pipeline.api.parts import ZipResponse, related, zipped
from pipeline.api.problems import Kind, ProblemError, documented
from pipeline.dicom import results
from pipeline.dicom.results import Result

router = APIRouter(tags=["dicomweb"])

UID_FORM = re.compile(r"[0-9.]{1,64}")
Uid = Annotated[
    str,
    Path(
        description="A UID",
        pattern=f"^{UID_FORM.pattern}$",
        examples=["1.2.826.0.1.3680043.8.498.1"],
    ),
]
PNG, JPEG = "image/png", "image/jpeg"

_PROBLEMS = documented(
    Kind.NOT_FOUND,
    Kind.NOT_ACCEPTABLE,
    Kind.INVALID,
    Kind.INTERNAL,
    Kind.DAMAGED,
    Kind.STORAGE_UNAVAILABLE,
    Kind.DATABASE_UNAVAILABLE,
)


def _ok(**content: Any) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "What was asked for", "content": content}, **_PROBLEMS}


_BYTES = {"schema": {"type": "string", "contentMediaType": DICOM}, "example": "(bytes)"}
_PARTS = _ok(**{RELATED: _BYTES})
_PART = _ok(**{RELATED: _BYTES, DICOM: _BYTES})
_METADATA = _ok(**{JSON: {"schema": {"type": "array"}, "example": dicom_examples.METADATA}})
_RENDERED = _ok(
    **{
        media: {"schema": {"type": "string", "contentMediaType": media}, "example": "(bytes)"}
        for media in (JPEG, PNG)
    }
)
_ZIP = _ok(
    **{
        "application/zip": {
            "schema": {"type": "string", "contentMediaType": "application/zip"},
            "example": "(bytes of a zip)",
        }
    }
)


def found_study(context: ContextDep, study: Uid) -> list[Result]:
    """The results of the study in the address, or a 404."""
    return _some(results.of_study(context, study), "study")


StudyDep = Annotated[list[Result], Depends(found_study)]


def found_series(study_results: StudyDep, series: Uid) -> list[Result]:
    """The results of the series in the address, or a 404."""
    return _some([r for r in study_results if r.place.series_uid == series], "series")


SeriesDep = Annotated[list[Result], Depends(found_series)]


def found_instance(series_results: SeriesDep, instance: Uid) -> list[Result]:
    """The one result in the address, or a 404."""
    return _some([r for r in series_results if r.sop_uid == instance], "instance")


InstanceDep = Annotated[list[Result], Depends(found_instance)]


@router.get("/v1/images/{image_id}/dicom", response_class=ZipResponse, responses=_ZIP)
def get_image_dicom(context: ContextDep, view: ImageDep) -> ZipResponse:
    """The results of an image as DICOM: a zip with the Structured Report of its study and a
    Secondary Capture for each of its heatmaps.

    They are there once all images of the study that came with it have ended; until then, and for
    an image of which no model said anything, this is 404.
    """
    found = results.of_image(context, view)
    if not found:
        words = "no results as DICOM: its study has not ended, or no model said anything of it"
        raise ProblemError(Kind.NOT_FOUND, f"this image has {words}")
    return zipped(context, found, f"xraytriage-{view.row['id']}.zip")


@router.get("/dicom-web/studies/{study}", response_class=Response, responses=_PARTS)
def retrieve_study(request: Request, context: ContextDep, found: StudyDep) -> Response:
    """All results of a study, one part an instance (WADO-RS)."""
    chosen(request, RELATED)
    return related(context, found)


@router.get("/dicom-web/studies/{study}/series/{series}", response_class=Response, responses=_PARTS)
def retrieve_series(request: Request, context: ContextDep, found: SeriesDep) -> Response:
    """All results of a series, one part an instance (WADO-RS)."""
    chosen(request, RELATED)
    return related(context, found)


@router.get(
    "/dicom-web/studies/{study}/series/{series}/instances/{instance}",
    response_class=Response,
    responses=_PART,
)
def retrieve_instance(request: Request, context: ContextDep, found: InstanceDep) -> Response:
    """One result: as the one part of a multipart body, or as it is (WADO-RS)."""
    if chosen(request, RELATED, DICOM) == DICOM:
        return Response(results.make(context, found[0]), media_type=DICOM)
    return related(context, found)


@router.get("/dicom-web/studies/{study}/metadata", response_class=DicomJson, responses=_METADATA)
def retrieve_study_metadata(request: Request, context: ContextDep, found: StudyDep) -> DicomJson:
    """All results of a study without their pixels (WADO-RS)."""
    return _metadata(request, context, found)


@router.get(
    "/dicom-web/studies/{study}/series/{series}/metadata",
    response_class=DicomJson,
    responses=_METADATA,
)
def retrieve_series_metadata(request: Request, context: ContextDep, found: SeriesDep) -> DicomJson:
    """All results of a series without their pixels (WADO-RS)."""
    return _metadata(request, context, found)


@router.get(
    "/dicom-web/studies/{study}/series/{series}/instances/{instance}/metadata",
    response_class=DicomJson,
    responses=_METADATA,
)
def retrieve_instance_metadata(
    request: Request, context: ContextDep, found: InstanceDep
) -> DicomJson:
    """One result without its pixels (WADO-RS)."""
    return _metadata(request, context, found)


@router.get(
    "/dicom-web/studies/{study}/series/{series}/instances/{instance}/rendered",
    response_class=Response,
    responses=_RENDERED,
)
def retrieve_rendered_instance(
    request: Request, context: ContextDep, found: InstanceDep
) -> Response:
    """A heatmap as a browser shows it (WADO-RS); a report is not rendered, ask for its page."""
    if found[0].modality == "SR":
        raise ProblemError(Kind.NOT_FOUND, "this instance is a report, which has no pixels")
    media = chosen(request, JPEG, PNG)
    pixels = found[0].make_dataset(context).pixel_array
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, media.removeprefix("image/").upper())
    return Response(picture.getvalue(), media_type=media)


def _metadata(request: Request, context: ContextDep, found: Sequence[Result]) -> DicomJson:
    chosen(request, JSON)
    return DicomJson([dicom_json.metadata(result.make_dataset(context)) for result in found])


def _some(found: list[Result], what: str) -> list[Result]:
    if not found:
        raise ProblemError(Kind.NOT_FOUND, f"we have no results of this {what}")
    return found
