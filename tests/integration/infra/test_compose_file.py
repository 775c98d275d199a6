"""docker-compose.yml as Docker Compose reads it: complete, confined, and true to the code."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.catalogue import STAGES
from pipeline.flow import PREPARE
from pipeline.settings import PLACEHOLDER, Settings
from tests.integration.infra.conftest import SECRETS, Config
from tests.integration.infra.containers import ROOT, compose

ONE_SHOT = {"migrate", "storage-folder"}
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
    variables: dict[str, str] = service.get("environment") or {}
    return {k.removeprefix(prefix).lower(): v for k, v in variables.items() if k.startswith(prefix)}


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
    for name, service in ours(services):
        assert settings_in(service).keys() <= Settings.model_fields.keys(), name


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
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z0-9_]+)", text))
    example = (ROOT / ".env.example").read_text()
    assert wanted == set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.MULTILINE))


def test_no_service_of_ours_starts_with_the_example(config: Config) -> None:
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    assert {value for name, value in example.items() if "USER" not in name} == {PLACEHOLDER}
    for name, service in ours(config(**example)["services"]):
        with pytest.raises(ValidationError, match=PLACEHOLDER):
            Settings.model_validate(settings_in(service))
        assert PLACEHOLDER in " ".join(service["environment"].values()), name


def test_each_single_placeholder_is_refused(config: Config) -> None:
    for secret in ("BROKER_PASSWORD", "POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        migrate = config(**{secret: PLACEHOLDER})["services"]["migrate"]
        with pytest.raises(ValidationError, match=PLACEHOLDER):
            Settings.model_validate(settings_in(migrate))


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
        needs = service["depends_on"]
        assert needs["database"]["condition"] == "service_healthy", name
        if name != "migrate":
            assert needs["migrate"]["condition"] == "service_completed_successfully", name


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


def test_the_three_model_pools_get_a_gpu_and_nobody_else(config: Config) -> None:
    for name, service in config(*GPU)["services"].items():
        reserved = service["deploy"]["resources"].get("reservations", {}).get("devices", [])
        assert bool(reserved) == (name in MODEL_POOLS), name
        if name in MODEL_POOLS:
            assert settings_in(service)["device"] == "cuda"
            assert service["image"].endswith("-cuda")
            assert service["build"]["args"]["RUNTIME"] in project()["optional-dependencies"]
            # The rest is as without a GPU.
            assert "broker_url" in settings_in(service)
