"""The API over the real broker, storage and database, and through a real HTTP server."""

import csv
import io
import socket
import threading
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from pipeline.api.app import create_app
from pipeline.context import Context
from pipeline.dispatch import queue_of
from pipeline.records import results
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.storage import ObjectRef
from tests.browser.worker import Worker
from tests.faults.servers import wait_until
from tests.integration.conftest import RealServer
from tests.unit.pipeline.api.memory import problem

CHEST = {"abnormal": 0.93, "Effusion": 0.81, "Mass": 0.1}


def png(gray: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 48), gray % 256).save(buffer, "PNG")
    return buffer.getvalue() + gray.to_bytes(4, "big")  # bytes behind the end make it unique


@pytest.fixture
def client(settings: Settings, context: Context) -> Iterator[TestClient]:
    """The application with its own lifespan."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def test_an_upload_is_stored_recorded_and_announced(client: TestClient, context: Context) -> None:
    sent = [("files", (f"{gray}.png", png(gray))) for gray in (1, 2)]
    response = client.post("/v1/jobs", files=sent, data={"priority": "stat"})
    assert response.status_code == 202
    body = response.json()
    for image, (_, (name, data)) in zip(body["images"], sent, strict=True):
        view = results.image(context.engine, image["id"])
        assert view is not None
        assert (view.row["name"], view.row["state"]) == (name, State.RECEIVED)
        assert context.store.get(ObjectRef.parse(view.row["original"])) == data
    assert context.dispatcher.depth("prepare", Priority.STAT) == 1
    assert queue_of("prepare") == "stage.prepare"


def test_the_same_bytes_are_stored_once_and_answered_twice(
    client: TestClient, context: Context
) -> None:
    sent = [("files", ("a.png", png(7))), ("files", ("b.png", png(7)))]
    images = client.post("/v1/jobs", files=sent).json()["images"]
    views = [results.image(context.engine, image["id"]) for image in images]
    assert len({view.row["original"] for view in views if view}) == 1
    assert len({image["id"] for image in images}) == 2


def test_a_triaged_image_is_shown_in_every_way(client: TestClient, context: Context) -> None:
    job = client.post("/v1/jobs", files={"files": ("chest.png", png(90))}).json()
    image_id = job["images"][0]["id"]
    worker = Worker(context)
    worker.prepare(image_id)
    worker.answer(image_id, "gate", "xray", {"other": 0.1, "xray": 0.9})
    worker.answer(image_id, "type", "chest", {"chest": 0.8, "hand": 0.2})
    worker.answer(image_id, "chest", None, CHEST, "abnormal", "Effusion")

    assert client.get(job["url"]).json()["progress"] == 1.0
    image = client.get(f"/v1/images/{image_id}").json()
    assert image["answer"].startswith("Chest X-ray, abnormal (score 0.93")
    for address in (image["preview"], image["stages"][2]["findings"][1]["heatmap"]):
        picture = Image.open(io.BytesIO(client.get(address).content))
        assert (picture.format, picture.size) == ("PNG", (64, 48))
    (row,) = csv.DictReader(io.StringIO(client.get(f"{job['results']}?format=csv").text))
    assert (row["path"], row["status"], row["abnormal"]) == ("chest.png", "done", "true")
    assert "Chest X-ray, abnormal" in client.get(f"/images/{image_id}").text
    assert "1 of 1 image triaged" in client.get(f"/jobs/{job['id']}").text


def test_ready_names_the_server_that_is_gone(
    client: TestClient, valkey: RealServer, weed: RealServer
) -> None:
    for name, server in (("broker", valkey), ("storage", weed)):
        wait_until(lambda: client.get("/readyz").status_code == 200, "all servers answer")
        server.pause()
        try:
            checks = problem(client.get("/readyz"), 503, "not-ready")["checks"]
        finally:
            server.resume()
        assert [key for key, check in checks.items() if not check["ok"]] == [name]


def test_without_a_broker_uploads_are_taken_all_the_same(
    settings: Settings, context: Context
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    deaf = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{port}/0"})
    with TestClient(create_app(deaf)) as client:
        assert client.post("/v1/jobs", files={"files": ("a.png", png(3))}).status_code == 202
    assert results.unsent(context.engine) == 1


def test_without_storage_nothing_is_promised(settings: Settings, context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    lost = settings.model_copy(
        update={"s3_endpoint": f"http://127.0.0.1:{port}", "s3_attempts": 1, "s3_patience_s": 0.0}
    )
    with TestClient(create_app(lost), raise_server_exceptions=False) as client:
        response = client.post("/v1/jobs", files={"files": ("a.png", png(4))})
        problem(response, 503, "storage-unavailable")
    with context.engine.connect() as connection:
        assert results.counts(connection) == {}


@pytest.fixture
def address(settings: Settings, context: Context) -> Iterator[str]:
    """A real HTTP server on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        serving.join(30)


def test_more_files_than_starlette_would_take(address: str) -> None:
    sent = [("files", (f"{number}.png", png(number))) for number in range(1100)]
    job = httpx2.post(f"{address}/v1/jobs", files=sent, timeout=120)
    assert job.status_code == 202
    assert [image["name"] for image in job.json()["images"]] == [name for _, (name, _) in sent]
    names = []
    page = f"{job.json()['results']}?limit=500"
    while page:
        body = httpx2.get(page, timeout=60).json()
        names += [item["name"] for item in body["items"]]
        page = body["next"]
    assert sorted(names) == sorted(name for _, (name, _) in sent)


def test_a_body_in_chunks_of_unknown_length(address: str) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield from (head, png(5), b"\r\n--x--\r\n")

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = httpx2.post(f"{address}/v1/jobs", content=body(), headers=headers, timeout=60)
    assert response.status_code == 202
    assert [image["state"] for image in response.json()["images"]] == ["received"]
