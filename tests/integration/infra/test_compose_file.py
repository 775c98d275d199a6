"""docker-compose.yml as Docker Compose reads it: complete, confined, and true to the code."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.catalogue import STAGES
from pipeline.flow import PREPARE
from pipeline.settings import PLACEHOLDER, Settings
from tests.integration.infra.compose import ROOT, compose
from tests.integration.infra.conftest import SECRETS, Config

ONE_SHOT = {"secrets", "migrate", "storage-folder"}
NOT_OURS = {name for name in SECRETS if "USER" not in name}
MODEL_POOLS = {f"worker-{stage.name}" for stage in STAGES}
EVERYTHING = ("--profile", "*")
GPU = ("--file", "docker-compose.yml", "--file", "infra/compose.gpu.yml")
DICOM = {"DICOM_CALLING_AETS": "CT1,XRAY2", "DICOM_DESTINATION": "dimse://PACS@192.0.2.7:104"}
MIB = 2**20


@pytest.fixture(scope="module")
def services(config: Config) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = config(*EVERYTHING, **DICOM)["services"]
    return found


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def ours(services: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in services.items():
        if service["image"].startswith("xraytriage-"):
            yield name, service


def settings_in(service: dict[str, Any]) -> dict[str, str]:
    prefix = "XRAYTRIAGE_"
    variables: dict[str, str | None] = service.get("environment") or {}
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in variables.items()
        if name.startswith(prefix) and value is not None
    }


def test_the_services_of_the_design_are_there(services: dict[str, Any]) -> None:
    stages = {f"worker-{name}" for name in (PREPARE, *(stage.name for stage in STAGES))}
    servers = {"broker", "database", "storage", "prometheus", "grafana"}
    assert stages | servers | {"migrate", "api", "reconcile", "flower"} <= services.keys()


def test_every_stage_has_a_worker_for_its_queue(services: dict[str, Any]) -> None:
    for stage in (PREPARE, *(stage.name for stage in STAGES)):
        service = services[f"worker-{stage}"]
        assert service["command"][:4] == ["python", "-m", "workers", stage]
        assert service["healthcheck"]["test"] == ["CMD", "xraytriage", "probe", stage]


def test_what_not_everybody_wants_runs_only_where_it_is_asked_for(config: Config) -> None:
    assert not {"prometheus", "grafana", "dicom-listen"} & config()["services"].keys()


def test_every_setting_named_exists(services: dict[str, Any]) -> None:
    prefix = "XRAYTRIAGE_"
    for name, service in ours(services):
        named = {n.removeprefix(prefix).lower() for n in service["environment"] if prefix in n}
        assert named <= Settings.model_fields.keys(), name


def test_the_settings_of_each_service_are_valid(services: dict[str, Any]) -> None:
    for _, service in ours(services):
        Settings.model_validate(settings_in(service))


def test_every_image_is_pinned_and_ours_are_of_this_version(services: dict[str, Any]) -> None:
    for name, service in services.items():
        _, _, tag = service["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {service['image']}"
    for _, service in ours(services):
        assert service["image"].endswith(f":{project()['version']}")


def test_what_is_missing_is_named(docker_compose: Path) -> None:
    for name in SECRETS:
        others = {key: value for key, value in SECRETS.items() if key != name}
        said = compose(docker_compose, others, "--env-file", "/dev/null", *EVERYTHING, "config")
        assert said.returncode != 0, name
        assert f"required variable {name} is missing a value" in said.stderr


def test_the_example_names_every_variable() -> None:
    text = "".join((ROOT / file).read_text() for file in GPU[1::2])
    wanted = set(re.findall(r"\$\{([A-Z0-9_]+)|^ +(XRAYTRIAGE_[A-Z0-9_]+):$", text, re.MULTILINE))
    wanted = {given or passed_on for given, passed_on in wanted}
    example = (ROOT / ".env.example").read_text()
    assert wanted == set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.MULTILINE))


def example() -> dict[str, str]:
    """What .env.example sets."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def secrets_say(config: Config, **variables: str) -> subprocess.CompletedProcess[str]:
    """What the command of the service that looks at the secrets says."""
    service = config(*EVERYTHING, **variables)["services"]["secrets"]
    assert service["command"][0] == "python"
    return subprocess.run(
        [sys.executable, *service["command"][1:]],
        cwd=ROOT,
        env=service["environment"],
        capture_output=True,
        text=True,
    )


def test_each_single_placeholder_is_refused_by_its_name(config: Config) -> None:
    wanted = {name for name, value in example().items() if value == PLACEHOLDER}
    assert wanted == NOT_OURS
    for name in wanted:
        said = secrets_say(config, **{name: PLACEHOLDER.upper()})
        assert said.returncode == 1, name
        assert [other for other in wanted if other in said.stderr] == [name]
    assert secrets_say(config).returncode == 0


def test_nothing_at_all_starts_before_the_secrets_were_looked_at(services: dict[str, Any]) -> None:
    def waits(name: str) -> bool:
        needs = services[name].get("depends_on", {})
        looked_at = needs.get("secrets", {}).get("condition") == "service_completed_successfully"
        return looked_at or any(waits(needed) for needed in needs)

    assert [name for name in services if not waits(name)] == ["secrets"]


def test_none_of_our_services_takes_a_placeholder_either(config: Config) -> None:
    for name, service in ours(config(**example())["services"]):
        if name not in {"secrets", "flower"}:
            with pytest.raises(ValidationError, match=PLACEHOLDER):
                Settings.model_validate(settings_in(service))
        assert PLACEHOLDER in " ".join(filter(None, service["environment"].values())), name


def test_the_servers_take_the_secrets_of_the_clients(services: dict[str, Any]) -> None:
    client = settings_in(services["api"])
    assert f":{services['broker']['environment']['VALKEYCLI_AUTH']}@broker:" in client["broker_url"]
    assert f":{services['database']['environment']['POSTGRES_PASSWORD']}@" in client["database_url"]
    storage = services["storage"]["environment"]
    assert client["s3_access_key"] == storage["AWS_ACCESS_KEY_ID"]
    assert client["s3_secret_key"] == storage["AWS_SECRET_ACCESS_KEY"]


def test_the_broker_keeps_what_it_has_and_evicts_nothing(services: dict[str, Any]) -> None:
    command = " ".join(services["broker"]["command"])
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "requirepass"):
        assert option in command
    assert services["broker"]["volumes"][0]["target"] == "/data"


def test_every_service_is_confined(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        assert service["logging"]["options"]["max-size"], name
        limits = service["deploy"]["resources"]["limits"]
        assert limits["cpus"], name
        assert int(limits["memory"]) >= 64 * MIB, name
        if name != "storage-folder":  # which gives a volume away, for which it has to be root
            assert int(service["user"].partition(":")[0]) > 0, name
            assert not service.get("cap_add"), name


def test_every_service_that_stays_is_restarted_and_looked_at(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name
        assert ("healthcheck" in service) == (name not in ONE_SHOT), name


def test_what_works_on_untrusted_bytes_reaches_nobody_outside(config: Config) -> None:
    found = config(*EVERYTHING)
    assert found["networks"]["back"]["internal"] is True
    for name, service in found["services"].items():
        published = service.get("ports", [])
        assert all(port["host_ip"] == "127.0.0.1" for port in published), name
        if not published and name not in {"storage-folder", "dicom-send"}:  # it sends elsewhere
            assert set(service["networks"]) == {"back"}, name


def test_what_depends_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    for name, service in ours(services):
        needs = service.get("depends_on", {})
        if name != "secrets":
            assert needs["database"]["condition"] == "service_healthy", name
        if name not in {"secrets", "migrate"}:
            assert needs["migrate"]["condition"] == "service_completed_successfully", name


def test_a_worker_keeps_its_name_when_its_container_is_replaced(services: dict[str, Any]) -> None:
    for name in (*MODEL_POOLS, "worker-prepare"):
        assert services[name]["hostname"] == name


def test_a_probe_has_the_time_that_a_start_of_python_takes_on_a_busy_host(
    services: dict[str, Any],
) -> None:
    probes = [s["healthcheck"] for s in services.values() if "probe" in str(s.get("healthcheck"))]
    assert len(probes) >= 9
    assert {probe["timeout"] for probe in probes} == {"30s"}


def test_uploads_are_refused_before_the_storage_stops_writing(services: dict[str, Any]) -> None:
    (option,) = (w for w in services["storage"]["command"] if w.startswith("-volume.minFreeSpace="))
    stops_at = int(option.partition("=")[2].removesuffix("GiB")) * 1024 * MIB
    for name, service in ours(services):
        if any(volume["target"] == "/spool" for volume in service.get("volumes", [])):
            settings = Settings.model_validate(settings_in(service))
            assert str(settings.data_dir) == service["environment"]["TMPDIR"] == "/spool", name
            assert settings.disk_watermark_bytes > stops_at, name


def test_what_env_sets_reaches_every_service_that_works_on_images(config: Config) -> None:
    given = {
        "XRAYTRIAGE_CHUNK_SIZE": "7",
        "XRAYTRIAGE_CATALOGUE": "/site/site.toml",
        "XRAYTRIAGE_IDENTIFIERS": "drop",
        "XRAYTRIAGE_OTLP_ENDPOINT": "http://collector:4318",
    }
    for name, service in ours(config(*EVERYTHING, **DICOM, **given)["services"]):
        if name not in {"secrets", "flower"}:
            assert service["environment"].items() >= given.items(), name


def test_what_is_mounted_from_here_is_there(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), f"{name}: {volume['source']}"
                assert volume["read_only"], name


def test_a_worker_has_longer_to_finish_than_its_drain(services: dict[str, Any]) -> None:
    for name in (*MODEL_POOLS, "worker-prepare"):
        assert services[name]["stop_grace_period"] == "1m0s"
        assert Settings().drain_s < 60


def gpus(services: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Service -> the GPUs that it is given."""
    return {
        name: [gpu for device in reserved for gpu in device["device_ids"]]
        for name, service in services.items()
        if (reserved := service["deploy"]["resources"].get("reservations", {}).get("devices"))
    }


def test_each_model_pool_gets_the_gpu_that_is_named_for_it(config: Config) -> None:
    named = {"GATE_GPU": "1", "TYPE_GPU": "2", "CHEST_GPU": "GPU-8f6b"}
    assert gpus(config(*GPU, **named)["services"]) == {
        "worker-gate": ["1"],
        "worker-type": ["2"],
        "worker-chest": ["GPU-8f6b"],
    }
    assert gpus(config(*GPU)["services"]) == {name: ["0"] for name in MODEL_POOLS}


def test_a_model_pool_on_a_gpu_differs_in_nothing_else(config: Config) -> None:
    found = config(*GPU)["services"]
    for name in MODEL_POOLS:
        service = found[name]
        assert settings_in(service)["device"] == "cuda"
        assert service["image"].endswith("-cuda")
        assert service["build"]["args"]["RUNTIME"] in project()["optional-dependencies"]
        assert "broker_url" in settings_in(service)
