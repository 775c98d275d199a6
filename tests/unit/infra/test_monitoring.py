"""Prometheus' configuration and rules by promtool; Grafana's dashboards by their structure.

Grafana itself comes by no registry we have, so no dashboard was opened in it: what is checked is
what its provisioning reads. Each query is asked of a real Prometheus in tests/acceptance.
"""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.acceptance.prometheus import INFRA, dashboards, program

KINDS = {"bargauge", "heatmap", "stat", "table", "timeseries"}
RULE_TESTS = ("alerts_test.yml", "alerts_week_test.yml")
WIDTH = 24
"""Columns of Grafana's grid."""


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [program("promtool"), *arguments],
        cwd=INFRA / "prometheus",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def read(path: str) -> Any:
    return yaml.safe_load((INFRA / path).read_text())


def test_the_configuration_is_valid() -> None:
    promtool("check", "config", "prometheus.yml")


def test_every_alert_fires_and_keeps_silent_as_its_tests_say() -> None:
    promtool("test", "rules", *RULE_TESTS)


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    (group,) = read("prometheus/alerts.yml")["groups"]
    fired = {
        case["alertname"]
        for file in RULE_TESTS
        for test in read(f"prometheus/{file}")["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert {rule["alert"] for rule in group["rules"]} == fired
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description"} <= set(rule["annotations"])


def test_prometheus_looks_for_every_service_that_compose_has() -> None:
    services = yaml.safe_load((INFRA.parent / "docker-compose.yml").read_text())["services"]
    found = {
        name: config["port"]
        for job in read("prometheus/prometheus.yml")["scrape_configs"]
        for config in job["dns_sd_configs"]
        for name in config["names"]
    }
    assert set(found) <= set(services)
    assert set(found) >= {name for name in services if name.startswith("worker-")}
    assert set(found) >= {"api", "reconcile"}
    assert {port for name, port in found.items() if name != "api"} == {9100}


def test_dashboards_and_their_data_source_belong_together() -> None:
    (source,) = read("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (provider,) = read("grafana/provisioning/dashboards/xraytriage.yml")["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    used = re.findall(r'"uid": "([^"]+)"', json.dumps([_panels(d) for d in dashboards().values()]))
    assert set(used) == {source["uid"]}
    uids = [dashboard["uid"] for dashboard in dashboards().values()]
    assert len(set(uids)) == len(uids) == 4


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_is_what_grafana_reads(name: str) -> None:
    dashboard = dashboards()[name]
    assert {"title", "uid", "schemaVersion", "panels", "time", "templating"} <= set(dashboard)
    panels = _panels(dashboard)
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {item["name"] for item in dashboard["templating"]["list"]}
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in KINDS
        assert panel["title"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval", "__range"}
            assert used <= variables


def test_gauges_that_every_api_process_tells_are_never_summed_over_them() -> None:
    shared = r"xraytriage_(queue_images|queue_oldest_age_seconds|overdue_images|outbox_\w+)"
    (group,) = read("prometheus/alerts.yml")["groups"]
    queries = [rule["expr"] for rule in group["rules"]]
    queries += [t["expr"] for d in dashboards().values() for p in _panels(d) for t in p["targets"]]
    for query in queries:
        for found in re.finditer(shared, query):
            before = query[: found.start()].rstrip()
            assert re.search(r"(max|absent)(\s+by\s+\([\w, ]+\))?\s*\($", before), query


def _panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = dashboard["panels"]
    return panels
