"""STOW-RS: what is answered for what, and that what is answered is stored."""

import io
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pydicom
import pytest
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, CTImageStorage
from sqlalchemy import RowMapping, select

from pipeline.context import Context
from pipeline.storage import ObjectRef, StorageUnavailable
from pipeline.tables import images, jobs
from tests.stand_in.dicom_peer import STUDY, file_of, radiograph
from tests.unit.pipeline.api.memory import Store, problem

REFERENCED, FAILED, OTHERS = "00081199", "00081198", "0008119A"


def body(parts: Sequence[bytes], media: str = "application/dicom") -> bytes:
    head = f"--x\r\nContent-Type: {media}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--x--\r\n"


def store(
    client: TestClient,
    parts: Sequence[bytes],
    study: str = "",
    headers: dict[str, str] | None = None,
) -> Any:
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    address = f"/dicom-web/studies/{study}".rstrip("/")
    return client.post(address, content=body(parts), headers=kind | (headers or {}))


def rows(context: Context) -> list[RowMapping]:
    with context.engine.connect() as connection:
        return list(connection.execute(select(images).order_by(images.c.id)).mappings())


def uids(answer: dict[str, Any], sequence: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.get(sequence, {}).get("Value", [])]


def reasons(answer: dict[str, Any], sequence: str) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.get(sequence, {}).get("Value", [])]


def test_instances_are_stored_in_a_job_of_their_study(client: TestClient, context: Context) -> None:
    sent = [radiograph(1), radiograph(2)]
    response = store(client, [file_of(dataset) for dataset in sent])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    answer = response.json()
    assert uids(answer, REFERENCED) == [dataset.SOPInstanceUID for dataset in sent]
    assert answer["00081190"]["Value"] == [f"http://testserver/dicom-web/studies/{STUDY}"]
    assert FAILED not in answer
    with context.engine.connect() as connection:
        (job,) = connection.execute(select(jobs)).mappings()
    assert (job["study_instance_uid"], job["peer"], job["closed_at"]) == (STUDY, "stow", None)
    assert [row["job_id"] for row in rows(context)] == [job["id"]] * 2


def test_the_preamble_is_zeroed_and_the_rest_is_as_it_came(
    client: TestClient, context: Context
) -> None:
    data = file_of(radiograph(1))
    poisoned = b"MZ" + bytes(range(126)) + data[128:]
    assert store(client, [poisoned]).status_code == 200
    stored = context.store.get(ObjectRef.parse(rows(context)[0]["original"]))
    assert stored == bytes(128) + data[128:]


def test_the_same_again_is_stored_once(client: TestClient, context: Context) -> None:
    for _ in range(2):
        assert store(client, [file_of(radiograph(1))]).status_code == 200
    assert len(rows(context)) == 1


def test_another_study_than_the_address_names(client: TestClient, context: Context) -> None:
    good, bad = radiograph(1), radiograph(2, study="2.25.5")
    response = store(client, [file_of(good), file_of(bad)], study=STUDY)
    assert response.status_code == 202
    answer = response.json()
    assert uids(answer, REFERENCED) == [good.SOPInstanceUID]
    assert uids(answer, FAILED) == [bad.SOPInstanceUID]
    assert reasons(answer, FAILED) == [0xA900]
    assert len(rows(context)) == 1


def changed(**elements: Any) -> Dataset:
    return radiograph(1, **elements)


def test_each_refusal_has_its_reason_and_none_stored_is_409(
    client: TestClient, context: Context
) -> None:
    mpeg = radiograph(3)
    mpeg.PixelData = encapsulate([mpeg.PixelData])
    mpeg.file_meta.TransferSyntaxUID = MPEG2MPML
    sent = [
        file_of(changed(SOPClassUID=CTImageStorage)),
        file_of(mpeg),
        file_of(changed(StudyInstanceUID="")),
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        file_of(radiograph(1))[:200],
    ]
    response = store(client, sent)
    assert response.status_code == 409
    answer = response.json()
    assert reasons(answer, FAILED) == [0x0122, 0xC122]
    assert reasons(answer, OTHERS) == [0xC000] * 3
    assert REFERENCED not in answer
    assert "00081190" not in answer
    assert rows(context) == []


def test_parts_over_the_limit(client: TestClient, context: Context) -> None:
    large = file_of(radiograph(1, side_px=256))
    assert store(client, [large]).status_code == 413
    response = store(client, [large, file_of(radiograph(2))])
    assert response.status_code == 202
    assert reasons(response.json(), OTHERS) == [0x0110]
    zipped = b"PK\x03\x04" + large[4:]
    assert store(client, [zipped]).status_code == 413
    assert len(rows(context)) == 1


def test_a_storage_that_fails_is_503_and_stores_nothing(
    client: TestClient, context: Context, store: Store
) -> None:
    store.broken = StorageUnavailable("gone")
    response = globals()["store"](client, [file_of(radiograph(1))])
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert reasons(response.json(), FAILED) == [0xA700]
    assert rows(context) == []


def test_a_full_disk_is_503(client: TestClient, context: Context) -> None:
    object.__setattr__(context.settings, "disk_watermark_bytes", 2**62)
    problem(store(client, [file_of(radiograph(1))]), 503, "storage-unavailable")


@pytest.mark.parametrize(
    ("kind", "status", "slug"),
    [
        ("application/json", 415, "unsupported-media-type"),
        (
            'multipart/related; type="application/dicom+json"; boundary=x',
            415,
            "unsupported-media-type",
        ),
        ("multipart/related", 400, "malformed"),
        ("multipart/form-data; boundary=x", 415, "unsupported-media-type"),
    ],
)
def test_other_content_types(client: TestClient, kind: str, status: int, slug: str) -> None:
    headers = {"Content-Type": kind}
    problem(store(client, [file_of(radiograph(1))], headers=headers), status, slug)


def test_bodies_that_break_their_format(client: TestClient) -> None:
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary="x"'}
    address = "/dicom-web/studies"
    whole = body([file_of(radiograph(1))])
    problem(client.post(address, content=whole[:-40], headers=kind), 400, "malformed")
    problem(client.post(address, content=b"--x--\r\n", headers=kind), 400, "malformed")
    other = body([b"{}"], media="application/dicom+json")
    response = client.post(address, content=other, headers=kind)
    problem(response, 415, "unsupported-media-type")


def test_more_parts_than_allowed(client: TestClient) -> None:
    problem(store(client, [b""] * 21), 413, "request-too-large")


def test_a_study_uid_that_is_none(client: TestClient) -> None:
    problem(store(client, [file_of(radiograph(1))], study="abc"), 422, "invalid")


def test_the_answer_as_xml(client: TestClient) -> None:
    headers = {"Accept": "application/dicom+xml"}
    sent = [file_of(radiograph(1)), file_of(changed(SOPClassUID=CTImageStorage))]
    response = store(client, sent, headers=headers)
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/dicom+xml"
    root = ET.fromstring(response.content)
    assert root.tag == "NativeDicomModel"
    found = {place.get("keyword"): place for place in root}
    assert set(found) == {"RetrieveURL", "ReferencedSOPSequence", "FailedSOPSequence"}
    reason = found["FailedSOPSequence"].find(
        "./Item[@number='1']/*[@keyword='FailureReason']/Value"
    )
    assert reason is not None
    assert reason.text == str(0x0122)


def test_nothing_else_can_be_answered(client: TestClient, context: Context) -> None:
    headers = {"Accept": "text/html"}
    response = store(client, [file_of(radiograph(1))], headers=headers)
    assert response.status_code == 406
    assert rows(context) == []


def test_what_is_stored_can_be_read(client: TestClient, context: Context) -> None:
    store(client, [file_of(radiograph(1))])
    (row,) = rows(context)
    assert (row["name"], row["once_key"]) == (f"{STUDY}.1.1.dcm", f"{STUDY}.1.1")
    data = context.store.get(ObjectRef.parse(row["original"]))
    assert pydicom.dcmread(io.BytesIO(data)).PixelData == radiograph(1).PixelData
