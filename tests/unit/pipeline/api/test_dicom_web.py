"""Search and retrieval of results over DICOMweb, and the zip of one image."""

import io
import zipfile
from email import message_from_bytes
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from pipeline.dicom.uids import study_of_image
from pipeline.states import State
from tests.stand_in import dicom_study
from tests.stand_in.dicom_study import STUDY
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import Store, problem

ROOT = "/dicom-web/studies"
OTHER = "1.2.826.0.1.3680043.8.498.2"


@pytest.fixture
def study(job: FinishedJob) -> str:
    """A study of one image: a report and three overlays."""
    dicom_study.chest(job, 1)
    return STUDY


def found(client: TestClient, path: str, **query: Any) -> list[Dataset]:
    """The answer of a search."""
    response = client.get(f"{ROOT}{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/dicom+json"
    return [Dataset.from_json(item) for item in response.json()]


def parts(response: Any) -> list[Dataset]:
    """The instances of a multipart body, parsed by the standard library."""
    assert response.status_code == 200, response.text
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + response.content)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    payloads = [part.get_payload(decode=True) for part in message.get_payload()]
    return [dcmread(io.BytesIO(payload)) for payload in payloads]


def test_studies_are_found_by_uid_and_by_modality(
    client: TestClient, job: FinishedJob, study: str
) -> None:
    own = study_of_image(job.chest("a.png"))
    assert [s.StudyInstanceUID for s in found(client, "")] == [own, study]
    assert [s.StudyInstanceUID for s in found(client, "", StudyInstanceUID=study)] == [study]
    assert [s.StudyInstanceUID for s in found(client, "", **{"0020000D": study})] == [study]
    assert len(found(client, "", StudyInstanceUID=f"{study},{own}")) == 2
    assert len(found(client, "", ModalitiesInStudy="SR")) == 2
    assert found(client, "", ModalitiesInStudy="CT") == []
    assert found(client, "", StudyInstanceUID="1.2.3") == []


def test_a_study_says_what_is_in_it(client: TestClient, study: str) -> None:
    (listed,) = found(client, "", StudyInstanceUID=study)
    assert list(listed.ModalitiesInStudy) == ["OT", "SR"]
    assert (listed.NumberOfStudyRelatedSeries, listed.NumberOfStudyRelatedInstances) == (4, 4)
    assert listed.RetrieveURL == f"http://testserver{ROOT}/{study}"
    assert "PatientName" in listed


def test_limit_and_offset_cut_the_list(client: TestClient, job: FinishedJob) -> None:
    uids = [study_of_image(job.chest(f"{number}.png")) for number in range(4)][::-1]
    assert [s.StudyInstanceUID for s in found(client, "", limit=2)] == uids[:2]
    assert [s.StudyInstanceUID for s in found(client, "", limit=2, offset=1)] == uids[1:3]
    assert found(client, "", offset=4) == []


def test_series_and_instances_are_found_and_matched(client: TestClient, study: str) -> None:
    series = found(client, f"/{study}/series")
    assert [s.SeriesNumber for s in series] == [9000, 9002, 9003, 9004]
    (report,) = found(client, f"/{study}/series", Modality="SR")
    assert report.NumberOfSeriesRelatedInstances == 1
    everything = found(client, f"/{study}/instances")
    assert len({item.SOPInstanceUID for item in everything}) == 4
    (one,) = found(client, f"/{study}/series/{report.SeriesInstanceUID}/instances")
    assert one.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    wanted = everything[2].SOPInstanceUID
    (same,) = found(client, f"/{study}/instances", SOPInstanceUID=wanted)
    assert same == everything[2]


def test_what_cannot_be_matched_is_refused_by_name(client: TestClient, study: str) -> None:
    for name in ("PatientID", "00100020", "StudyDate"):
        body = problem(client.get(ROOT, params={name: "x"}), 422, "invalid")
        assert body["errors"][0]["field"] == name
    problem(client.get(ROOT, params={"limit": 0}), 422, "invalid")
    assert found(client, "", includefield="all", fuzzymatching="true") != []


def test_addresses_of_the_search_lead_to_the_instances(client: TestClient, study: str) -> None:
    for path, count in (("", 4), (f"/{study}/series", 1), (f"/{study}/instances", 1)):
        for item in found(client, path):
            assert len(parts(client.get(item.RetrieveURL))) == count


def test_retrieved_are_whole_files(client: TestClient, study: str) -> None:
    retrieved = parts(client.get(f"{ROOT}/{study}"))
    assert sorted(item.Modality for item in retrieved) == ["OT", "OT", "OT", "SR"]
    for item in retrieved:
        assert item.StudyInstanceUID == study
        assert item.preamble == bytes(128)
    again = parts(client.get(f"{ROOT}/{study}"))
    assert again == retrieved


def test_one_instance_comes_bare_where_that_is_asked(client: TestClient, study: str) -> None:
    item = found(client, f"/{study}/instances")[0]
    bare = client.get(item.RetrieveURL, headers={"Accept": "application/dicom"})
    assert bare.headers["content-type"] == "application/dicom"
    assert dcmread(io.BytesIO(bare.content)).SOPInstanceUID == item.SOPInstanceUID


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ('multipart/related; type="application/dicom"; transfer-syntax=*', 200),
        ("multipart/related;type=application/dicom;transfer-syntax=1.2.840.10008.1.2.1", 200),
        ("text/html, */*;q=0.1", 200),
        ("multipart/related; type=application/dicom; transfer-syntax=1.2.840.10008.1.2.5", 406),
        ('multipart/related; type="application/octet-stream"', 406),
        ("text/html", 406),
        ("*/*;q=0", 406),
    ],
)
def test_what_the_caller_cannot_read_is_not_sent(
    client: TestClient, study: str, accept: str, status: int
) -> None:
    response = client.get(f"{ROOT}/{study}", headers={"Accept": accept})
    assert response.status_code == status


def test_metadata_are_everything_but_the_pixels(client: TestClient, study: str) -> None:
    described = found(client, f"/{study}/metadata")
    retrieved = parts(client.get(f"{ROOT}/{study}"))
    for item, whole in zip(described, retrieved, strict=True):
        if "PixelData" in whole:
            del whole.PixelData
        assert Dataset.to_json_dict(item) == Dataset.to_json_dict(whole)
    series = described[0].SeriesInstanceUID
    assert len(found(client, f"/{study}/series/{series}/metadata")) == 1
    uid = described[0].SOPInstanceUID
    assert len(found(client, f"/{study}/series/{series}/instances/{uid}/metadata")) == 1


def test_an_overlay_is_rendered_and_a_report_is_not(client: TestClient, study: str) -> None:
    for item in found(client, f"/{study}/instances"):
        response = client.get(f"{item.RetrieveURL}/rendered", headers={"Accept": "image/png"})
        if item.Modality == "SR":
            problem(response, 404, "not-found")
        else:
            assert Image.open(io.BytesIO(response.content)).mode == "RGB"


def test_there_is_nothing_at_other_addresses(client: TestClient, study: str) -> None:
    (report,) = found(client, f"/{study}/instances", Modality="SR")
    series = report.SeriesInstanceUID
    for path in (
        f"/{OTHER}",
        f"/{study}/series/{OTHER}",
        f"/{study}/series/{series}/instances/{OTHER}",
        f"/{OTHER}/series/{series}/instances/{report.SOPInstanceUID}",
        f"/{OTHER}/metadata",
    ):
        problem(client.get(f"{ROOT}{path}"), 404, "not-found")
    problem(client.get(f"{ROOT}/not-a-uid"), 422, "invalid")


def test_without_storage_the_retrieval_is_an_error_and_the_search_works(
    client: TestClient, job: FinishedJob, store: Store
) -> None:
    from pipeline.storage import StorageUnavailable

    job.chest("a.png")
    store.broken = StorageUnavailable()
    (listed,) = found(client, "")
    (picture,) = found(client, f"/{listed.StudyInstanceUID}/series", SeriesInstanceUID="")[1:2]
    problem(client.get(picture.RetrieveURL), 503, "storage-unavailable")


def test_an_image_gives_a_zip_of_its_results(client: TestClient, job: FinishedJob) -> None:
    ids = [dicom_study.chest(job, number) for number in (1, 2)]
    response = client.get(f"/v1/images/{ids[0]}/dicom")
    assert response.headers["content-type"] == "application/zip"
    assert ids[0] in response.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        files = {name: dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()}
    assert sorted(file.Modality for file in files.values()) == ["OT", "OT", "OT", "SR"]
    for name, file in files.items():
        assert name == f"{file.Modality}-{file.SOPInstanceUID}.dcm"
    assert client.get(f"/v1/images/{ids[0]}/dicom").content == response.content


def test_an_image_that_has_not_ended_has_no_zip_yet(client: TestClient, job: FinishedJob) -> None:
    image_id = dicom_study.chest(job, 1, state=State.TYPED, stage="chest")
    assert (
        "has not ended"
        in problem(client.get(f"/v1/images/{image_id}/dicom"), 404, "not-found")["detail"]
    )
