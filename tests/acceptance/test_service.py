"""The running service as its users meet it: over HTTP, and in Flower."""

import io
import re
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from pipeline.embedded import Stack
from pipeline.settings import Settings
from tests.acceptance.conftest import until

ENDED = {"done", "rejected", "quarantined"}
STAGES = ("prepare", "gate", "type", "chest")
CHUNK = Settings.model_fields["chunk_size"].default


def send(client: httpx.Client, path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        answer = client.post("/v1/jobs", files={"files": file}, data={"priority": "stat"})
    assert answer.status_code == 202
    image_id = answer.json()["images"][0]["id"]
    address = f"/v1/images/{image_id}"
    until(lambda: client.get(address).json()["state"] in ENDED, "the image ends")
    result: dict[str, object] = client.get(address).raise_for_status().json()
    return result


def test_a_chest_is_answered_by_three_networks_and_its_findings_have_heatmaps(
    client: httpx.Client, samples: Path
) -> None:
    image = send(client, samples / "images" / "chest" / "child-pneumonia-1.jpg")
    assert image["state"] == "done"
    runs = {run["stage"]: run for run in image["stages"]}  # type: ignore[attr-defined]
    assert set(runs) == {"gate", "type", "chest"}
    assert runs["type"]["answer"] == "chest"
    assert all(run["wait_ms"] >= 0 and run["compute_ms"] > 0 for run in runs.values())
    findings = [finding for finding in runs["chest"]["findings"] if finding["heatmap"]]
    assert findings, "a child's pneumonia that shows nothing"
    preview = _picture(client, f"/v1/images/{image['id']}/preview.png")
    for finding in findings:
        overlay = _picture(client, finding["heatmap"])
        assert overlay.size == preview.size
        assert np.asarray(overlay.convert("L")).std() > 0


def test_a_photograph_is_refused_in_words(client: httpx.Client, samples: Path) -> None:
    image = send(client, samples / "images" / "not-xray" / "screenshot.png")
    assert image["state"] == "rejected"
    assert image["reason_code"] == "not_xray"


def test_the_same_bytes_twice_are_answered_twice_and_stored_once(
    client: httpx.Client, samples: Path
) -> None:
    data = (samples / "images" / "bones" / "knee.jpg").read_bytes()
    files = [("files", ("a.jpg", data)), ("files", ("b.jpg", data))]
    job = client.post("/v1/jobs", files=files).raise_for_status().json()
    first, second = job["images"]
    assert first["id"] != second["id"]
    assert first["sha256"] == second["sha256"]
    address = f"/v1/jobs/{job['id']}"
    until(lambda: client.get(address).json()["finished"] == 2, "both end")


def test_a_stat_image_overtakes_the_bulk_job_before_it(client: httpx.Client, samples: Path) -> None:
    chests = sorted((samples / "images" / "chest").glob("*.jpg"))
    # Bytes after the end of a JPEG change nothing but its name in the storage.
    data = [chests[n % len(chests)].read_bytes() + bytes([n]) for n in range(3 * CHUNK)]
    files = [("files", (f"{n}.jpg", each)) for n, each in enumerate(data)]
    sent = client.post("/v1/jobs", files=files, data={"priority": "bulk"}).raise_for_status()
    job = f"/v1/jobs/{sent.json()['id']}"
    stat = send(client, chests[0])
    until(lambda: client.get(job).json()["finished"] == len(files), "the bulk job ends")
    page = client.get(f"{job}/results", params={"limit": len(files)}).raise_for_status().json()
    before = [image for image in page["items"] if image["finished_at"] < stat["finished_at"]]
    assert len(page["items"]) == len(files)
    assert len(before) <= CHUNK  # in the order of sending two chunks are


def test_flower_shows_a_pool_for_each_stage_and_what_it_did(
    stack: Stack, client: httpx.Client, samples: Path
) -> None:
    send(client, samples / "images" / "chest" / "adult-effusion.jpg")
    flower = stack.addresses["flower"]

    def shown() -> bool:
        seen = httpx.get(f"{flower}/metrics", timeout=30.0).text
        return all(
            re.search(rf'task="stage\.{stage}".*worker="{stage}@', seen)
            or re.search(rf'worker="{stage}@.*task="stage\.{stage}"', seen)
            for stage in STAGES
        )

    until(shown, "Flower has counted all four stages")
    refused = httpx.post(f"{flower}/api/worker/shutdown/gate@x", timeout=30.0)
    assert refused.status_code in {401, 403}


def _picture(client: httpx.Client, address: str) -> Image.Image:
    answer = client.get(address).raise_for_status()
    assert answer.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(answer.content))
