"""The manifests as kubectl builds them, against the published schemas and against the code.

Nothing is applied: no cluster is to be had where this is tested.
"""

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import yaml

from models.catalogue import STAGES
from pipeline.dispatch import line_of
from pipeline.flow import PREPARE
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.integration.infra.conftest import BIN, Config
from tests.integration.infra.containers import ROOT

FOLDER = ROOT / "infra/kubernetes"
NAMES = [PREPARE, *(stage.name for stage in STAGES)]
OVERLAYS = ["cpu", "gpu"]
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


@pytest.fixture(scope="module")
def build() -> Callable[[str], list[Document]]:
    """Documents of a folder, as `kubectl kustomize` builds them."""
    kubectl = shutil.which("kubectl", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if kubectl is None and os.environ.get("CI") != "true":
        pytest.skip("kubectl is not installed")
    built: dict[str, list[Document]] = {}

    def documents(overlay: str) -> list[Document]:
        if overlay not in built:
            said = subprocess.run(
                [str(kubectl), "kustomize", str(FOLDER / "overlays" / overlay)],
                capture_output=True,
                text=True,
            )
            assert said.returncode == 0, said.stderr
            built[overlay] = list(yaml.safe_load_all(said.stdout))
        return built[overlay]

    return documents


@pytest.fixture(params=OVERLAYS)
def documents(
    request: pytest.FixtureRequest, build: Callable[[str], list[Document]]
) -> list[Document]:
    return build(request.param)


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


def test_every_built_in_kind_fits_the_published_schema(documents: list[Document]) -> None:
    validator = need("kubernetes_validate")
    checked = [d for d in documents if d["apiVersion"] not in CUSTOM]
    for document in checked:
        validator.validate(document, "1.34", strict=True)
    assert len(checked) > 20


def test_every_custom_kind_fits_its_definition(documents: list[Document]) -> None:
    checked = [d for d in documents if d["apiVersion"] in CUSTOM]
    for document in checked:
        kind = getattr(need(CUSTOM[document["apiVersion"]]), document["kind"])
        read = kind.model_validate(document)
        again = json.loads(read.model_dump_json(by_alias=True, exclude_unset=True))
        assert again == document, "a field that the definition does not know"
    assert {d["kind"] for d in checked} == {
        "ScaledObject",
        "TriggerAuthentication",
        "ServiceMonitor",
    }


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


def test_every_stage_has_a_pool_for_its_queue(documents: list[Document]) -> None:
    for name in NAMES:
        command = main(documents, name)["command"]
        assert command[:6] == ["tini", "--", "python", "-m", "workers", name]


def test_kubernetes_runs_what_compose_runs(documents: list[Document], config: Config) -> None:
    """So the test that starts each command of compose as written has started these as well."""
    services = config()["services"]
    for name in ("api", "reconcile", "flower", *NAMES):
        service = services.get(f"worker-{name}") or services[name]
        assert main(documents, name)["command"] == ["tini", "--", *service["command"]], name
    assert main(documents, "migrate")["command"] == services["migrate"]["command"]


def test_each_pool_follows_all_lines_of_its_stage(documents: list[Document]) -> None:
    scaled = of_kind(documents, "ScaledObject")
    assert scaled.keys() == set(NAMES)
    for name in NAMES:
        spec = scaled[name]["spec"]
        assert spec["scaleTargetRef"] == {"name": name}
        lists = {trigger["metadata"]["listName"] for trigger in spec["triggers"]}
        assert lists == {line_of(name, priority) for priority in Priority}
        assert all(t["authenticationRef"] == {"name": "broker"} for t in spec["triggers"])
    for name in ("api", *NAMES):  # whoever is scaled by somebody else must not say how many
        assert "replicas" not in of_kind(documents, "Deployment")[name]["spec"]


def test_gpu_pools_go_to_zero_and_cpu_pools_do_not(build: Callable[[str], list[Document]]) -> None:
    for overlay, least, gpus in (("gpu", 0, 1), ("cpu", 1, None)):
        documents = build(overlay)
        for stage in STAGES:
            scaled = of_kind(documents, "ScaledObject")[stage.name]["spec"]
            assert scaled["minReplicaCount"] == least
            container = main(documents, stage.name)
            assert container["resources"]["limits"].get("nvidia.com/gpu") == gpus
            assert (
                variables(container)["XRAYTRIAGE_DEVICE"] == {"gpu": "cuda", "cpu": "cpu"}[overlay]
            )
            assert container["image"].endswith("-cuda") == (overlay == "gpu")
        assert of_kind(documents, "ScaledObject")[PREPARE]["spec"]["minReplicaCount"] == 1


def variables(container: Document) -> dict[str, Any]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in container.get("env", [])}


def test_every_setting_named_exists(documents: list[Document]) -> None:
    named = {name for _, container in containers(documents) for name in variables(container)}
    for config in of_kind(documents, "ConfigMap").values():
        named |= config["data"].keys()
        Settings.model_validate(
            {k.removeprefix("XRAYTRIAGE_").lower(): v for k, v in config["data"].items()}
        )
    ours = {n.removeprefix("XRAYTRIAGE_").lower() for n in named if n.startswith("XRAYTRIAGE_")}
    assert ours
    assert ours <= Settings.model_fields.keys()


def test_secrets_come_by_reference_only(documents: list[Document]) -> None:
    assert not of_kind(documents, "Secret")
    referred = set()
    for name, container in containers(documents):
        for variable, value in variables(container).items():
            if any(word in variable for word in ("KEY", "PASSWORD", "URL", "AUTH")):
                referred.add((value["secretKeyRef"]["name"], value["secretKeyRef"]["key"]))
                assert value["secretKeyRef"]["name"] == "xraytriage", (name, variable)
    auth = of_kind(documents, "TriggerAuthentication")["broker"]["spec"]["secretTargetRef"]
    referred |= {(entry["name"], entry["key"]) for entry in auth}
    told = (ROOT / "docs/operations.md").read_text()
    for _, key in referred:
        assert f"--from-literal={key}=" in told, "the runbook says how each is made"


def test_every_image_is_pinned_to_this_version(documents: list[Document]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, container in containers(documents):
        assert container["image"].rpartition(":")[2].removesuffix("-cuda") == version, name


def test_every_pod_meets_the_restricted_standard(documents: list[Document]) -> None:
    namespace = of_kind(documents, "Namespace")["xraytriage"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(documents).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
    for name, container in containers(documents):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["requests"]["memory"], name
        assert container["resources"]["limits"]["memory"], name


def test_probes_ask_for_progress_and_give_a_start_its_time(documents: list[Document]) -> None:
    for name in (*NAMES, "reconcile"):
        container = main(documents, name)
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["exec"]["command"] == ["xraytriage", "probe", name]
            # An idle worker is watched for ten seconds before it is called stuck.
            assert container[probe]["timeoutSeconds"] > 20
    api = main(documents, "api")
    assert api["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert api["readinessProbe"]["httpGet"]["path"] == "/healthz"


def test_a_pool_drains_before_it_is_killed(documents: list[Document]) -> None:
    for name in NAMES:
        grace_s = pods(documents)[name]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s > Settings().drain_s


def test_disruptions_are_bounded_for_all_that_serve(documents: list[Document]) -> None:
    budgets = of_kind(documents, "PodDisruptionBudget")
    for name in ("api", "reconcile", *NAMES):
        assert matches(budgets[name]["spec"]["selector"]["matchLabels"], pods(documents)[name])


def test_no_pod_of_a_new_version_runs_on_old_tables(documents: list[Document]) -> None:
    for name in ("api", "reconcile", *NAMES):
        (first,) = pods(documents)[name]["spec"]["initContainers"]
        assert first["command"] == ["xraytriage", "migrate", "--check"], name


def matches(labels: dict[str, str], pod: Document) -> bool:
    return labels.items() <= pod["metadata"]["labels"].items()


def test_nobody_reaches_anybody_unless_it_is_said(documents: list[Document]) -> None:
    policies = of_kind(documents, "NetworkPolicy")
    nothing = policies["nothing"]["spec"]
    assert nothing["podSelector"] == {}
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    servers = policies["servers"]["spec"]["podSelector"]["matchLabels"]
    for name, pod in pods(documents).items():
        assert matches(servers, pod) == (name != "flower"), name


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
