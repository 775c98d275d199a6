"""What one process counts and times, for Prometheus; served where `metrics_port` is set.

What waits in the whole installation is asked of the database instead (`pipeline.api.gauges`).
Labels are stages, states, reason codes, labels of a model card: few, and nothing of a patient.
Everything is called once a chunk or seldomer, with all values of the chunk.
"""

import logging
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    GC_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from pipeline.distribution import Distribution
from pipeline.settings import Settings

log = logging.getLogger(__name__)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
REGISTRY.register(GC_COLLECTOR)

WAIT_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
WORK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SCORES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)

OUTCOMES = ("finished", "failed", "given_back")
SERVERS = ("broker", "database", "storage")
THEN = ("retried", "given_up")
SCAN_ENDS = ("finished", "failed")

_DISTRIBUTIONS = {
    d.name: d
    for d in (
        Distribution(
            "xraytriage_queue_wait_seconds",
            "From queued to claimed, each image",
            ("stage",),
            WAIT_S,
        ),
        Distribution(
            "xraytriage_compute_seconds",
            "From claimed to answered, each image's share of its chunk",
            ("stage",),
            WORK_S,
        ),
        Distribution(
            "xraytriage_score",
            "Calibrated scores as answered",
            ("stage", "label"),
            SCORES,
        ),
        Distribution("xraytriage_chunk_images", "Images claimed together", ("stage",), IMAGES),
    )
}
for _distribution in _DISTRIBUTIONS.values():
    REGISTRY.register(_distribution)

_COUNTERS = {
    "attempts": Counter(
        "xraytriage_attempts",
        "Attempts that ended: finished, failed (counts against the image), given back (does not)",
        ("stage", "outcome"),
        registry=REGISTRY,
    ),
    "repeated": Counter(
        "xraytriage_repeated_attempts",
        "Attempts begun on images that were tried before",
        ("stage",),
        registry=REGISTRY,
    ),
    "ended": Counter(
        "xraytriage_images_ended",
        "Images that came to a terminal state, counted where that is committed",
        ("state", "reason_code"),
        registry=REGISTRY,
    ),
    "server_errors": Counter(
        "xraytriage_server_errors",
        "Failed calls to a server, and whether each was tried again or given up",
        ("server", "kind", "then"),
        registry=REGISTRY,
    ),
    "positives": Counter(
        "xraytriage_positives",
        "Images whose answer is this label, or that are at or over its operating point",
        ("stage", "label"),
        registry=REGISTRY,
    ),
    "answered": Counter(
        "xraytriage_answered_images", "Images that a model answered", ("stage",), registry=REGISTRY
    ),
    "admitted": Counter(
        "xraytriage_admitted_images", "Images taken in and committed", registry=REGISTRY
    ),
    "problems": Counter(
        "xraytriage_http_problems", "Requests answered with a problem", ("kind",), registry=REGISTRY
    ),
    "resent": Counter("xraytriage_resent_images", "Images sent again, overdue", registry=REGISTRY),
    "forsaken": Counter(
        "xraytriage_forsaken_images", "Claims of dead processes that were ended", registry=REGISTRY
    ),
    "scans": Counter("xraytriage_scans", "Scans of the reconciler", ("end",), registry=REGISTRY),
}
_BATCH = Histogram(
    "xraytriage_batch_images",
    "Images in one forward pass",
    ("stage",),
    registry=REGISTRY,
    buckets=IMAGES,
)
_MODEL_S = Histogram(
    "xraytriage_model_seconds", "One forward pass", ("stage",), registry=REGISTRY, buckets=WORK_S
)
_MODEL = Gauge(
    "xraytriage_model_info",
    "Always 1; says which model version answers here",
    ("stage", "model_version", "runtime", "operating_point"),
    registry=REGISTRY,
)
_EXPECTED = Gauge(
    "xraytriage_expected_positive_share",
    "Share of images that the card leads to expect with this label, on its training prevalence",
    ("stage", "label"),
    registry=REGISTRY,
)
_CARD_SCORES = Gauge(
    "xraytriage_card_score_quantile",
    "The score under which this share of the validation images lay, as the card has it",
    ("stage", "label", "quantile"),
    registry=REGISTRY,
)
_SCANNED = Gauge(
    "xraytriage_scan_finished_timestamp_seconds",
    "When the reconciler last finished a scan, seconds since 1970",
    registry=REGISTRY,
)

Labels = tuple[str, ...]
Sink = Callable[[str, Labels, Sequence[float], int], None]


def count(name: str, labels: Labels, values: Sequence[float], times: int = 1) -> None:
    """Count here, in this process. Raises KeyError or ValueError for what there is not."""
    distribution = _DISTRIBUTIONS.get(name)
    if distribution is not None:
        distribution.add(labels, values, times)
        return
    counter = _COUNTERS[name]
    (counter.labels(*labels) if labels else counter).inc(sum(values) * times)


_sink: Sink = count


def redirect(sink: Sink) -> None:
    """Hand everything to `sink` from now on: for children, whose parent counts for them."""
    global _sink  # noqa: PLW0603 - a process counts in one place
    _sink = sink


def serve(settings: Settings) -> bool:
    """Serve `/metrics` from a thread, where the settings name a port; returns whether it does.

    A port that is taken is logged: triage goes on without metrics.
    """
    if not settings.metrics_port:
        return False
    try:
        start_http_server(settings.metrics_port, settings.metrics_host, REGISTRY)
    except OSError as error:
        log.warning("metrics are not served", extra={"why": error.strerror or str(error)})
        return False
    return True


def claimed(stage: str, waits_s: Sequence[float], repeated: int) -> None:
    """A chunk was claimed: how long its images had waited, and how many were tried before."""
    _sink("xraytriage_queue_wait_seconds", (stage,), waits_s, 1)
    _sink("xraytriage_chunk_images", (stage,), (len(waits_s),), 1)
    if repeated:
        _sink("repeated", (stage,), (repeated,), 1)


def worked(stage: str, seconds: float, images: int) -> None:
    """A chunk was answered, `seconds` after its claim."""
    _sink("xraytriage_compute_seconds", (stage,), (seconds / images,), images)


def attempted(stage: str, outcome: str, images: int) -> None:
    """Attempts ended so; `outcome` is one of `OUTCOMES`."""
    _sink("attempts", (stage, outcome), (images,), 1)


def ended(ends: Iterable[tuple[str, str | None]]) -> None:
    """Images came to these terminal states, with these reason codes; the commit is done."""
    for (state, code), images in Tally(ends).items():
        _sink("ended", (str(state), code or ""), (images,), 1)


def admitted(images: int) -> None:
    """Images were taken in and committed."""
    _sink("admitted", (), (images,), 1)


def server_failed(server: str, kind: str, *, retried: bool) -> None:
    """A call to one of `SERVERS` failed with this `pipeline.retry.ErrorKind`."""
    _sink("server_errors", (server, kind, "retried" if retried else "given_up"), (1,), 1)


def problem(kind: str) -> None:
    """A request was answered with a problem of this kind."""
    _sink("problems", (kind,), (1,), 1)


def model(stage: str, version: str, runtime: str, operating_point: str) -> None:
    """This model answers here, and has answered nothing yet."""
    count("answered", (stage,), (0,))
    _MODEL.labels(stage, version, runtime, operating_point).set(1)


def expected(
    stage: str, shares: Mapping[str, float], scores: Mapping[str, Mapping[float, float]]
) -> None:
    """What the card leads to expect of a label: share of images with it, quantiles of its score."""
    for label, share in shares.items():
        _EXPECTED.labels(stage, label).set(share)
    for label, quantiles in scores.items():
        for quantile, score in quantiles.items():
            _CARD_SCORES.labels(stage, label, f"{quantile:g}").set(score)


def forward(stage: str, images: int, seconds: float) -> None:
    """One forward pass."""
    _BATCH.labels(stage).observe(images)
    _MODEL_S.labels(stage).observe(seconds)


def answered(stage: str, answers: Sequence[tuple[Mapping[str, float], Iterable[str]]]) -> None:
    """What a model said of a chunk: for each image its scores, and the labels it has."""
    _sink("answered", (stage,), (len(answers),), 1)
    for label in answers[0][0] if answers else ():
        _sink("xraytriage_score", (stage, label), [scores[label] for scores, _ in answers], 1)
    for label, images in Tally(label for _, found in answers for label in found).items():
        _sink("positives", (stage, label), (images,), 1)


def scanned(resent: int) -> None:
    """The reconciler finished a scan and sent so many images again."""
    _sink("scans", ("finished",), (1,), 1)
    _sink("resent", (), (resent,), 1)
    _SCANNED.set_to_current_time()


def forsaken(images: int) -> None:
    """The claims of dead processes on so many images were ended."""
    _sink("forsaken", (), (images,), 1)


def scan_failed() -> None:
    """The reconciler could not finish a scan."""
    _sink("scans", ("failed",), (1,), 1)
