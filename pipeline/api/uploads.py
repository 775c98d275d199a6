"""The dependency that receives an upload: checks what can be told early, spools the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

from fastapi import Depends
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from pipeline.api.deps import ContextDep
from pipeline.api.problems import Kind, ProblemError
from pipeline.api.spool import MAX_BODY_BYTES, Form, Spool
from pipeline.context import Context
from pipeline.ingest import NoRoom
from pipeline.storage import room

S = TypeVar("S", bound=Spool)

UPLOADS_AT_ONCE = 32
"""More are answered 429: those that run hold threads, and reads need some too."""
SILENCE_S = 60.0
"""An upload that sends nothing for so long is given up."""
BLOCK = 2**18
"""Bytes gathered before a thread is asked to write them."""


class Gate:
    """How many uploads run in this process."""

    def __init__(self, places: int = UPLOADS_AT_ONCE) -> None:
        self._free = places

    def __enter__(self) -> None:
        if not self._free:
            raise ProblemError(Kind.TOO_MANY_UPLOADS)
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


async def received(request: Request, context: ContextDep) -> AsyncIterator[Form]:
    """The files and fields of a multipart body, on disk until the request is answered."""
    boundary = boundary_of(request, b"multipart/form-data")
    async with spooled(request, lambda: Spool(boundary, context.settings)) as spool:
        yield spool.finish()


@asynccontextmanager
async def spooled(request: Request, new_spool: Callable[[], S]) -> AsyncIterator[S]:
    """A spool with the whole body in it, closed at the end. Raises ProblemError and NoRoom."""
    context: Context = request.app.state.context
    gate: Gate = request.app.state.gate
    _check_length(request)
    with gate:
        if not await run_in_threadpool(room, context.settings):
            raise NoRoom("the disk is under its watermark")
        spool = new_spool()
        try:
            await _receive(request, spool)
            yield spool
        finally:
            spool.close()


FormDep = Annotated[Form, Depends(received)]


async def _receive(request: Request, spool: Spool) -> None:
    blocks = request.stream()
    gathered = bytearray()
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                block = await anext(blocks, None)
        except TimeoutError:
            raise ProblemError(Kind.STALLED) from None
        gathered += block or b""
        if len(gathered) >= BLOCK or block is None:
            await run_in_threadpool(spool.feed, bytes(gathered))
            gathered.clear()
        if block is None:
            return


def boundary_of(request: Request, media_type: bytes) -> bytes:
    """The multipart boundary. Raises ProblemError: another media type (415), no boundary (400)."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != media_type:
        raise ProblemError(Kind.UNSUPPORTED_MEDIA_TYPE)
    if not options.get(b"boundary"):
        raise ProblemError(Kind.MALFORMED, "Content-Type names no multipart boundary")
    return options[b"boundary"]


def _check_length(request: Request) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise ProblemError(Kind.REQUEST_TOO_LARGE)
