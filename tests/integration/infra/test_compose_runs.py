"""Every command of docker-compose.yml, as written, in what is left of a container without Docker.

Needs root for the namespaces; the servers, the models and the programs are the real ones.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import sync_playwright
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from tests.faults.servers import wait_until
from tests.integration.infra.conftest import SECRETS, Config
from tests.integration.infra.containers import ROOT, Containers, Image

OURS = (
    *("api", "worker-prepare", "worker-gate", "worker-type", "worker-chest"),
    *("reconcile", "flower", "dicom-listen", "dicom-send"),
)
LOGIN = (SECRETS["FLOWER_USER"], SECRETS["FLOWER_PASSWORD"])
ENDED = {"done", "rejected", "quarantined"}
WAIT_S = 240.0

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network and mount namespaces"),
]


@pytest.fixture(scope="module")
def running(
    config: Config, images: dict[str, Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containers]:
    """All services, each started when compose's own conditions allow it, all healthy."""
    folder = tmp_path_factory.mktemp("compose")
    # Where results go nobody listens: that is for the tests of delivery.
    dicom = {"DICOM_CALLING_AETS": "ROOM1", "DICOM_DESTINATION": "dimse://PACS@127.0.0.1:104"}
    with Containers(config("--profile", "*", **dicom), images, folder) as containers:
        containers.up(*OURS, *(["prometheus"] if shutil.which("prometheus") else []))
        for name in OURS:
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

        stages = {"prepare", "gate", "type", "chest"}
        wait_until(lambda: counted() == stages, f"all four count: {tmp_path / 'flower.png'}")
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


def test_a_backup_of_the_runbook_can_be_restored(running: Containers, api: httpx.Client) -> None:
    (before,) = triage(api, "not-xray/screenshot.png")
    user = "--username=xraytriage"
    made = f"pg_dump {user} --format=custom xraytriage > /tmp/xraytriage.dump"
    assert running.execute("database", ["sh", "-c", made]) == 0
    (lost,) = triage(api, "not-xray/screenshot.png")
    back = f"pg_restore {user} --dbname=xraytriage --clean --if-exists /tmp/xraytriage.dump"
    assert running.execute("database", ["sh", "-c", back]) == 0
    assert api.get(f"/v1/images/{before['id']}").json() == before
    assert api.get(f"/v1/images/{lost['id']}").status_code == 404


def test_each_ends_within_its_grace(running: Containers) -> None:
    for name in reversed(OURS):
        assert running.stop(name) == 0, running.log(name)[-2000:]
