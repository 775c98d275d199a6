"""Jobs: files in, counts and results out."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pipeline.api import examples, present, results_csv
from pipeline.api.deps import ContextDep, JobDep
from pipeline.api.problems import FieldError, Kind, ProblemError, documented, field_error
from pipeline.api.schemas import JobAccepted, JobPublic, PriorityWord, ResultsPage
from pipeline.api.spool import Form
from pipeline.api.uploads import FormDep
from pipeline.context import Context
from pipeline.ingest import Accepted, Source, accept, sources_of
from pipeline.limits import ArchiveLimits
from pipeline.reasons import ReasonCode
from pipeline.records import intake, results
from pipeline.states import Priority, State

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {
                    "files": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "Images; a zip counts as its members.",
                    },
                    "priority": {
                        "type": "string",
                        "enum": ["stat", "routine", "bulk"],
                        "default": "routine",
                        "description": "Urgency: stat, routine or bulk.",
                    },
                },
            },
            "example": {"files": ["chest.dcm", "ward3.zip"], "priority": "stat"},
        }
    },
}

_CREATED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {
                "description": "Address of the job",
                "schema": {"type": "string"},
                "example": examples.JOB_ACCEPTED["url"],
            }
        }
    }
}

_RESULTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": examples.RESULTS_CSV},
        },
        "headers": {
            "Link": {
                "description": 'The next page, rel="next"; absent on the last',
                "schema": {"type": "string"},
                "example": f'<{examples.RESULTS["next"]}>; rel="next"',
            }
        },
    }
}


@router.post(
    "",
    status_code=202,
    response_description="The job and its images",
    response_model=JobAccepted,
    openapi_extra={"requestBody": _BODY},
    responses={
        **_CREATED,
        **documented(
            Kind.MALFORMED,
            Kind.CROSS_SITE,
            Kind.STALLED,
            Kind.FILE_TOO_LARGE,
            Kind.REQUEST_TOO_LARGE,
            Kind.UNSUPPORTED_MEDIA_TYPE,
            Kind.INVALID,
            Kind.REFUSED,
            Kind.TOO_MANY_UPLOADS,
            Kind.INTERNAL,
            Kind.STORAGE_UNAVAILABLE,
            Kind.DATABASE_UNAVAILABLE,
            Kind.NO_ROOM,
        ),
    },
)
def create_job(
    request: Request,
    response: Response,
    context: ContextDep,
    form: FormDep,
    priority: Annotated[
        PriorityWord | None,
        Query(description="Urgency; the form field goes before"),
    ] = None,
) -> JobAccepted:
    """Send images and get a job; its images are triaged from now on.

    One file or many, each as a form field `files`. A file that cannot be taken does not stop the
    others: it is in the answer as `rejected`, with its reason. Where every file is refused, the
    answer is a problem that names them.
    """
    urgency = _urgency(form, priority)
    if not form.files:
        raise field_error("files", "send at least one file")
    job_id = intake.open_job(context.engine, "api", urgency)
    fields: deque[int] = deque()
    try:
        accepted = list(accept(context, job_id, _sources(context, form, fields)))
    finally:
        intake.close_job(context.engine, job_id)
    if all(image.state is State.REJECTED for image in accepted):
        raise _all_refused(job_id, accepted, fields)
    answer = present.job_accepted(job_id, urgency, accepted, present.links(request))
    response.headers["Location"] = answer.url
    return answer


@router.get(
    "/{job_id}",
    response_description="The job",
    responses=documented(Kind.NOT_FOUND, Kind.INTERNAL, Kind.DATABASE_UNAVAILABLE),
)
def get_job(request: Request, job: JobDep) -> JobPublic:
    """How far a job is: images per state, and the finished share."""
    return present.job_public(job, present.links(request))


@router.get(
    "/{job_id}/results",
    response_model=ResultsPage,
    response_description="Images and what was said of them",
    responses={
        **_RESULTS,
        **documented(Kind.NOT_FOUND, Kind.INVALID, Kind.INTERNAL, Kind.DATABASE_UNAVAILABLE),
    },
)
def list_results(
    request: Request,
    response: Response,
    context: ContextDep,
    job: JobDep,
    after: Annotated[
        str | None,
        Query(description="Id of the last image already seen", pattern=r"^[0-9a-f]{32}$"),
    ] = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=1000, description="Most images; 100 if unset, for CSV all of them"),
    ] = None,
    format: Annotated[  # noqa: A002 - the name in the address
        Literal["json", "csv"] | None, Query(description="Goes before the header Accept")
    ] = None,
) -> ResultsPage | Response:
    """The images of a job in order of arrival, finished or not, with their results.

    JSON comes in pages. CSV has the columns of the command line's `results.csv`; without `limit`
    it holds the whole job.
    """
    link = present.links(request)
    as_csv = format == "csv" or (format is None and _prefers_csv(request))
    if as_csv and limit is None:
        return _csv(results_csv.whole(context.engine, job.id, after, link))
    size = limit or 100
    views = results.page(context.engine, job.id, after, size + 1)
    more = len(views) > size
    views = views[:size]
    following = _next(request, views[-1].row["id"], size) if more else None
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    if as_csv:
        return _csv(iter([results_csv.header(), results_csv.rows(views, link)]), headers)
    response.headers.update(headers)
    return ResultsPage(items=[present.image_public(view, link) for view in views], next=following)


def _urgency(form: Form, query: PriorityWord | None) -> Priority:
    unknown = form.fields.keys() - {"priority"}
    if unknown:
        raise field_error(min(unknown), "no such field; there are `files` and `priority`")
    try:
        return Priority.parse(form.fields.get("priority") or query or "routine")
    except ValueError as error:
        raise field_error("priority", str(error)) from error


def _sources(context: Context, form: Form, fields: deque[int]) -> Iterator[Source]:
    """The files, zips unpacked; `fields` tells for each from which form field it came."""
    settings = context.settings
    left = settings.max_request_files
    for index, part in enumerate(form.files):
        limits = replace(
            ArchiveLimits(), max_members=max(1, left), max_member_bytes=settings.max_file_bytes
        )
        if part.refusal is not None:
            sources = iter([Source(part.name, part.open, refusal=part.refusal)])
        else:
            sources = sources_of(part.name, part.open, limits=limits)
        for source in sources:
            left -= 1
            fields.append(index)
            yield source


def _all_refused(job_id: str, accepted: list[Accepted], fields: deque[int]) -> ProblemError:
    errors = [
        FieldError(
            field=f"files[{index}]",
            reason=image.reason or "",
            code=image.reason_code,
            name=image.name,
        )
        for index, image in zip(fields, accepted, strict=True)
    ]
    codes = Counter(image.reason_code for image in accepted)
    too_large = set(codes) == {ReasonCode.TOO_MANY_BYTES}
    detail = f"{errors[0].field}: {errors[0].reason}"
    if len(errors) > 1:
        detail = f"all {len(errors)} files were refused, the first because: {errors[0].reason}"
    kind = Kind.FILE_TOO_LARGE if too_large else Kind.REFUSED
    return ProblemError(kind, detail, errors=errors, job_id=job_id)


def _prefers_csv(request: Request) -> bool:
    return request.headers.get("accept", "").strip().startswith("text/csv")


def _next(request: Request, after: str, limit: int) -> str:
    return str(request.url.include_query_params(after=after, limit=limit))


def _csv(body: Iterator[str], headers: dict[str, str] | None = None) -> Response:
    disposition = {"Content-Disposition": 'attachment; filename="results.csv"'}
    return StreamingResponse(body, media_type="text/csv", headers=disposition | (headers or {}))
