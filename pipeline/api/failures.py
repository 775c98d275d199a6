"""The one table from exceptions to problems, so that no route builds an error response itself."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from pipeline import metrics
from pipeline.api.headers import SECURITY
from pipeline.api.pages.render import error_page, wants_page
from pipeline.api.problems import FieldError, Kind, Problem, ProblemError, problem, respond
from pipeline.ingest import NoRoom
from pipeline.storage import ObjectMissing, StorageCorrupt, StorageError, StorageFull

_KINDS: dict[type[Exception], Kind] = {
    NoRoom: Kind.NO_ROOM,
    StorageFull: Kind.NO_ROOM,
    ObjectMissing: Kind.DAMAGED,
    StorageCorrupt: Kind.DAMAGED,
    StorageError: Kind.STORAGE_UNAVAILABLE,
    DBAPIError: Kind.DATABASE_UNAVAILABLE,
    PoolTimeout: Kind.DATABASE_UNAVAILABLE,
    ClientDisconnect: Kind.MALFORMED,
    Exception: Kind.INTERNAL,
}
"""What an error of the layers below is called here; its own words stay inside (they may name
hosts, buckets or files), the caller reads the meaning of the kind."""

_STATUSES = {
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.REQUEST_TOO_LARGE,
    415: Kind.UNSUPPORTED_MEDIA_TYPE,
    429: Kind.TOO_MANY_UPLOADS,
}

log = logging.getLogger(__name__)

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


def handlers() -> dict[int | type[Exception], Handler]:
    """What FastAPI calls for each kind of exception."""
    table: dict[int | type[Exception], Handler] = dict.fromkeys(_KINDS, _fault)
    table[ProblemError] = _problem
    table[RequestValidationError] = _invalid
    table[HTTPException] = _http
    return table


async def _problem(request: Request, error: ProblemError) -> Response:
    return _respond(request, error.kind, error.detail, **error.members)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    errors = [_field_error(item) for item in error.errors()]
    detail = "; ".join(f"{item.field}: {item.reason}" for item in errors)
    return _respond(request, Kind.INVALID, detail, errors=errors)


async def _http(request: Request, error: HTTPException) -> Response:
    kind = _STATUSES.get(error.status_code, Kind.MALFORMED)
    return _respond(request, kind, kind.meaning, headers=dict(error.headers or {}))


async def _fault(request: Request, error: Exception) -> Response:
    kind = next(_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS)
    # Names of exceptions only: a database's message may quote the file name it was given.
    chain = [type(link).__name__ for link in (error, error.__cause__) if link is not None]
    log.warning("request failed", extra={"problem": kind.slug, "error": " from ".join(chain)})
    return _respond(request, kind, kind.meaning)


def _respond(
    request: Request,
    kind: Kind,
    detail: str,
    headers: dict[str, str] | None = None,
    **members: Any,
) -> Response:
    metrics.problem(kind.slug)
    body: Problem = problem(kind, detail, request.url.path, **members)
    # Errors of this software leave above the middleware, so the headers are set here as well.
    headers = SECURITY | (headers or {})
    if kind.retry_after_s is not None:
        headers["Retry-After"] = str(kind.retry_after_s)
    if wants_page(request):
        return error_page(request, body, headers)
    return respond(body, headers)


def _field_error(item: dict[str, Any]) -> FieldError:
    # The location begins with where the field is: query, path, header or body.
    field = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    return FieldError(field=field, reason=item["msg"])
