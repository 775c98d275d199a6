"""Uploads: what goes in, what is answered, and how it is refused."""

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from pipeline.api.uploads import Gate
from pipeline.context import Context
from pipeline.records import results
from pipeline.storage import StorageFull, StorageUnavailable
from tests.stand_in.finished import png
from tests.unit.pipeline.api.memory import Broker, Store, problem

PNG = png("chest")


def files(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{place}.png", data)) for place, data in enumerate(contents)]


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_one_image_makes_a_job(client: TestClient, context: Context, broker: Broker) -> None:
    response = client.post("/v1/jobs", files=files(PNG))
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == body["url"]
    assert body["priority"] == "routine"
    (image,) = body["images"]
    assert (image["name"], image["state"], image["reason"]) == ("0.png", "received", None)
    assert client.get(image["url"]).json()["job_id"] == body["id"]
    assert [nudge.image_ids for nudge in broker.sent] == [[image["id"]]]
    job = results.job(context.engine, body["id"])
    assert job is not None
    assert job.closed_at is not None


@pytest.mark.parametrize("where", ["form", "query", "form before query"])
def test_priority_may_come_both_ways(client: TestClient, where: str) -> None:
    response = client.post(
        "/v1/jobs",
        files=files(PNG),
        data={} if where == "query" else {"priority": "stat"},
        params={"query": {"priority": "stat"}, "form": {}}.get(where, {"priority": "bulk"}),
    )
    assert response.json()["priority"] == "stat"


def test_a_bad_file_does_not_stop_the_others(client: TestClient) -> None:
    response = client.post("/v1/jobs", files=files(PNG, b"", b"some text", b"x" * 100_001))
    assert response.status_code == 202
    assert [(i["state"], i["reason_code"]) for i in response.json()["images"]] == [
        ("received", None),
        ("rejected", "empty_file"),
        ("rejected", "unsupported_format"),
        ("rejected", "too_many_bytes"),
    ]
    job = client.get(response.json()["url"]).json()
    assert (job["total"], job["finished"], job["progress"]) == (4, 3, 0.75)


def test_a_zip_without_a_file_is_refused_by_name(client: TestClient) -> None:
    response = client.post("/v1/jobs", files=[("files", ("ward3.zip", zipped()))])
    body = problem(response, 422, "refused")
    (error,) = body["errors"]
    assert (error["field"], error["code"]) == ("files[0]", "empty_archive")
    assert error["name"] == "ward3.zip"
    assert body["detail"] == "files[0]: the archive holds no file"


def test_a_zip_counts_as_its_members(client: TestClient) -> None:
    archive = zipped(**{"a.png": PNG, "b/c.png": png("other"), "notes.txt": b"text"})
    response = client.post("/v1/jobs", files=[("files", ("ward3.zip", archive))])
    assert [(i["name"], i["state"]) for i in response.json()["images"]] == [
        ("ward3.zip/a.png", "received"),
        ("ward3.zip/b/c.png", "received"),
        ("ward3.zip/notes.txt", "rejected"),
    ]


def test_a_zip_with_too_many_members_is_refused(client: TestClient) -> None:
    archive = zipped(**{f"{number}.png": PNG for number in range(21)})
    response = client.post("/v1/jobs", files=[("files", ("many.zip", archive))])
    (error,) = problem(response, 422, "refused")["errors"]
    assert error["field"] == "files[0]"


def test_where_every_file_is_refused_each_is_named(client: TestClient) -> None:
    archive = zipped(**{"a.txt": b"text", "b.txt": b"text"})
    sent = [*files(b"text"), ("files", ("ward3.zip", archive))]
    body = problem(client.post("/v1/jobs", files=sent), 422, "refused")
    assert [(e["field"], e["name"], e["code"]) for e in body["errors"]] == [
        ("files[0]", "0.png", "unsupported_format"),
        ("files[1]", "ward3.zip/a.txt", "unsupported_format"),
        ("files[1]", "ward3.zip/b.txt", "unsupported_format"),
    ]
    assert client.get(f"/v1/jobs/{body['job_id']}").json()["counts"]["rejected"] == 3


def test_an_empty_zip_holds_nothing_to_triage(client: TestClient) -> None:
    response = client.post("/v1/jobs", files=[("files", ("empty.zip", zipped()))])
    problem(response, 422, "refused")


def test_a_file_over_the_limit_alone_is_413(client: TestClient) -> None:
    body = problem(client.post("/v1/jobs", files=files(b"x" * 100_001)), 413, "file-too-large")
    assert body["errors"][0]["field"] == "files[0]"
    assert "100000 bytes" in body["errors"][0]["reason"]


def test_too_many_files_are_413(client: TestClient) -> None:
    problem(client.post("/v1/jobs", files=files(*[PNG] * 21)), 413, "request-too-large")


def test_a_length_over_the_limit_is_413_before_a_byte_is_read(client: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(2**40)}
    problem(client.post("/v1/jobs", headers=headers, content=b""), 413, "request-too-large")


@pytest.mark.parametrize(
    ("data", "field"), [({"priority": "now"}, "priority"), ({"prioritty": "stat"}, "prioritty")]
)
def test_a_wrong_field_is_named(client: TestClient, data: dict[str, str], field: str) -> None:
    body = problem(client.post("/v1/jobs", files=files(PNG), data=data), 422, "invalid")
    assert [error["field"] for error in body["errors"]] == [field]


def test_a_wrong_parameter_is_named(client: TestClient) -> None:
    response = client.post("/v1/jobs", files=files(PNG), params={"priority": "now"})
    body = problem(response, 422, "invalid")
    assert [error["field"] for error in body["errors"]] == ["priority"]


def test_no_file_is_named(client: TestClient) -> None:
    form = {"priority": (None, "stat")}
    body = problem(client.post("/v1/jobs", files=form), 422, "invalid")
    assert [error["field"] for error in body["errors"]] == ["files"]


def test_other_bodies_are_415(client: TestClient) -> None:
    problem(client.post("/v1/jobs", json={"files": []}), 415, "unsupported-media-type")
    problem(client.post("/v1/jobs"), 415, "unsupported-media-type")


def test_a_body_without_its_boundary_is_400(client: TestClient) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    problem(client.post("/v1/jobs", headers=headers, content=b"x"), 400, "malformed")


def test_a_body_cut_short_leaves_no_job(client: TestClient, context: Context) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf'
    problem(client.post("/v1/jobs", headers=headers, content=start), 400, "malformed")
    with context.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job")).scalar() == 0


def test_a_page_of_another_site_may_not_send_files(client: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    problem(client.post("/v1/jobs", files=files(PNG), headers=headers), 403, "cross-site")
    own = client.post("/v1/jobs", files=files(PNG), headers={"Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 202


def test_more_uploads_than_places_are_429(client: TestClient, app: FastAPI) -> None:
    app.state.gate = Gate(places=0)
    response = client.post("/v1/jobs", files=files(PNG))
    problem(response, 429, "too-many-uploads")
    assert response.headers["retry-after"] == "5"


def test_a_place_is_given_back_after_every_upload(client: TestClient, app: FastAPI) -> None:
    app.state.gate = Gate(places=1)
    for data in (PNG, b"text", PNG):
        assert client.post("/v1/jobs", files=files(data)).status_code in (202, 422)


def test_an_upload_that_falls_silent_is_408(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.api.uploads.SILENCE_S", 0.01)
    status, body = asyncio.run(answer_to_silence(app))
    assert (status, body["type"]) == (408, "/docs#problem-stalled")


async def answer_to_silence(app: FastAPI) -> tuple[int, dict[str, Any]]:
    """What a caller is told who opens an upload and sends nothing."""
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/jobs",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
        "server": ("testserver", 80),
        "scheme": "http",
    }
    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_without_room_nothing_is_taken(
    client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.uploads.room", lambda _: False)
    problem(client.post("/v1/jobs", files=files(PNG)), 507, "no-room")


def test_a_full_storage_is_507(client: TestClient, store: Store) -> None:
    store.broken = StorageFull()
    problem(client.post("/v1/jobs", files=files(PNG)), 507, "no-room")


def test_a_silent_storage_is_503_and_its_words_stay_inside(
    client: TestClient, store: Store
) -> None:
    store.broken = StorageUnavailable("http://secret-host:9000/bucket")
    response = client.post("/v1/jobs", files=files(PNG))
    problem(response, 503, "storage-unavailable")
    assert "secret-host" not in response.text
    assert response.headers["retry-after"] == "5"


def test_a_silent_database_is_503(client: TestClient, context: Context) -> None:
    with context.engine.begin() as connection:
        connection.execute(text("DROP TABLE image"))
    problem(client.post("/v1/jobs", files=files(PNG)), 503, "database-unavailable")


def test_an_unexpected_error_is_a_problem_with_headers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.routes.jobs.accept", lambda *_: 1 / 0)
    response = client.post("/v1/jobs", files=files(PNG))
    body = problem(response, 500, "internal")
    assert "division" not in body["detail"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_names_are_in_no_log_and_no_url(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sent = [("files", ("MEIER^ANNA.png", PNG)), ("files", ("MEIER^ANNA.txt", b"text"))]
    body = client.post("/v1/jobs", files=sent).json()
    addresses = [body["url"], body["results"], body["page"], *(i["url"] for i in body["images"])]
    assert "MEIER" not in caplog.text
    assert not any("MEIER" in address for address in addresses)


def test_nothing_is_left_of_an_upload(client: TestClient, tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for data in (PNG, b"text"):
        client.post("/v1/jobs", files=files(data))
    kept = {path for path in Path("/proc/self/fd").iterdir() if path.exists()} - before
    assert not [path for path in kept if "deleted" in str(path.readlink())]
