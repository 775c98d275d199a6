"""STOW-RS (PS3.18 10.5): instances in, through the same door as everything else."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from pipeline.api import dicom_examples, dicom_xml
from pipeline.api.acceptable import JSON, chosen
from pipeline.api.deps import ContextDep
from pipeline.api.problems import Kind, ProblemError, documented
from pipeline.api.related_spool import RelatedSpool
from pipeline.api.spool import Part
from pipeline.api.stored import Failure, Stored
from pipeline.api.uploads import boundary_of, spooled
from pipeline.context import Context
from pipeline.dicom.contexts import TRANSFER_SYNTAXES
from pipeline.dicom.header import PROJECTION_CLASSES
from pipeline.dicom.instance import HEAD_BYTES, Instance, instance_of_file, meta_start
from pipeline.dicom.part10 import without_preamble
from pipeline.dicom.store import OUT_OF_REACH
from pipeline.ingest import NoRoom, Source
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.studies import STOW, take

router = APIRouter(prefix="/dicom-web", tags=["dicomweb"])
log = logging.getLogger(__name__)

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        'multipart/related; type="application/dicom"': {
            "schema": {"type": "string", "contentMediaType": "application/dicom"},
            "example": "(files of PS3.10, one a part)",
        }
    },
}
_ANSWER = {
    JSON: {"schema": {"type": "object"}, "example": dicom_examples.STORED},
    dicom_xml.MEDIA_TYPE: {"schema": {"type": "string"}, "example": dicom_examples.STORED_XML},
}


def _documented() -> dict[int | str, dict[str, Any]]:
    answers: dict[int | str, dict[str, Any]] = documented(
        Kind.MALFORMED,
        Kind.CROSS_SITE,
        Kind.NOT_ACCEPTABLE,
        Kind.STALLED,
        Kind.REQUEST_TOO_LARGE,
        Kind.UNSUPPORTED_MEDIA_TYPE,
        Kind.INVALID,
        Kind.TOO_MANY_UPLOADS,
        Kind.INTERNAL,
        Kind.STORAGE_UNAVAILABLE,
    )
    for status, words in (
        (200, "All instances are stored"),
        (202, "Some instances are stored, the others have their reason"),
        (409, "No instance is stored, each has its reason"),
    ):
        answers[status] = {"description": words, "content": _ANSWER}
    for status in (413, 503):  # of all instances; of the whole request it is a problem
        answers[status]["content"] |= _ANSWER
    return answers


async def parts_of(request: Request, context: ContextDep) -> AsyncIterator[tuple[Part, ...]]:
    """The parts of the body, on disk until the request is answered."""
    chosen(request, JSON, dicom_xml.MEDIA_TYPE)
    boundary = boundary_of(request, b"multipart/related")
    _, options = parse_options_header(request.headers.get("content-type"))
    if options.get(b"type", b"application/dicom") != b"application/dicom":
        raise ProblemError(Kind.UNSUPPORTED_MEDIA_TYPE, "parts are of type application/dicom")
    try:
        async with spooled(request, lambda: RelatedSpool(boundary, context.settings)) as spool:
            yield spool.parts()
    except NoRoom as error:
        # PS3.18 table 8.5-1 knows 503 where a server has run out of something, not 507.
        words = "the disk is almost full; nothing new is taken for now"
        raise ProblemError(Kind.STORAGE_UNAVAILABLE, words) from error


PartsDep = Annotated[tuple[Part, ...], Depends(parts_of)]
Study = Annotated[
    str,
    Path(
        description="Study Instance UID that all instances must have",
        pattern=r"^[0-9.]{1,64}$",
        examples=["1.2.826.0.1.3680043.8.498.1"],
    ),
]


@router.post(
    "/studies",
    response_class=Response,
    openapi_extra={"requestBody": _BODY},
    responses=_documented(),
)
def store_instances(request: Request, context: ContextDep, parts: PartsDep) -> Response:
    """Store instances of any studies and triage them; one job a study (STOW-RS).

    The body is `multipart/related; type="application/dicom"` with a file of PS3.10 in each part.
    A part that is refused does not stop the others; the answer names each with its reason.
    """
    return _answer(request, _store(context, parts, None), None)


@router.post(
    "/studies/{study}",
    response_class=Response,
    openapi_extra={"requestBody": _BODY},
    responses=_documented(),
)
def store_study_instances(
    request: Request, context: ContextDep, parts: PartsDep, study: Study
) -> Response:
    """Store instances of one study and triage them; those of others are refused (STOW-RS).

    Body and answer are those of `POST /dicom-web/studies`.
    """
    return _answer(request, _store(context, parts, study), study)


def _store(context: Context, parts: tuple[Part, ...], study: str | None) -> Stored:
    stored = Stored()
    for part in parts:
        if part.refusal is not None:
            stored.others.append(Failure.PROCESSING)
            stored.too_large += 1
            continue
        try:
            instance, start = _instance(part)
        except Unreadable:
            stored.others.append(Failure.CANNOT_UNDERSTAND)
            continue
        failure = _unfit(instance, study) or _taken(context, instance, part, start)
        if failure is None:
            stored.referenced.append(instance)
        else:
            stored.failed.append((instance, failure))
    log.info("stow", extra={"stored": len(stored.referenced), "status": stored.status})
    return stored


def _instance(part: Part) -> tuple[Instance, int]:
    """What a part holds, and where its file meta information begins."""
    with part.open() as file:
        head = file.read(HEAD_BYTES)
    return instance_of_file(head), meta_start(head)


def _unfit(instance: Instance, study: str | None) -> Failure | None:
    if study is not None and instance.study != study:
        return Failure.MISMATCH
    if instance.sop_class not in PROJECTION_CLASSES:
        return Failure.CLASS_NOT_SUPPORTED
    return None if instance.syntax in TRANSFER_SYNTAXES else Failure.SYNTAX_NOT_SUPPORTED


def _taken(context: Context, instance: Instance, part: Part, start: int) -> Failure | None:
    """Take it in; what stands before and behind it in the request is not held up by its error."""
    source = Source(
        f"{instance.sop_instance}.dcm",
        lambda: without_preamble(part.open, start),
        instance.sop_instance,
    )
    try:
        accepted = take(context, instance.study, STOW, source).accepted
    except OUT_OF_REACH as error:
        log.warning("storage or database fails", extra={"error": type(error).__name__})
        return Failure.OUT_OF_RESOURCES
    if accepted is not None and accepted.reason_code in tuple(ReasonCode):
        return Failure.PROCESSING
    return None


def _answer(request: Request, stored: Stored, study: str | None) -> Response:
    studies = {instance.study for instance in stored.referenced}
    one = study or (studies.pop() if len(studies) == 1 else None)
    url = None if one is None else str(request.url_for("retrieve_study", study=one))
    dataset = stored.dataset(url)
    media = chosen(request, JSON, dicom_xml.MEDIA_TYPE)
    body = json.dumps(dataset.to_json_dict()) if media == JSON else dicom_xml.xml(dataset)
    headers = {"Retry-After": "5"} if stored.status == Kind.STORAGE_UNAVAILABLE.status else None
    return Response(body, stored.status, headers, media_type=media)
