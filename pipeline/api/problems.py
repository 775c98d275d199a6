"""Every way a request can fail: one kind each, and the problem+json (RFC 9457) that tells it."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""What a client is told to wait where waiting helps."""


class Kind(Enum):
    """A kind of problem: its slug, HTTP status, title and what it means for the caller."""

    MALFORMED = "malformed", 400, "Malformed request", "The body breaks its own format."
    CROSS_SITE = (
        "cross-site",
        403,
        "Cross-site request",
        "A page of another site may not send files in the name of its visitor.",
    )
    NOT_FOUND = "not-found", 404, "Not found", "There is nothing at this address."
    METHOD_NOT_ALLOWED = (
        "method-not-allowed",
        405,
        "Method not allowed",
        "The address exists, but not for this method; see the header Allow.",
    )
    NOT_ACCEPTABLE = (
        "not-acceptable",
        406,
        "Not acceptable",
        "The header Accept names nothing that there is at this address.",
    )
    STALLED = "stalled", 408, "Upload stalled", "No bytes arrived for too long; send it again."
    FILE_TOO_LARGE = (
        "file-too-large",
        413,
        "File too large",
        "Every file of the request is larger than the limit for one file.",
    )
    REQUEST_TOO_LARGE = (
        "request-too-large",
        413,
        "Request too large",
        "The request has more bytes or files than one may have; send several.",
    )
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported-media-type",
        415,
        "Unsupported media type",
        "Files are sent as multipart/form-data.",
    )
    INVALID = (
        "invalid",
        422,
        "Invalid request",
        "A field or parameter is missing or wrong; `errors` names it.",
    )
    REFUSED = (
        "refused",
        422,
        "Every file was refused",
        "No file of the request can become an image; `errors` says why for each.",
    )
    TOO_MANY_UPLOADS = (
        "too-many-uploads",
        429,
        "Too many uploads",
        "As many uploads as can be taken are running; try again in a moment.",
    )
    INTERNAL = "internal", 500, "Internal error", "An unexpected error of this software."
    DAMAGED = (
        "damaged",
        500,
        "Stored bytes missing or damaged",
        "What the database names is not in the storage as it was written.",
    )
    STORAGE_UNAVAILABLE = (
        "storage-unavailable",
        503,
        "Storage unavailable",
        "The object storage does not answer; nothing is lost, try again.",
    )
    DATABASE_UNAVAILABLE = (
        "database-unavailable",
        503,
        "Database unavailable",
        "The database does not answer; nothing is lost, try again.",
    )
    NOT_READY = "not-ready", 503, "Not ready", "A server that this one needs does not answer."
    NO_ROOM = "no-room", 507, "No room", "The disk is almost full; nothing new is taken for now."

    def __init__(self, slug: str, status: int, title: str, meaning: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title
        self.meaning = meaning

    @property
    def type(self) -> str:
        """The RFC 9457 type: where this kind is described."""
        return f"/docs#problem-{self.slug}"

    @property
    def retry_after_s(self) -> int | None:
        """Seconds after which trying again may help; None where it does not."""
        return RETRY_AFTER_S if self.status in (429, 503) else None


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: str = Field(description="where it is: files[0], priority, limit …")
    reason: str = Field(description="in words")
    code: str | None = Field(default=None, description="for programs; a reason code of a refusal")
    name: str | None = Field(default=None, description="the submitted name of the file")


class Problem(BaseModel):
    """Why a request failed, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="address of this kind of problem's description")
    title: str
    status: int
    detail: str = Field(description="this occurrence, in words")
    instance: str | None = Field(default=None, description="path of the request")
    errors: list[FieldError] | None = Field(default=None, description="the fields at fault")
    job_id: str | None = Field(
        default=None, description="the job in which the refused files are recorded"
    )
    checks: dict[str, Any] | None = Field(default=None, description="of /readyz: what answers")


class ProblemError(Exception):
    """A request that fails in a known way; `failures` turns it into a response."""

    def __init__(self, kind: Kind, detail: str | None = None, **members: Any) -> None:
        super().__init__(detail or kind.meaning)
        self.kind = kind
        self.detail = detail or kind.meaning
        self.members = members
        """Further members of the problem: `errors`, `job_id`, `checks`."""


def field_error(field: str, reason: str) -> ProblemError:
    """One field of the request is wrong."""
    error = FieldError(field=field, reason=reason)
    return ProblemError(Kind.INVALID, f"{field}: {reason}", errors=[error])


def problem(kind: Kind, detail: str, instance: str | None = None, **members: Any) -> Problem:
    """The body for one occurrence of a kind."""
    return Problem(
        type=kind.type,
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=instance,
        **members,
    )


def respond(body: Problem, headers: Mapping[str, str]) -> JSONResponse:
    """The response that carries a problem."""
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        body.status,
        headers=dict(headers),
        media_type=MEDIA_TYPE,
    )


def documented(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail in these ways, each with an example."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        known = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    MEDIA_TYPE: {
                        "schema": {"$ref": "#/components/schemas/Problem"},
                        "examples": {},
                    }
                },
            },
        )
        if kind.title not in known["description"]:
            known["description"] += f", or: {kind.title}"
        known["content"][MEDIA_TYPE]["examples"][kind.slug] = {
            "summary": kind.title,
            "value": _example(kind).model_dump(mode="json", exclude_none=True),
        }
    return responses


def _example(kind: Kind) -> Problem:
    return problem(kind, kind.meaning, **_EXAMPLE_MEMBERS.get(kind, {}))


_EXAMPLE_MEMBERS: dict[Kind, dict[str, Any]] = {
    Kind.INVALID: {
        "errors": [
            FieldError(field="priority", reason="use one of stat, routine, bulk"),
        ]
    },
    Kind.REFUSED: {
        "job_id": "019a2f6f3b1c6c0e7f1d2a3b4c5d6e7f",
        "errors": [
            FieldError(
                field="files[0]",
                code="unsupported_format",
                reason="the file is text; read are DICOM, PNG, JPEG, TIFF",
                name="notes.txt",
            )
        ],
    },
    Kind.FILE_TOO_LARGE: {
        "job_id": "019a2f6f3b1c6c0e7f1d2a3b4c5d6e7f",
        "errors": [
            FieldError(
                field="files[0]",
                code="too_many_bytes",
                reason="the file is larger than 268435456 bytes",
                name="chest.dcm",
            )
        ],
    },
    Kind.NOT_READY: {
        "checks": {
            "database": {"ok": True, "why": None},
            "storage": {"ok": False, "why": "no answer within 3 s"},
            "broker": {"ok": True, "why": None},
        }
    },
}
