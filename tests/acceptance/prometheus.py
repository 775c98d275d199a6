"""A real Prometheus that scrapes a running stack, and what it is asked."""

import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.catalogue import load_catalogue
from pipeline.embedded import Stack
from tests.acceptance.conftest import row_of_ports, until

INFRA = Path(__file__).parents[2] / "infra"
VARIABLES = {
    "$__rate_interval": "5m",
    "$__range": "1h",
    "$stage": "chest",
    "$label": "abnormal",
}


def program(name: str) -> str:
    """Prometheus or promtool, of Debian's package; skip without it, on CI fail."""
    found = shutil.which(name)
    if found is None:
        assert os.environ.get("CI") != "true", f"{name} is not installed"
        pytest.skip(f"{name} is not installed (Debian's package prometheus)")
    return found


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API."""

    address: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The answer to an instant query; one that does not parse fails the test."""
        answer = httpx.get(f"{self.address}/api/v1/query", params={"query": query}, timeout=30.0)
        assert answer.status_code == 200, f"{query}: {answer.text}"
        found = answer.json()["data"]
        assert found["resultType"] == "vector", query
        result: list[dict[str, Any]] = found["result"]
        return result

    def number(self, query: str) -> float:
        """The one number of an answer; 0 where there is none."""
        found = self.ask(query)
        return float(found[0]["value"][1]) if found else 0.0

    def numbers(self, query: str) -> list[float]:
        """All finite numbers of an answer."""
        values = (float(sample["value"][1]) for sample in self.ask(query))
        return [value for value in values if math.isfinite(value)]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as it was last evaluated."""
        groups = httpx.get(f"{self.address}/api/v1/rules", timeout=30.0).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@contextmanager
def watching(stack: Stack, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the shipped rules and the jobs of the shipped configuration."""
    settings, port = stack.settings, row_of_ports(1)
    first = settings.metrics_port
    pools = 1 + len(load_catalogue(settings.catalogue))
    jobs = {
        "xraytriage-api": [settings.port],
        "xraytriage-worker": list(range(first, first + pools)),
        "xraytriage-reconcile": [first + pools],
    }
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(INFRA / "prometheus" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{p}" for p in ports]}]}
            for job, ports in jobs.items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={path}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(lambda: _is_ready(found.address), "Prometheus is ready")
        yield found
    finally:
        process.terminate()
        process.wait(30)


def dashboards() -> dict[str, dict[str, Any]]:
    """The shipped dashboards by file name."""
    files = sorted((INFRA / "grafana" / "dashboards").glob("*.json"))
    return {file.name: json.loads(file.read_text()) for file in files}


def queries() -> list[tuple[str, str]]:
    """Where each query of the dashboards stands, and the query with its variables filled in."""
    return [
        (f"{name}: {panel['title']}", _filled(target["expr"]))
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


def _filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert not re.search(r"\$", query), f"an unknown variable: {query}"
    return query


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/-/ready", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False
