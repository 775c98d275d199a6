"""The spans of OpenTelemetry behind `pipeline.tracing`, which imports this when tracing is on."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from pipeline.tracing import Request, Visit

EXPORT_MS = 1000
"""How long spans gather before they are sent; what a killed process still had is lost."""
EXPORT_TIMEOUT_S = 5
QUEUE = 8192
"""Spans that wait at most; with more, tracing loses some and triage loses nothing."""
BAD = {"failed", "given_back", "quarantined"}


class Spans:
    """Makes the spans of one process and sends them. Made after fork."""

    def __init__(self, endpoint: str, ratio: float, service: str) -> None:
        """Send to the OTLP/HTTP collector at `endpoint` the walks of a share of the images.

        All processes decide alike, by the id: the walk of an image is traced whole or not at all.
        """
        self._ids = _Ids()
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(ratio),
            resource=Resource.create({SERVICE_NAME: f"xraytriage-{service}"}),
            id_generator=self._ids,
        )
        address = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=address, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=EXPORT_MS)
        )
        self._tracer = self._provider.get_tracer("xraytriage")

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def served(self, request: Request) -> None:
        """The first span of the trace of each image that came in this request."""
        links = _links(request.traceparent)
        attributes: dict[str, AttributeValue] = {
            "http.response.status_code": request.status,
            "xraytriage.images": len(request.image_ids),
        }
        for image_id in request.image_ids:
            self._first(
                image_id, request.name, SpanKind.SERVER, request.begun_ns, attributes, links
            )

    def admitted(self, image_ids: Sequence[str], begun_ns: int, *, is_first: bool) -> None:
        """The span `ingest` of each image; the first of its trace where no request brought it."""
        attributes: dict[str, AttributeValue] = {"xraytriage.images": len(image_ids)}
        for image_id in image_ids:
            if is_first:
                self._first(image_id, "ingest", SpanKind.INTERNAL, begun_ns, attributes, ())
            else:
                self._later(image_id, "ingest", begun_ns, time.time_ns(), attributes)

    def visited(self, stage: str, visits: Sequence[Visit], begun_ns: int) -> None:
        """Two spans for each image: its wait for the stage, and its time in the stage's hands."""
        ended_ns = time.time_ns()
        for visit in visits:
            queued_ns = begun_ns - int(visit.wait_ms * 1e6)
            self._later(visit.image_id, f"{stage} wait", queued_ns, begun_ns, {})
            attributes: dict[str, AttributeValue] = {
                "xraytriage.stage": stage,
                "xraytriage.attempt": visit.attempt,
                "xraytriage.outcome": visit.outcome,
                "xraytriage.images": len(visits),
            }
            if visit.model_version is not None:
                attributes["xraytriage.model_version"] = visit.model_version
            self._later(visit.image_id, stage, begun_ns, ended_ns, attributes)

    def _first(
        self,
        image_id: str,
        name: str,
        kind: SpanKind,
        begun_ns: int,
        attributes: dict[str, AttributeValue],
        links: Sequence[Link],
    ) -> None:
        with self._ids.fixed(_trace_id(image_id), first_span_id(image_id)):
            span = self._tracer.start_span(
                name, Context(), kind, attributes, links, begun_ns, record_exception=False
            )
        span.set_attribute("xraytriage.image_id", image_id)
        span.end()

    def _later(
        self,
        image_id: str,
        name: str,
        begun_ns: int,
        ended_ns: int,
        attributes: dict[str, AttributeValue],
    ) -> None:
        first = SpanContext(
            _trace_id(image_id), first_span_id(image_id), True, TraceFlags(TraceFlags.SAMPLED)
        )
        parent = set_span_in_context(NonRecordingSpan(first), Context())
        span = self._tracer.start_span(
            name, parent, SpanKind.CONSUMER, attributes, start_time=begun_ns
        )
        if attributes.get("xraytriage.outcome") in BAD:
            span.set_status(StatusCode.ERROR)
        span.end(ended_ns)


class _Ids(RandomIdGenerator):
    """Random ids, but for the first span of a trace."""

    def __init__(self) -> None:
        self._fixed = threading.local()

    @contextmanager
    def fixed(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Within the block, spans of this thread get these ids."""
        self._fixed.ids = (trace_id, span_id)
        try:
            yield
        finally:
            self._fixed.ids = None

    def generate_trace_id(self) -> int:
        """Of a new trace."""
        ids: tuple[int, int] | None = getattr(self._fixed, "ids", None)
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        """Of a new span."""
        ids: tuple[int, int] | None = getattr(self._fixed, "ids", None)
        return super().generate_span_id() if ids is None else ids[1]


def first_span_id(image_id: str) -> int:
    """8 bytes, known to every process that knows the image; never 0, which means none."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8]) or 1


def _trace_id(image_id: str) -> int:
    return int(image_id, 16)


def _links(traceparent: str | None) -> Sequence[Link]:
    if traceparent is None:
        return ()
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    theirs = get_current_span(context).get_span_context()
    return (Link(theirs),) if theirs.is_valid else ()
