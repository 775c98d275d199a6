"""A real Prometheus scrapes a real run: dashboards and alerts find what they ask for."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.catalogue import read_cards
from pipeline.embedded import Stack
from tests.acceptance.conftest import METERED, until
from tests.acceptance.prometheus import Prometheus, queries, watching

pytestmark = pytest.mark.peers

STAGES = ("prepare", "gate", "type", "chest")
SEEN_LATER = ("xraytriage_gpu_memory_", "xraytriage_server_errors_total", "offset")
"""Of these a sound run on a machine without a GPU, and not a week old, has nothing to show."""
OF_CARDS = "xraytriage_card_score_quantile"
"""Shown where the card has quantiles of scores."""


def send(client: httpx.Client, samples: Path) -> None:
    """A chest, a hand-sized other bone, a photograph and something that does not exist."""
    names = ("chest/child-pneumonia-1.jpg", "bones/knee.jpg", "not-xray/screenshot.png")
    files = [
        ("files", (Path(name).name, (samples / "images" / name).read_bytes())) for name in names
    ]
    job = client.post("/v1/jobs", files=files).raise_for_status().json()
    address = f"/v1/jobs/{job['id']}"
    until(lambda: client.get(address).json()["finished"] == len(names), "the images end")
    assert client.get("/v1/images/nothing").status_code == 404


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus after two rounds of images, so that every counter has grown before its eyes."""
    samples = Path(__file__).parents[2] / "samples"
    with (
        watching(stack, tmp_path_factory.mktemp("prometheus")) as prometheus,
        httpx.Client(base_url=stack.addresses["api"], timeout=60.0) as client,
    ):
        send(client, samples)
        finished = 'xraytriage_attempts_total{stage="chest", outcome="finished"}'
        until(lambda: prometheus.number(finished) > 0, "the first round is scraped")
        until(
            lambda: prometheus.number("sum(xraytriage_http_problems_total)") > 0, "the problem too"
        )
        send(client, samples)
        grown = 'min(increase(xraytriage_attempts_total{outcome="finished"}[5m]))'
        until(lambda: prometheus.number(grown) > 0, "every stage has been seen to work")
        until(
            lambda: prometheus.number("sum(increase(xraytriage_http_problems_total[5m]))") > 0,
            "problems have been seen to grow",
        )
        yield prometheus


def test_every_process_is_scraped(prometheus: Prometheus) -> None:
    assert prometheus.number('sum(up{job=~"xraytriage-.*"})') == 1 + METERED


def test_every_stage_is_counted_also_where_children_do_the_work(prometheus: Prometheus) -> None:
    for stage in STAGES:
        labels = f'{{stage="{stage}"}}'
        images = prometheus.number(f"sum(xraytriage_queue_wait_seconds_count{labels})")
        assert images >= 2, stage
        assert prometheus.number(f"sum(xraytriage_compute_seconds_sum{labels})") > 0, stage
    versions = prometheus.ask("xraytriage_model_info")
    assert {sample["metric"]["stage"] for sample in versions} == set(STAGES) - {"prepare"}
    ends = prometheus.ask("sum by (state, reason_code) (xraytriage_images_ended_total) > 0")
    assert {("done", ""), ("rejected", "not_xray")} <= {
        (sample["metric"]["state"], sample["metric"].get("reason_code", "")) for sample in ends
    }


@pytest.mark.parametrize(("place", "query"), queries())
def test_a_dashboards_query_is_answered(prometheus: Prometheus, place: str, query: str) -> None:
    numbers = prometheus.numbers(query)
    has_quantiles = any(label.score_quantiles for label in read_cards()["chest"].labels)
    if not any(word in query for word in SEEN_LATER) and (has_quantiles or OF_CARDS not in query):
        assert numbers, f"{place}: no number"


def test_every_alert_is_evaluated_and_none_fires(prometheus: Prometheus) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in prometheus.rules())

    until(evaluated, "every rule was evaluated")
    rules = prometheus.rules()
    assert len(rules) >= 12
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
