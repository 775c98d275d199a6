"""OpenTelemetry: one trace an image, from the request that brought it through every stage.

The id of an image is 16 bytes in hex, and so is that of a trace (W3C Trace Context, 3.2.2.3): the
image's id is its trace's id, and the id of the trace's first span is a hash of it. So no message
and no column carries a context: a lost nudge, a reconciler's second one or a restart changes
nothing, and whoever has the id of an image finds its trace. Who sends a `traceparent` of their
own is linked to.

Nothing of OpenTelemetry is imported here unless `otlp_endpoint` is set. Spans hold ids, stages and
counts; nothing of a patient.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pipeline.spans import Spans


class TracingNotInstalled(SettingsError):  # noqa: N818 - named for what is wrong
    """`otlp_endpoint` is set and the packages of the extra `tracing` are missing."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One image in one stage, once."""

    image_id: str
    wait_ms: float
    """Between queued and claimed."""
    attempt: int
    outcome: str
    """Its state afterwards, or what became of the attempt: `failed`, `given_back`."""
    model_version: str | None = None


@dataclass(slots=True)
class Request:
    """An HTTP request, and the images that were admitted in it."""

    name: str
    """Method and route; never a path, which may hold identifiers."""
    traceparent: str | None = None
    begun_ns: int = field(default_factory=time.time_ns)
    status: int = 0
    image_ids: list[str] = field(default_factory=list)


_request: ContextVar[Request | None] = ContextVar("request", default=None)
_spans: "Spans | None" = None


def set_up(settings: Settings, service: str) -> bool:
    """Send the spans of this process, where the settings say whereto; returns whether it does.

    Call it after fork. Raises TracingNotInstalled.
    """
    global _spans  # noqa: PLW0603 - a process has one tracer
    if settings.otlp_endpoint is None:
        return False
    try:
        from pipeline.spans import Spans
    except ModuleNotFoundError as error:
        raise TracingNotInstalled(
            "XRAYTRIAGE_OTLP_ENDPOINT is set, but OpenTelemetry is not installed; install "
            "xraytriage[tracing] or unset it."
        ) from error
    _spans = Spans(settings.otlp_endpoint, settings.otlp_ratio, service)
    return True


def shut_down() -> None:
    """Send what is left, and record nothing from now on."""
    global _spans
    spans, _spans = _spans, None
    if spans is not None:
        spans.close()


def is_on() -> bool:
    """Whether it is worth gathering what `visited` wants."""
    return _spans is not None


@contextmanager
def serving(request: Request) -> Iterator[None]:
    """Make `request` the first span of the traces of all images that are admitted within."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)
        if _spans is not None and request.image_ids:
            _spans.served(request)


def admitted(image_ids: Sequence[str], begun_ns: int) -> None:
    """These images are stored and committed; storing them began at `begun_ns` of the wall clock."""
    if _spans is None:
        return
    request = _request.get()
    if request is not None:
        request.image_ids += image_ids
    _spans.admitted(image_ids, begun_ns, is_first=request is None)


def visited(stage: str, visits: Sequence[Visit], begun_ns: int) -> None:
    """A stage's work on a chunk is over; it was claimed at `begun_ns` of the wall clock."""
    if _spans is not None:
        _spans.visited(stage, visits, begun_ns)
