"""One trace an image: ids that every process knows, spans that a real receiver takes."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pipeline import tracing
from pipeline.settings import Settings, SettingsError
from pipeline.tracing import Request, Visit
from pipeline.uid import new_id
from tests.stand_in.collector import Collector, collecting

WALK = ("prepare", "gate")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A receiver; tracing ends with the test."""
    with collecting() as collector:
        yield collector
        tracing.shut_down()


def turn_on(collector: Collector, **settings: float) -> None:
    made = Settings.model_validate({"otlp_endpoint": collector.endpoint, **settings})
    assert tracing.set_up(made, "test")


def walk(image_id: str, outcome: str = "done") -> None:
    for stage in WALK:
        tracing.visited(stage, [Visit(image_id, 20.0, 1, outcome, f"{stage}-1")], time.time_ns())


def test_off_means_that_nothing_of_it_is_imported_by_us() -> None:
    code = (
        "import sys, pipeline.api.app, pipeline.cli, workers.__main__, workers.prepare, "
        "workers.infer, workers.reconcile\n"
        "from pipeline import tracing\n"
        "from pipeline.settings import Settings\n"
        "assert not tracing.set_up(Settings(), 'x')\n"
        "tracing.admitted(['0' * 32], 0)\n"
        "tracing.visited('gate', [], 0)\n"
        # redis brings some of OpenTelemetry's metrics in, where it is installed; traces nobody.
        "ours = ('pipeline.spans', 'opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "assert not [name for name in sys.modules if name.startswith(ours)]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.spans", None)
    with pytest.raises(SettingsError, match=r"xraytriage\[tracing\]"):
        tracing.set_up(Settings(otlp_endpoint="http://127.0.0.1:1"), "test")


def test_a_request_its_ingest_and_its_stages_are_one_trace(collector: Collector) -> None:
    turn_on(collector)
    image_id = new_id()
    request = Request("POST /v1/jobs")
    with tracing.serving(request):
        tracing.admitted([image_id], time.time_ns())
        request.status = 202
    walk(image_id)
    tracing.shut_down()
    spans = collector.trace(image_id)
    assert set(spans) == {
        "POST /v1/jobs",
        "ingest",
        *WALK,
        *(f"{stage} wait" for stage in WALK),
    }
    assert len(collector.spans) == len(spans), "nothing outside this trace"
    first = spans.pop("POST /v1/jobs")
    assert first.parent_id == ""
    assert {span.parent_id for span in spans.values()} == {first.span_id}
    assert first.attributes["http.response.status_code"] == 202
    wait = spans["gate wait"]
    assert wait.ended_ns - wait.begun_ns == 20_000_000
    assert wait.ended_ns == spans["gate"].begun_ns
    assert spans["gate"].attributes["xraytriage.model_version"] == "gate-1"


def test_an_image_that_no_request_brought_begins_with_its_ingest(collector: Collector) -> None:
    turn_on(collector)
    image_ids = [new_id() for _ in range(3)]
    tracing.admitted(image_ids, time.time_ns())
    for image_id in image_ids:
        walk(image_id)
    tracing.shut_down()
    for image_id in image_ids:
        spans = collector.trace(image_id)
        assert spans["ingest"].parent_id == ""
        assert spans["gate"].parent_id == spans["ingest"].span_id


def test_another_process_and_a_second_try_join_the_same_trace(collector: Collector) -> None:
    image_id = new_id()
    turn_on(collector)
    tracing.admitted([image_id], time.time_ns())
    tracing.shut_down()
    # Nothing is handed over: a process that starts now knows the image's id and no more.
    turn_on(collector)
    walk(image_id, "failed")
    walk(image_id)
    tracing.shut_down()
    (first,) = [span for span in collector.spans if span.name == "ingest"]
    later = [span for span in collector.spans if span.name != "ingest"]
    assert {span.trace_id for span in later} == {image_id}
    assert {span.parent_id for span in later} == {first.span_id}
    tries = [span.is_error for span in later if span.name == "gate"]
    assert tries == [True, False]


def test_a_share_is_traced_whole_or_not_at_all(collector: Collector) -> None:
    image_ids = [new_id() for _ in range(200)]
    for _ in range(2):  # two processes decide alike
        turn_on(collector, otlp_ratio=0.3)
        tracing.admitted(image_ids, time.time_ns())
        for image_id in image_ids:
            walk(image_id)
        tracing.shut_down()
    counts = {i: sum(span.trace_id == i for span in collector.spans) for i in image_ids}
    assert set(counts.values()) == {0, 2 * (1 + 2 * len(WALK))}
    assert 20 <= sum(count > 0 for count in counts.values()) <= 100


def test_the_callers_own_trace_is_linked_to(collector: Collector) -> None:
    turn_on(collector)
    theirs = "4bf92f3577b34da6a3ce929d0e0e4736"
    for traceparent in (f"00-{theirs}-00f067aa0ba902b7-01", "no such thing"):
        with tracing.serving(Request("POST /v1/jobs", traceparent)):
            tracing.admitted([new_id()], time.time_ns())
    tracing.shut_down()
    firsts = [span.linked for span in collector.spans if span.parent_id == ""]
    assert firsts == [(theirs,), ()]


def test_a_collector_that_is_gone_stops_nothing() -> None:
    with collecting() as gone:
        pass
    turn_on(gone)
    tracing.admitted([new_id()], time.time_ns())
    tracing.shut_down()
    assert not tracing.is_on()
