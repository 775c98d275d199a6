"""What stands around the pods: networks, Prometheus, Grafana, and the broker that KEDA reads."""

import json
import os
import re
import ssl
import subprocess
from pathlib import Path

import yaml
from kombu.utils.url import parse_url

from tests.integration.infra.compose import ROOT
from tests.integration.infra.manifests import (
    CUSTOM,
    Document,
    kubectl,
    matches,
    need,
    of_kind,
    pods,
)
from tests.integration.infra.runbook import section


def test_the_alerts_become_a_rule_for_the_operator() -> None:
    """As docs/operations.md makes it."""
    rules = yaml.safe_load((ROOT / "infra/prometheus/alerts.yml").read_text())
    kind = need(CUSTOM["monitoring.coreos.com/v1"]).PrometheusRule
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "xraytriage", "namespace": "xraytriage"},
        "spec": rules,
    }
    read = kind.model_validate(document)
    assert json.loads(read.model_dump_json(by_alias=True, exclude_unset=True)) == document


def test_keda_and_our_services_reach_the_broker_of_the_runbook_alike() -> None:
    told = dict(re.findall(r"--from-literal=(broker-\w+)='([^']+)'", section("Kubernetes")))
    url = parse_url(told["broker-url"])  # as Celery reads it
    assert told["broker-address"] == f"{url['hostname']}:{url['port']}"
    assert told["broker-password"] == url["password"]
    assert (told["broker-tls"] == "enable") == (url["transport"] == "rediss")
    assert url["ssl"]["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_the_dashboards_become_what_a_sidecar_of_grafana_finds() -> None:
    """As docs/operations.md makes it, but for the last step, which needs a cluster."""
    whole = section("Kubernetes").replace("\\\n", "")
    (line,) = re.findall(r"^\$ (kubectl .+dashboards .+) \| kubectl apply", whole, re.MULTILINE)
    env = {"PATH": f"{Path(kubectl()).parent}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(line, shell=True, cwd=ROOT, env=env, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    made = yaml.safe_load(said.stdout)
    assert made["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert made["data"].keys() == {f.name for f in (ROOT / "infra/grafana/dashboards").iterdir()}


def test_nobody_reaches_anybody_unless_it_is_said(documents: list[Document]) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    nothing = policies["nothing"]["spec"]
    assert nothing["podSelector"] == {}
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    servers = policies["servers"]["spec"]["podSelector"]["matchLabels"]
    for name, pod in pods(documents).items():
        assert matches(servers, pod) == (name != "flower"), name


def test_whoever_may_trace_reaches_a_collector(documents: list[Document]) -> None:
    traces = of_kind(documents, "NetworkPolicy")["traces"]["spec"]
    assert {port["port"] for rule in traces["egress"] for port in rule["ports"]} == {4318}
    for name, pod in pods(documents).items():
        assert matches(traces["podSelector"]["matchLabels"], pod) == (name != "flower"), name


def test_prometheus_finds_each_service_under_the_name_that_the_alerts_know(
    documents: list[Document],
) -> None:
    services = of_kind(documents, "Service")
    scraped = set()
    for monitor in of_kind(documents, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (endpoint,) = monitor["spec"]["endpoints"]
        for name, service in services.items():
            if wanted.items() <= service["metadata"].get("labels", {}).items():
                scraped.add(name)
                (port,) = service["spec"]["ports"]
                assert port["name"] == endpoint["port"]
                behind = [
                    p for p in pods(documents).values() if matches(service["spec"]["selector"], p)
                ]
                assert behind
                for pod in behind:
                    ports = pod["spec"]["containers"][0]["ports"]
                    assert port["targetPort"] in {p["name"] for p in ports}
    prometheus = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    assert {"xraytriage-api", "xraytriage-worker", "xraytriage-reconcile"} <= scraped
    assert scraped <= {job["job_name"] for job in prometheus["scrape_configs"]}
