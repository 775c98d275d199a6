"""Images: what was said of one, and its pictures."""

import io
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipeline.states import State
from pipeline.storage import StorageUnavailable
from tests.stand_in.finished import FinishedJob, png
from tests.unit.pipeline.api.memory import Store, problem


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_an_image_tells_everything(client: TestClient, job: FinishedJob) -> None:
    header = {"modality": "DX", "pixel_spacing": [0.14, 0.14]}
    image_id = job.chest("a.dcm", header=header, format="DICOM", width_px=300, height_px=300)
    body = client.get(f"/v1/images/{image_id}").json()
    assert body["answer"] == (
        "Chest X-ray, abnormal (score 0.91, at the operating point 'balanced')"
    )
    assert (body["state"], body["waits_for"], body["header"]) == ("done", None, header)
    assert (body["is_xray"], body["xray_type"], body["abnormal"]) == (True, "chest", True)
    assert (body["xray_score"], body["type_score"]) == (0.99, 0.97)
    assert body["abnormality_score"] == 0.91
    assert [run["stage"] for run in body["stages"]] == ["gate", "type", "chest"]
    chest = body["stages"][2]
    assert (chest["model_version"], chest["wait_ms"]) == ("chest-1.0.0+00000000", 10.0)
    assert [(f["label"], f["experimental"]) for f in chest["findings"]] == [
        ("abnormal", False),
        ("Effusion", False),
        ("Hernia", True),
    ]


def test_every_heatmap_is_where_the_image_says(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    findings = client.get(f"/v1/images/{image_id}").json()["stages"][2]["findings"]
    for finding in findings:
        response = client.get(finding["heatmap"])
        assert response.headers["content-type"] == "image/png"
        assert response.content == png(finding["label"])


@pytest.mark.parametrize("label", ["Pleural Thickening", "a/b", "100%?#", "é"])
def test_labels_may_hold_any_character(client: TestClient, job: FinishedJob, label: str) -> None:
    image_id = job.chest("a.png", abnormality=0.1)
    job.find(image_id, label, 0.7)
    (finding,) = client.get(f"/v1/images/{image_id}").json()["stages"][2]["findings"]
    assert client.get(finding["heatmap"]).content == png(label)


def test_the_newest_heatmap_is_shown(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    newer = {"model_version": "chest-2.0.0+00000000"}
    job.run(image_id, "chest", None, {"Effusion": 0.6}, created_at=9.0, **newer)
    job.find(image_id, "Effusion", 0.6, heatmap=job.store.put(b"newer"), **newer)
    assert client.get(f"/v1/images/{image_id}/heatmaps/Effusion.png").content == b"newer"
    assert client.get(f"/v1/images/{image_id}/heatmaps/Hernia.png").content == png("Hernia")


def test_an_image_at_work_says_what_it_waits_for(client: TestClient, job: FinishedJob) -> None:
    image_id = job.add("a.png", State.RECEIVED, stage="prepare", finished_at=None)
    body = client.get(f"/v1/images/{image_id}").json()
    assert (body["waits_for"], body["answer"]) == ("prepare", "In triage: reading the file")
    assert (body["is_xray"], body["abnormal"], body["preview"]) == (None, None, None)
    assert (body["finished_at"], body["stages"]) == (None, [])


def test_an_unknown_type_has_the_best_score(client: TestClient, job: FinishedJob) -> None:
    image_id = job.add("a.png")
    job.run(image_id, "type", "unknown", {"chest": 0.4, "hand": 0.3})
    assert client.get(f"/v1/images/{image_id}").json()["type_score"] == 0.4


def test_the_preview_is_what_the_networks_saw(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    body = client.get(f"/v1/images/{image_id}").json()
    response = client.get(body["preview"])
    assert response.headers["content-type"] == "image/png"
    shown = np.asarray(picture(response.content))
    assert shown.shape == (300, 256)
    assert (shown[0] == np.arange(256)).all()


def test_a_thumbnail_is_small(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    thumbnail = client.get(f"/v1/images/{image_id}/preview.png?px=60").content
    assert picture(thumbnail).size == (51, 60)
    problem(client.get(f"/v1/images/{image_id}/preview.png?px=99999"), 422, "invalid")


def test_what_is_not_there_is_404(client: TestClient, job: FinishedJob) -> None:
    image_id = job.add("a.png")
    for path in (
        f"/v1/images/{'0' * 31}f",
        "/v1/images/nope",
        f"/v1/images/{image_id}/preview.png",
        f"/v1/images/{image_id}/heatmaps/Effusion.png",
        "/v1/nothing",
    ):
        problem(client.get(path), 404, "not-found")


def test_a_lost_object_is_told_from_a_silent_storage(
    client: TestClient, job: FinishedJob, store: Store
) -> None:
    image_id = job.chest("a.png")
    address = f"/v1/images/{image_id}/preview.png"
    kept = replace(store)
    store.blobs = {}
    problem(client.get(address), 500, "damaged")
    store.blobs, store.broken = kept.blobs, StorageUnavailable()
    problem(client.get(address), 503, "storage-unavailable")


def test_pictures_are_kept_by_nobody(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    response = client.get(f"/v1/images/{image_id}/preview.png")
    assert response.headers["cache-control"] == "no-store"
