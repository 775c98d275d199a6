"""The manifests as kubectl builds them, against the published schemas and against the code.

Nothing is applied: no cluster is to be had where this is tested.
"""

import json
import tomllib

from models.catalogue import STAGES
from pipeline.dispatch import line_of
from pipeline.flow import PREPARE
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.integration.infra.compose import ROOT
from tests.integration.infra.conftest import Config
from tests.integration.infra.manifests import (
    CUSTOM,
    Document,
    built,
    containers,
    main,
    matches,
    need,
    of_kind,
    pods,
    variables,
)

NAMES = [PREPARE, *(stage.name for stage in STAGES)]


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
        # A queue that can't be read must not leave a pool at zero.
        assert spec["fallback"]["replicas"] >= 1
    for name in ("api", *NAMES):  # whoever is scaled by somebody else must not say how many
        assert "replicas" not in of_kind(documents, "Deployment")[name]["spec"]


def test_gpu_pools_go_to_zero_and_cpu_pools_do_not() -> None:
    for overlay, least, gpus in (("gpu", 0, 1), ("cpu", 1, None)):
        documents = built(overlay)
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


def test_uploads_wait_where_the_watermark_sees_how_much_is_free(documents: list[Document]) -> None:
    where = variables(main(documents, "api"))
    (spool,) = (v for v in pods(documents)["api"]["spec"]["volumes"] if v["name"] == "spool")
    (mount,) = (m for m in main(documents, "api")["volumeMounts"] if m["name"] == "spool")
    assert where["XRAYTRIAGE_DATA_DIR"] == where["TMPDIR"] == mount["mountPath"]
    # An emptyDir shows the free space of its node, whatever its limit is.
    asked = spool["ephemeral"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    size = int(asked.removesuffix("Gi")) * 2**30
    assert 2 * int(where["XRAYTRIAGE_DISK_WATERMARK_BYTES"]) < size, "the alert would never end"


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
