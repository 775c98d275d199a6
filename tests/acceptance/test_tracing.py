"""One trace from the HTTP request through every stage, over real processes."""

from pathlib import Path

import httpx

from tests.acceptance.conftest import until
from tests.stand_in.collector import Collector

STAGES = ("prepare", "gate", "type", "chest")
PATIENT = "Doe-Jane-19700101"
THEIRS = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_an_upload_is_one_trace_from_the_request_to_the_last_stage(
    client: httpx.Client, collector: Collector, samples: Path
) -> None:
    data = (samples / "images" / "chest" / "child-pneumonia-1.jpg").read_bytes()
    answer = client.post(
        "/v1/jobs",
        files={"files": (f"{PATIENT}.jpg", data)},
        headers={"traceparent": f"00-{THEIRS}-00f067aa0ba902b7-01"},
    )
    image_id = answer.raise_for_status().json()["images"][0]["id"]
    wanted = {"POST /v1/jobs", "ingest", *STAGES, *(f"{stage} wait" for stage in STAGES)}
    until(lambda: set(collector.trace(image_id)) == wanted, "every span arrives")

    spans = collector.trace(image_id)
    first = spans["POST /v1/jobs"]
    assert first.attributes["http.response.status_code"] == 202
    assert first.linked == (THEIRS,)
    assert {span.parent_id for span in spans.values() if span is not first} == {first.span_id}
    assert [spans[stage].service for stage in STAGES] == [f"xraytriage-{s}" for s in STAGES]
    assert spans["chest"].attributes["xraytriage.outcome"] == "done"
    assert spans["chest"].attributes["xraytriage.model_version"].startswith("chest-")
    begun = [spans[name].begun_ns for name in ("ingest", *STAGES)]
    assert begun == sorted(begun)
    assert not any(PATIENT.encode() in body for body in collector.bodies)
