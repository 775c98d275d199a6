"""The structured report, read back with pydicom and highdicom."""

from io import BytesIO
from typing import Any

import pytest
from highdicom.sr import ComprehensiveSR, MeasurementReport
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pipeline.context import Context
from pipeline.dicom import codes, results
from pipeline.states import State
from tests.stand_in import dicom_study
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.dicom.standard import problems


def report(context: Context, job: FinishedJob) -> Dataset:
    """The one report of a job, from its bytes."""
    (found,) = (result for result in results.of_job(context, job.job_id) if result.modality == "SR")
    return dcmread(BytesIO(results.make(context, found)))


def groups(document: Dataset) -> dict[str, Any]:
    """The measurement groups of a report, by their tracking identifiers."""
    content = ComprehensiveSR.from_dataset(document).content
    assert isinstance(content, MeasurementReport)
    found = content.get_image_measurement_groups()
    return {group.tracking_identifier: group for group in found}


def said(group: Any) -> dict[str, str]:
    """Meaning of each evaluation's name -> meaning of its value."""
    return {item.name.meaning: item.value.meaning for item in group.get_qualitative_evaluations()}


def measured(group: Any) -> dict[str, float]:
    """Meaning of each measurement's name -> percent."""
    found = group.get_measurements()
    assert all(item.unit == codes.PERCENT for item in found)
    return {item.name.meaning: float(item.value) for item in found}


def test_a_report_says_of_every_label_how_sure_and_what_that_means(
    context: Context, job: FinishedJob
) -> None:
    dicom_study.chest(job, 1)
    found = groups(report(context, job))
    assert set(found) == {
        "image 1, gate",
        "image 1, type",
        *(f"image 1, {label}" for label in ("abnormal", "Effusion", "Hernia", "Mass")),
    }
    assert said(found["image 1, gate"]) == {"Is a radiograph": "Yes"}
    assert measured(found["image 1, gate"]) == {"Certainty of Finding": 99.0}
    assert said(found["image 1, type"]) == {"Target Region": "Chest"}
    effusion = found["image 1, Effusion"]
    assert effusion.finding_type == Code("60046008", "SCT", "Pleural effusion")
    assert said(effusion) == {"Result at the operating point": "Positive"}
    limits = {"Certainty of Finding": 72.0, "Threshold of the operating point": 50.0}
    assert measured(effusion) == limits


def test_a_label_under_its_threshold_is_negative_and_an_experimental_one_says_so(
    context: Context, job: FinishedJob
) -> None:
    dicom_study.chest(job, 1)
    found = groups(report(context, job))
    mass = found["image 1, Mass"]
    assert said(mass) == {
        "Result at the operating point": "Negative",
        "Standing of this label": "Experimental: too few cases to rely on",
    }
    assert measured(mass)["Threshold of the operating point"] == 31.0


def test_a_group_names_its_image_and_the_model_that_speaks(
    context: Context, job: FinishedJob
) -> None:
    dicom_study.chest(job, 7)
    document = report(context, job)
    group = groups(document)["image 1, Effusion"]
    (image,) = group.source_images
    facts = dicom_study.header(7)
    assert image.referenced_sop_instance_uid == facts["sop_instance_uid"]
    assert image.referenced_sop_class_uid == facts["sop_class_uid"]
    texts = {
        item.name.meaning: item.value for item in group[0].ContentSequence if "TextValue" in item
    }
    assert texts["Algorithm Name"] == "xraytriage chest"
    assert texts["Algorithm Version"] == "chest-1.1.0+00000000"
    assert texts["Algorithm Parameters"] == "operating point: balanced"
    (study,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (evidence,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == document.StudyInstanceUID == facts["study_instance_uid"]
    assert series.SeriesInstanceUID == facts["series_instance_uid"]
    assert series.SeriesInstanceUID != document.SeriesInstanceUID
    assert evidence.ReferencedSOPClassUID == facts["sop_class_uid"]


def test_what_the_header_says_otherwise_is_told(context: Context, job: FinishedJob) -> None:
    words = "header says HAND, image looks like CHEST"
    dicom_study.chest(job, 1, flags=[{"code": "body_part", "message": words}])
    group = groups(report(context, job))["image 1, type"]
    assert said(group)["Agreement of header and image"] == "Header and image disagree"
    comments = [item.value for item in group[0].ContentSequence if item.name == codes.COMMENT]
    assert comments == [words]


def test_all_images_of_a_study_are_in_one_report(context: Context, job: FinishedJob) -> None:
    for number in (1, 2):
        dicom_study.chest(job, number)
    assert {name.partition(",")[0] for name in groups(report(context, job))} == {
        "image 1",
        "image 2",
    }


def test_an_image_that_is_no_radiograph_is_reported_as_that(
    context: Context, job: FinishedJob
) -> None:
    image_id = job.add("1.dcm", State.REJECTED, header=dicom_study.header(1))
    job.run(image_id, "gate", "other", {"other": 0.9, "xray": 0.1})
    found = groups(report(context, job))
    assert said(found["image 1, gate"]) == {"Is a radiograph": "No"}


def test_an_unknown_type_is_undetermined_and_has_no_certainty(
    context: Context, job: FinishedJob
) -> None:
    image_id = job.add("1.dcm", header=dicom_study.header(1))
    job.run(image_id, "type", "unknown", {"chest": 0.4, "hand": 0.3})
    group = groups(report(context, job))["image 1, type"]
    assert said(group) == {"Target Region": "Undetermined"}
    assert measured(group) == {}


def test_a_stage_of_the_site_needs_no_code_here(context: Context, job: FinishedJob) -> None:
    image_id = job.add("1.dcm", header=dicom_study.header(1))
    job.run(image_id, "hand", None, {"Fracture_of_the_scaphoid": 0.7})
    group = groups(report(context, job))["image 1, Fracture_of_the_scaphoid"]
    assert group.finding_type == Code(
        "Fracture_of_the_scaphoid", codes.SCHEME, "Fracture of the scaphoid"
    )


def test_a_report_with_a_quarantined_image_is_partial(context: Context, job: FinishedJob) -> None:
    dicom_study.chest(job, 1)
    assert report(context, job).CompletionFlag == "COMPLETE"
    dicom_study.chest(job, 2, state=State.QUARANTINED)
    assert report(context, job).CompletionFlag == "PARTIAL"


def test_a_private_class_of_the_source_is_referred_to(context: Context, job: FinishedJob) -> None:
    dicom_study.chest(job, 1, header=dicom_study.header(1, sop_class_uid="1.3.12.2.1107.5.99.3"))
    (study,) = report(context, job).CurrentRequestedProcedureEvidenceSequence
    item = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert item.ReferencedSOPClassUID == "1.3.12.2.1107.5.99.3"


@pytest.mark.parametrize("is_dicom", [True, False])
def test_the_standard_finds_no_error_in_a_report(
    context: Context, job: FinishedJob, is_dicom: bool
) -> None:
    if is_dicom:
        dicom_study.chest(job, 1, flags=[{"code": "body_part", "message": "header says HAND"}])
    else:
        job.chest("a.png")
    document = report(context, job)
    assert problems(document) == []
