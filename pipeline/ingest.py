"""The one door: bytes into storage, rows and their announcement into the database, then a nudge."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from pipeline import tracing
from pipeline.archive import Member, is_zip, members
from pipeline.context import Context
from pipeline.flow import PREPARE
from pipeline.image import sniff, unsupported_format
from pipeline.limits import ArchiveLimits
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.records import intake
from pipeline.records.intake import Arrival
from pipeline.states import State
from pipeline.storage import room
from pipeline.uid import new_id

log = logging.getLogger(__name__)

UPLOADS = 4
"""Files that are hashed and stored at the same time."""
BLOCK = 2**20
SPOOL = 16 * 2**20
"""Larger files wait for their upload on disk instead of in memory."""
SMALL = 256 * 2**10
"""Files up to this size share an object with the others of their chunk: one request, not many."""


class NoRoom(Exception):  # noqa: N818 - named for what happened
    """The disk is almost full: nothing new is taken until there is room again."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to take in. `open` may raise OSError; `refusal` says that it is bad already."""

    name: str
    open: Callable[[], BinaryIO]
    once_key: str | None = None
    refusal: Unreadable | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer for one file: stored and on its walk, or rejected at the door with a reason."""

    image_id: str
    name: str
    sha256: str | None
    state: State
    reason_code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that was read; `data` where its bytes are small and still have to be stored."""

    arrival: Arrival
    data: bytes | None = None


def accept(context: Context, job_id: str, sources: Iterable[Source]) -> Iterator[Accepted]:
    """Take files in, chunk by chunk; each answer is given when bytes and rows are safe.

    A file whose `once_key` the job has already gets no answer. The broker may be down: what could
    not be announced is announced later. Raises NoRoom, StorageError and the database's errors.
    """
    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as uploads:
        files = _taken(context, iter(sources), uploads)
        begun_ns = time.time_ns()
        while chunk := list(islice(files, context.settings.chunk_size)):
            arrivals = _stored(context, chunk)
            admitted = _commit(context, job_id, arrivals)
            tracing.admitted(list(admitted), begun_ns)
            yield from (_answer(arrival) for arrival in arrivals if arrival.id in admitted)
            begun_ns = time.time_ns()


def _taken(
    context: Context, sources: Iterator[Source], uploads: ThreadPoolExecutor
) -> Iterator[_Taken]:
    # A window of running uploads: no more sources are opened than there are threads for them.
    running: deque[Future[_Taken]] = deque()
    for source in sources:
        if not room(context.settings):
            raise NoRoom(f"less than {context.settings.disk_watermark_bytes} bytes are free")
        running.append(uploads.submit(_take, context, source))
        if len(running) >= UPLOADS:
            yield running.popleft().result()
    yield from (future.result() for future in running)


def sources_of(
    name: str,
    open_: Callable[[], BinaryIO],
    once_key: str | None = None,
    limits: ArchiveLimits | None = None,
) -> Iterator[Source]:
    """The file itself or, where it is a zip, one source a member; a bad zip is one bad source."""
    try:
        with open_() as file:
            packed = is_zip(file.read(4))
    except OSError:
        packed = False  # `accept` meets the same error and gives it its reason
    if not packed:
        yield Source(name, open_, once_key)
        return
    try:
        with open_() as file:
            yield from _member_sources(name, file, once_key, limits)
    except Unreadable as error:
        yield Source(name, BytesIO, once_key, refusal=error)
    except OSError:
        yield Source(name, open_, once_key)  # it vanished since; `accept` gives it its reason


def _member_sources(
    name: str, file: BinaryIO, once_key: str | None, limits: ArchiveLimits | None
) -> Iterator[Source]:
    for member in members(file, limits):
        path = f"{name}/{member.name}"
        key = None if once_key is None else f"{once_key}/{member.name}"
        if isinstance(member, Member):
            yield Source(path, _spooled(member.data), key)
        else:
            yield Source(path, BytesIO, key, refusal=Unreadable(member.code, member.message))


def _spooled(data: bytes) -> Callable[[], BinaryIO]:
    # Large members wait on disk, so that only the one being unpacked is whole in memory.
    spool = SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 - closed by whoever opens it
    spool.write(data)
    spool.seek(0)
    return lambda: cast(BinaryIO, spool)


def _take(context: Context, source: Source) -> _Taken:
    arrival = Arrival(new_id(), source.name, source.once_key)
    try:
        if source.refusal is not None:
            raise source.refusal
        with SpooledTemporaryFile(max_size=SPOOL) as spool:
            copy = cast(BinaryIO, spool)
            sha256, size = _read(context, source, copy)
            arrival = replace(arrival, sha256=sha256, size_bytes=size)
            _check(copy)
            if size <= SMALL:
                return _Taken(arrival, copy.read())
            original = intake.stored_originals(context.engine, [sha256]).get(sha256) or str(
                context.store.put_file("originals", copy, sha256, size, "application/octet-stream")
            )
            return _Taken(replace(arrival, original=original))
    except Unreadable as error:
        return _Taken(replace(arrival, reason_code=error.code.value, reason=error.message))


def _stored(context: Context, chunk: Sequence[_Taken]) -> list[Arrival]:
    """Store the small files of a chunk as one object; what is stored already stays where it is."""
    small = {t.arrival.sha256 or "": t.data for t in chunk if t.data is not None}
    known = intake.stored_originals(context.engine, list(small))
    fresh = {sha256: data for sha256, data in small.items() if sha256 not in known}
    if fresh:
        refs = context.store.put_pack("originals", list(fresh.values()))
        known |= {sha256: str(ref) for sha256, ref in zip(fresh, refs, strict=True)}
    return [
        t.arrival if t.data is None else replace(t.arrival, original=known[t.arrival.sha256 or ""])
        for t in chunk
    ]


def _read(context: Context, source: Source, copy: BinaryIO) -> tuple[str, int]:
    """Copy a source, hashing on the way; returns its sha256 and its size in bytes."""
    digest, size, limit = hashlib.sha256(), 0, context.settings.max_file_bytes
    try:
        with source.open() as file:
            while block := file.read(BLOCK):
                size += len(block)
                if size > limit:
                    raise Unreadable(
                        ReasonCode.TOO_MANY_BYTES, f"the file is larger than {limit} bytes"
                    )
                digest.update(block)
                copy.write(block)
    except OSError as error:
        words = error.strerror or type(error).__name__
        raise Unreadable(ReasonCode.UNREADABLE_PATH, words) from error
    return digest.hexdigest(), size


def _check(copy: BinaryIO) -> None:
    copy.seek(0)
    head = copy.read(4096)
    if not head:
        raise Unreadable(ReasonCode.EMPTY_FILE, ReasonCode.EMPTY_FILE.meaning)
    if sniff(head) is None:
        raise unsupported_format(head)
    copy.seek(0)


def _commit(context: Context, job_id: str, arrivals: Sequence[Arrival]) -> set[str]:
    settings = context.settings
    admitted, nudges = intake.admit(
        context.engine, job_id, arrivals, PREPARE, settings.chunk_size, settings.lease_s
    )
    log.info("images accepted", extra={"job_id": job_id, "image_ids": sorted(admitted)})
    intake.sent(context.engine, context.dispatcher.publish(nudges))
    return admitted


def _answer(arrival: Arrival) -> Accepted:
    refused = arrival.reason_code is not None
    return Accepted(
        arrival.id,
        arrival.name,
        arrival.sha256,
        State.REJECTED if refused else State.RECEIVED,
        arrival.reason_code,
        arrival.reason,
    )
