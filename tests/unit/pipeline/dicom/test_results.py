"""Which instances there are, that they stay the same, and whose they are."""

from io import BytesIO

import pydicom
import pytest
from cryptography.fernet import Fernet
from pydicom import dcmread
from pydicom.dataset import Dataset
from sqlalchemy import insert, update

from pipeline.context import Context
from pipeline.dicom import results
from pipeline.dicom.source import PATIENT
from pipeline.dicom.uids import image_of_study, named, study_of_image
from pipeline.identity import seal
from pipeline.records import reported
from pipeline.records.intake import close_job, open_job
from pipeline.states import Priority, State
from pipeline.tables import identities, images
from pipeline.uid import new_id
from tests.stand_in import dicom_study
from tests.stand_in.dicom_study import STUDY
from tests.stand_in.finished import FinishedJob

JANE = {
    "PatientName": "Dœ^Jane",
    "PatientID": "PID-12345",
    "IssuerOfPatientID": "WARD-3",
    "PatientBirthDate": "1970-XX",  # no date, and yet what the hospital sent
    "PatientSex": "F",
    "AccessionNumber": "ACC-9",
    "StudyID": "S1",
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "ReferringPhysicianName": "House^G",
}


def made(context: Context, job_id: str) -> dict[str, bytes]:
    """The bytes of all results of a job by SOP Instance UID."""
    return {r.sop_uid: results.make(context, r) for r in results.of_job(context, job_id)}


def listed(context: Context) -> list[str]:
    """The studies that have results."""
    return [found[0].study_uid for found in results.studies(context)]


def known(context: Context, job: FinishedJob, key: str) -> list[Dataset]:
    """The results of a study whose patient was sealed."""
    image_id = dicom_study.chest(job, 1)
    with context.engine.begin() as connection:
        sealed = seal(JANE, key)
        connection.execute(insert(identities).values(image_id=image_id, sealed=sealed))
    return [dcmread(BytesIO(data)) for data in made(context, job.job_id).values()]


def with_key(context: Context, key: str) -> Context:
    """The same servers, seen by a process that has the key."""
    settings = context.settings.model_copy(update={"identifiers_key": key})
    return Context(settings, context.engine, context.store, context.dispatcher, context.stages)


def test_asking_twice_gives_the_same_bytes(context: Context, job: FinishedJob) -> None:
    dicom_study.chest(job, 1)
    job.chest("a.png")
    first = made(context, job.job_id)
    assert len(first) == 4 + 5
    assert made(context, job.job_id) == first
    for uid, data in first.items():
        read = dcmread(BytesIO(data))
        assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == uid
        assert read.ContentDate == "20231114"
        assert read.preamble == bytes(128)


def test_another_answer_is_another_instance_in_the_same_series(
    context: Context, job: FinishedJob
) -> None:
    image_id = dicom_study.chest(job, 1)
    (before,) = (r for r in results.of_job(context, job.job_id) if r.modality == "SR")
    version = "chest-2.0.0+00000000"
    job.run(image_id, "chest", None, {"abnormal": 0.2}, model_version=version, created_at=9.0)
    (after,) = results.of_job(context, job.job_id)
    assert after.sop_uid != before.sop_uid
    assert after.place.series_uid == before.place.series_uid


def test_a_study_is_told_once_its_job_is_closed_and_all_its_images_ended(
    context: Context, job: FinishedJob
) -> None:
    dicom_study.chest(job, 1)
    late = dicom_study.chest(job, 2, state=State.TYPED, stage="chest")
    job.chest("a.png")
    uids = {result.study_uid for result in results.of_job(context, job.job_id)}
    assert STUDY not in uids
    assert len(uids) == 1
    with context.engine.begin() as connection:
        done = update(images).where(images.c.id == late)
        connection.execute(done.values(state=State.DONE, stage=None))
    assert len(results.of_study(context, STUDY)) == 1 + 2 * 3

    open_one = open_job(context.engine, "dicom", Priority.ROUTINE)
    other = FinishedJob(context.engine, job.store, open_one, count=50)
    dicom_study.chest(other, 3)
    assert results.of_job(context, open_one) == []


def test_a_study_sent_twice_has_a_report_for_each(context: Context, job: FinishedJob) -> None:
    dicom_study.chest(job, 1)
    again = open_job(context.engine, "dicom", Priority.ROUTINE)
    close_job(context.engine, again)
    dicom_study.chest(FinishedJob(context.engine, job.store, again, count=50), 1)
    reports = [r for r in results.of_study(context, STUDY) if r.modality == "SR"]
    assert len({r.place.series_uid for r in reports}) == 2
    assert listed(context) == [STUDY]


def test_images_of_which_nothing_was_said_have_no_results(
    context: Context, job: FinishedJob
) -> None:
    job.add("broken.dcm", State.REJECTED, header=dicom_study.header(1))
    assert results.of_study(context, STUDY) == []
    assert listed(context) == []


def test_an_image_has_the_report_and_its_own_pictures(context: Context, job: FinishedJob) -> None:
    ids = [dicom_study.chest(job, number) for number in (1, 2)]
    found = results.of_image(context, job.view(ids[1]))
    assert [r.modality for r in found] == ["SR", "OT", "OT", "OT"]
    assert all(r.place.instance_number == 2 for r in found[1:])


def test_studies_are_listed_latest_first_and_in_pages(
    context: Context, job: FinishedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom_study.chest(job, 1)
    image_id = job.chest("a.png")
    own = study_of_image(image_id)
    monkeypatch.setattr(reported, "PAGE", 1)
    assert listed(context) == [own, STUDY]
    dicom_study.chest(job, 2)
    assert listed(context) == [STUDY, own], "once, as late as its latest image"
    assert [r.study_uid for r in results.of_study(context, own)] == [own] * 5


@pytest.mark.parametrize("missing", ["sop_instance_uid", "study_instance_uid", "sop_class_uid"])
def test_dicom_without_its_uids_is_a_study_of_its_own(
    context: Context, job: FinishedJob, missing: str
) -> None:
    facts = dicom_study.header(1)
    del facts[missing]
    image_id = dicom_study.chest(job, 1, header=facts)
    (uid,) = listed(context)
    assert uid == study_of_image(image_id)
    assert results.of_study(context, STUDY) == []
    assert len(results.of_study(context, uid)) == 5


def test_without_a_key_patient_and_study_are_empty_but_there(
    context: Context, job: FinishedJob
) -> None:
    for data in known(context, job, Fernet.generate_key().decode()):
        assert all(keyword in data and not data[keyword].value for keyword in PATIENT)


def test_with_the_key_the_patient_comes_back(
    context: Context, job: FinishedJob, caplog: pytest.LogCaptureFixture
) -> None:
    key = Fernet.generate_key().decode()
    found = known(with_key(context, key), job, key)
    assert len(found) == 4
    for data in found:
        with pydicom.config.disable_value_validation():
            assert {keyword: str(data[keyword].value) for keyword in JANE} == JANE
    assert "Jane" not in caplog.text


def test_another_key_opens_nothing_and_is_said_in_the_log(
    context: Context, job: FinishedJob, caplog: pytest.LogCaptureFixture
) -> None:
    other = with_key(context, Fernet.generate_key().decode())
    found = known(other, job, Fernet.generate_key().decode())
    assert all(not data.PatientName for data in found)
    assert "another key" in caplog.text


def test_who_it_is_is_part_of_the_uid_but_not_readable_in_it(
    context: Context, job: FinishedJob
) -> None:
    key = Fernet.generate_key().decode()
    known(context, job, key)
    assert not made(context, job.job_id).keys() & made(with_key(context, key), job.job_id).keys()


def test_uids_are_valid_and_lead_back_to_their_image() -> None:
    for _ in range(200):
        image_id = new_id()
        uid = study_of_image(image_id)
        first, last = image_of_study(uid) or ("", "")
        assert first <= image_id <= last
        assert int(last, 16) - int(first, 16) == 63
        assert len(uid) <= 64
    assert image_of_study(named("report", "x")) is None
    for other in ("1.2.3", "2.25.0", f"2.25.{1 << 129}", "2.25.007", "2.25."):
        assert image_of_study(other) is None
