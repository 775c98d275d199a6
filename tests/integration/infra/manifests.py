"""Kubernetes manifests as kubectl builds them, and how to find something in them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import yaml

from tests.integration.infra.compose import BIN, ROOT

CUSTOM = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
Document = dict[str, Any]


def need(name: str) -> Any:
    """A module of the extra `dev`; on CI it is not to be missed."""
    if os.environ.get("CI") == "true":
        return import_module(name)
    return pytest.importorskip(name)


def kubectl() -> str:
    """Of the extra `dev`; on CI it is not to be missed."""
    found = shutil.which("kubectl", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        assert os.environ.get("CI") != "true", "kubectl is not installed"
        pytest.skip("kubectl is not installed")
    return found


@cache
def built(overlay: str) -> list[Document]:
    """The documents of an overlay."""
    said = subprocess.run(
        [kubectl(), "kustomize", str(ROOT / "infra/kubernetes/overlays" / overlay)],
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return list(yaml.safe_load_all(said.stdout))


def of_kind(documents: list[Document], *kinds: str) -> dict[str, Document]:
    return {d["metadata"]["name"]: d for d in documents if d["kind"] in kinds}


def pods(documents: list[Document]) -> dict[str, Document]:
    """Name -> pod template of whatever runs."""
    found = of_kind(documents, "Deployment", "Job")
    return {name: document["spec"]["template"] for name, document in found.items()}


def containers(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for name, pod in pods(documents).items():
        for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]):
            yield name, container


def main(documents: list[Document], name: str) -> Document:
    container: Document = pods(documents)[name]["spec"]["containers"][0]
    return container


def variables(container: Document) -> dict[str, Any]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container.get("env", [])}


def matches(labels: dict[str, str], pod: Document) -> bool:
    return labels.items() <= pod["metadata"]["labels"].items()
