"""Every command of docker-compose.yml, as written, in what is left of a container without Docker.

Needs root for the namespaces; the servers, the models and the programs are the real ones.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import sync_playwright
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from pipeline.settings import PLACEHOLDER
from tests.acceptance.prometheus import program
from tests.faults.servers import wait_until
from tests.integration.infra.compose import ROOT
from tests.integration.infra.conftest import SECRETS, Config
from tests.integration.infra.containers import Containers, Image
from tests.integration.infra.runbook import commands, follow

OURS = (
    *("api", "worker-prepare", "worker-gate", "worker-type", "worker-chest"),
    *("reconcile", "flower", "dicom-listen", "dicom-send"),
)
STAGES = {"prepare", "gate", "type", "chest"}
LOGIN = (SECRETS["FLOWER_USER"], SECRETS["FLOWER_PASSWORD"])
ENDED = {"done", "rejected", "quarantined"}
WAIT_S = 240.0

NOT_TO_BE_HAD = {"grafana"}
"""Of the programs that compose runs; all others are started here."""

pytestmark = [pytest.mark.containers, pytest.mark.usefixtures("namespaces")]


@pytest.fixture(scope="module")
def running(
    namespaces: None,
    config: Config,
    images: dict[str, Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Containers]:
    """All services, each started when compose's own conditions allow it, all healthy."""
    folder = tmp_path_factory.mktemp("compose")
    # Where results go nobody listens: that is for the tests of delivery.
    dicom = {"DICOM_CALLING_AETS": "ROOM1", "DICOM_DESTINATION": "dimse://PACS@127.0.0.1:104"}
    with Containers(config("--profile", "*", **dicom), images, folder) as containers:
        program("prometheus")
        containers.up(*OURS, "prometheus")
        for name in (*OURS, "prometheus"):
            wait_until(lambda name=name: containers.is_healthy(name), f"{name}", WAIT_S)  # type: ignore[misc]
        yield containers


@pytest.fixture(scope="module")
def api(running: Containers) -> Iterator[httpx.Client]:
    """Speaks to the API as a client on another host does."""
    with httpx.Client(base_url=f"http://{running.address('api')}:8000", timeout=60.0) as client:
        yield client


@pytest.fixture(scope="module")
def flower(running: Containers) -> Iterator[httpx.Client]:
    """Speaks to Flower, not signed in."""
    with httpx.Client(base_url=f"http://{running.address('flower')}:5555", timeout=60.0) as client:
        yield client


def triage(api: httpx.Client, *samples: str) -> list[dict[str, Any]]:
    files = [
        ("files", (Path(name).name, (ROOT / "samples/images" / name).read_bytes()))
        for name in samples
    ]
    job = api.post("/v1/jobs", files=files, data={"priority": "stat"}).raise_for_status().json()
    addresses = [f"/v1/images/{image['id']}" for image in job["images"]]
    wait_until(
        lambda: all(api.get(address).json()["state"] in ENDED for address in addresses),
        "all images end",
        WAIT_S,
    )
    return [api.get(address).raise_for_status().json() for address in addresses]


def test_every_command_of_compose_was_started(running: Containers) -> None:
    assert running.services.keys() - running.processes.keys() == NOT_TO_BE_HAD


def test_with_a_placeholder_no_server_starts_and_no_volume_is_made(
    namespaces: None, config: Config, images: dict[str, Image], tmp_path: Path
) -> None:
    with Containers(config(POSTGRES_PASSWORD=PLACEHOLDER), images, tmp_path) as containers:
        for server in ("database", "storage", "broker"):
            with pytest.raises(AssertionError, match="POSTGRES_PASSWORD"):
                containers.up(server)
        assert containers.processes.keys() == {"secrets"}
        assert not list(tmp_path.glob("volume-*"))


def test_prometheus_finds_every_process_that_has_metrics(running: Containers) -> None:
    address = f"http://{running.address('prometheus')}:9090/api/v1"
    wanted = {f"{running.address(name)}:9100" for name in OURS if name not in {"api", "flower"}}
    wanted.add(f"{running.address('api')}:8000")

    def targets() -> dict[str, str]:
        found = httpx.get(f"{address}/targets", timeout=30.0).json()["data"]["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in found}

    up = dict.fromkeys(wanted, "up")
    wait_until(lambda: targets() == up, "all targets are up", WAIT_S)
    (group,) = httpx.get(f"{address}/rules", timeout=30.0).json()["data"]["groups"]
    shipped = yaml.safe_load((ROOT / "infra/prometheus/alerts.yml").read_text())
    assert len(group["rules"]) == len(shipped["groups"][0]["rules"])


def test_the_doctor_finds_nothing_in_the_image_of_the_api(running: Containers) -> None:
    assert running.execute("api", ["xraytriage", "doctor"]) == 0


def test_an_image_walks_through_all_of_it(api: httpx.Client) -> None:
    chest, photograph = triage(api, "chest/child-pneumonia-1.jpg", "not-xray/screenshot.png")
    assert [run["stage"] for run in chest["stages"]] == ["gate", "type", "chest"]
    assert photograph["reason_code"] == "not_xray"


def test_the_listener_takes_whom_it_knows_and_nobody_else(running: Containers) -> None:
    for title, known in (("ROOM1", True), ("ROOM2", False)):
        entity = AE(title)
        entity.add_requested_context(Verification)
        there = entity.associate(running.address("dicom-listen"), 11112, ae_title="XRAYTRIAGE")
        assert there.is_established == known
        if known:
            assert there.send_c_echo().Status == 0
            there.release()


def test_nothing_can_write_to_its_root_and_nobody_has_a_capability(running: Containers) -> None:
    for name in OURS:
        assert running.execute(name, ["touch", "/here"]) != 0
        assert running.execute(name, ["sh", "-c", "touch /tmp/here"]) == 0
        assert running.execute(name, ["grep", "-q", "CapEff:.*[1-9a-f]", "/proc/self/status"]) == 1
        assert running.execute(name, ["sh", "-c", 'test "$(id -u)" = 10001']) == 0


def test_logs_are_json_and_name_what_they_are_about(running: Containers, api: httpx.Client) -> None:
    (image,) = triage(api, "not-xray/screenshot.png")
    for name in OURS:
        lines = [json.loads(line) for line in running.log(name).splitlines()]
        assert all({"time", "level", "logger", "event"} <= line.keys() for line in lines), name
    (ended,) = (
        line
        for line in map(json.loads, running.log("worker-gate").splitlines())
        if line["event"] == "image ended" and line["image_id"] == image["id"]
    )
    assert (ended["job_id"], ended["stage"]) == (image["job_id"], "gate")
    assert ended["root_id"]
    everything = "".join(running.log(name) for name in OURS)
    assert "screenshot.png" not in everything, "a file name is the patient's"
    assert not [
        secret for secret in SECRETS.values() if secret in everything.replace("operator", "")
    ]


def test_an_anonymous_stranger_gets_nothing_from_flower(flower: httpx.Client) -> None:
    for address in ("/", "/tasks", "/api/workers", "/api/tasks"):
        assert flower.get(address).status_code == 401, address
    for address in ("/api/worker/shutdown/x", "/api/task/send-task/stage.gate"):
        assert flower.post(address, json={"args": [[]]}).status_code == 401, address


def test_who_is_signed_in_may_look_and_command_nobody(
    flower: httpx.Client, running: Containers
) -> None:
    def workers() -> dict[str, Any]:
        found: dict[str, Any] = (
            flower.get("/api/workers?refresh=1", auth=LOGIN).raise_for_status().json()
        )
        return found

    wait_until(lambda: len(workers()) == 4, "Flower has heard of the four workers")
    (gate,) = (name for name in workers() if name.startswith("gate@"))
    for address in (
        f"/api/worker/shutdown/{gate}",
        f"/api/worker/queue/cancel-consumer/{gate}?queue=stage.gate",
        "/api/task/send-task/stage.gate",
    ):
        answer = flower.post(address, auth=LOGIN, json={"args": [[]]})
        assert answer.status_code == 403, address
    assert running.processes["worker-gate"].poll() is None


def test_a_worker_in_a_new_container_has_the_name_of_the_old_one(
    flower: httpx.Client, running: Containers
) -> None:
    def names() -> set[str]:
        return set(flower.get("/api/workers?refresh=1", auth=LOGIN).raise_for_status().json())

    wanted = {f"{stage}@worker-{stage}" for stage in STAGES}
    wait_until(lambda: names() == wanted, "Flower knows the four workers", WAIT_S)
    assert running.stop("worker-gate") == 0
    running.restart("worker-gate")
    wait_until(lambda: running.is_healthy("worker-gate"), "the gate is back", WAIT_S)
    assert names() == wanted


def test_a_task_says_stage_and_count_and_nothing_else(
    flower: httpx.Client, api: httpx.Client
) -> None:
    triage(api, "chest/child-pneumonia-1.jpg")
    tasks = flower.get("/api/tasks", auth=LOGIN).raise_for_status().json().values()
    assert {task["name"] for task in tasks} == {f"stage.{stage}" for stage in STAGES}
    assert all(re.fullmatch(r"<\d+ images>", task["args"]) for task in tasks)
    assert "<1 images>" in {task["args"] for task in tasks}
    assert {task["kwargs"] for task in tasks} == {"{}"}


def test_its_page_shows_a_pool_for_each_stage_and_what_it_did(
    flower: httpx.Client, api: httpx.Client, tmp_path: Path
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    triage(api, "chest/child-pneumonia-1.jpg")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        login = {"username": LOGIN[0], "password": LOGIN[1]}
        page = browser.new_page(http_credentials=login, viewport={"width": 1200, "height": 700})

        def counted() -> set[str]:
            page.goto(str(flower.base_url))
            page.wait_for_load_state("networkidle")
            page.screenshot(path=tmp_path / "flower.png")
            rows = [
                [cell.strip() for cell in row.locator("td").all_text_contents()]
                for row in page.locator("#workers-table tbody tr").all()
            ]
            # Succeeded is the last column but one.
            return {row[0].partition("@")[0] for row in rows if row[-2:-1] not in ([], ["0"], [""])}

        wait_until(lambda: counted() == STAGES, f"all four count: {tmp_path / 'flower.png'}")
        browser.close()


def test_a_restart_of_flower_changes_nothing_else(running: Containers, api: httpx.Client) -> None:
    (before,) = triage(api, "bones/knee.jpg")
    others = {name: running.processes[name].pid for name in OURS if name != "flower"}
    assert running.stop("flower") == 0
    (during,) = triage(api, "bones/knee.jpg")
    running.restart("flower")
    wait_until(lambda: running.is_healthy("flower"), "Flower is back", WAIT_S)
    (after,) = triage(api, "bones/knee.jpg")
    answers = [
        [(run["stage"], run["answer"], run["scores"]) for run in image["stages"]]
        for image in (before, during, after)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert all(running.processes[name].poll() is None for name in others)
    assert {name: running.processes[name].pid for name in others} == others


def test_a_backup_of_the_runbook_can_be_restored(
    running: Containers, api: httpx.Client, tmp_path: Path
) -> None:
    def preview(image: dict[str, Any]) -> bytes:
        return api.get(f"/v1/images/{image['id']}/preview.png").raise_for_status().content

    (before,) = triage(api, "chest/child-pneumonia-1.jpg")
    seen = preview(before)
    for line in commands("Back up"):
        follow(line, running, tmp_path, OURS)
    (lost,) = triage(api, "not-xray/screenshot.png")
    for line in commands("Restore"):
        follow(line, running, tmp_path, OURS)
    assert api.get(f"/v1/images/{before['id']}").json() == before
    assert preview(before) == seen
    assert api.get(f"/v1/images/{lost['id']}").status_code == 404


def test_each_ends_within_its_grace(running: Containers) -> None:
    for name in reversed(OURS):
        assert running.stop(name) == 0, running.log(name)[-2000:]
