"""Secondary captures, read back with pydicom."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from pipeline.context import Context
from pipeline.dicom import results, sc
from pipeline.storage import ObjectRef
from tests.stand_in import dicom_study
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.dicom.standard import problems


def captures(context: Context, job: FinishedJob) -> dict[str, Dataset]:
    """The pictures of a job by the description of their series."""
    found = (results.make(context, r) for r in results.of_job(context, job.job_id))
    read = [dcmread(BytesIO(data)) for data in found]
    return {data.SeriesDescription: data for data in read if data.Modality != "SR"}


def overlay(context: Context, job: FinishedJob, label: str = "Effusion", **header: Any) -> Dataset:
    """The overlay of one finding of a study's one image."""
    dicom_study.chest(job, 1, header=dicom_study.header(1, **header))
    return captures(context, job)[f"AI heatmap {label} chest-1.1.0+00000000"]


def test_an_overlay_is_the_stored_picture_with_a_notice_below(
    context: Context, job: FinishedJob
) -> None:
    shown = overlay(context, job)
    view = job.view(f"{1:032x}")
    (ref,) = (f.heatmap for f in view.runs[-1].findings if f.label == "Effusion")
    stored = np.asarray(Image.open(BytesIO(context.store.get(ObjectRef.parse(ref or "")))))
    pixels = shown.pixel_array
    np.testing.assert_array_equal(pixels[: stored.shape[0]], stored)
    band = pixels[stored.shape[0] :]
    assert band.shape[0] >= sc._LEAST_FONT_PX
    assert (band > 200).mean() > 0.02  # there is writing
    assert (band == 0).mean() > 0.5  # on a dark ground


def test_an_overlay_belongs_to_the_study_in_a_series_of_its_own(
    context: Context, job: FinishedJob
) -> None:
    shown = overlay(context, job)
    facts = dicom_study.header(1)
    assert shown.StudyInstanceUID == facts["study_instance_uid"]
    assert shown.SeriesInstanceUID.startswith("2.25.")
    assert shown.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert "not for primary diagnosis" in shown.ImageComments
    assert "Effusion: score 0.7200, threshold 0.5000 (balanced), positive" in shown.ImageComments
    (source,) = shown.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == facts["sop_instance_uid"]
    assert source.ReferencedSOPClassUID == facts["sop_class_uid"]
    assert list(shown.PatientOrientation) == ["L", "F"]


def test_labels_have_series_of_their_own_and_images_of_a_study_share_them(
    context: Context, job: FinishedJob
) -> None:
    for number in (1, 2):
        dicom_study.chest(job, number)
    shown = [r for r in results.of_job(context, job.job_id) if r.modality == "OT"]
    series = {
        (r.place.series_uid, r.place.series_number, r.place.series_description) for r in shown
    }
    assert len(series) == 3
    assert sorted(r.place.instance_number for r in shown) == [1, 1, 1, 2, 2, 2]
    assert len({r.sop_uid for r in shown}) == 6


def test_an_experimental_finding_says_so(context: Context, job: FinishedJob) -> None:
    assert "Hernia (experimental): score" in overlay(context, job, "Hernia").ImageComments


@pytest.mark.parametrize("word", ["YES", "NO"])
def test_what_was_burned_in_before_is_still_said(
    context: Context, job: FinishedJob, word: str
) -> None:
    shown = overlay(context, job, burned_in_annotation=word, lossy_image_compression="01")
    assert (shown.BurnedInAnnotation, shown.LossyImageCompression) == (word, "01")


def test_nothing_is_claimed_of_annotations_that_nobody_told_of(
    context: Context, job: FinishedJob
) -> None:
    assert "BurnedInAnnotation" not in overlay(context, job, patient_orientation="X\\F")
    (shown,) = [s for d, s in captures(context, job).items() if "Hernia" in d]
    assert not shown.PatientOrientation


def test_a_png_is_a_study_of_its_own_with_a_picture_to_refer_to(
    context: Context, job: FinishedJob
) -> None:
    job.chest("ward 3/jane doe.png")
    shown = captures(context, job)
    picture = shown["Image as triaged"]
    stored = context.store.get(ObjectRef.parse(job.view(f"{1:032x}").row["prepared"]))
    np.testing.assert_array_equal(picture.pixel_array, sc.decode_prepared(stored))
    effusion = shown["AI heatmap Effusion chest-1.0.0+00000000"]
    assert effusion.SourceImageSequence[0].ReferencedSOPInstanceUID == picture.SOPInstanceUID
    assert len({data.StudyInstanceUID for data in shown.values()}) == 1
    assert picture.StudyInstanceUID.startswith("2.25.")
    assert all("jane" not in str(data).lower() for data in shown.values())


@pytest.mark.parametrize("name", ["AI heatmap Effusion chest-1.0.0+00000000", "Image as triaged"])
def test_the_standard_finds_no_error_in_a_picture_of_ours(
    context: Context, job: FinishedJob, name: str
) -> None:
    job.chest("a.png")
    assert problems(captures(context, job)[name]) == []


@pytest.mark.parametrize("facts", [{}, {"laterality": "L"}, {"patient_orientation": ""}])
def test_the_standard_finds_no_error_in_an_overlay_of_a_dicom_image(
    context: Context, job: FinishedJob, facts: dict[str, str]
) -> None:
    assert problems(overlay(context, job, **facts)) == []


def test_the_standard_would_find_an_error(context: Context, job: FinishedJob) -> None:
    shown = overlay(context, job)
    del shown.PatientSex
    assert problems(shown) != []


@pytest.mark.parametrize("width_px", [40, 300, 2048])
def test_the_notice_fits_any_width(width_px: int) -> None:
    burned = sc.burn_in(Image.new("RGB", (width_px, 50)), "AI result, not for primary diagnosis")
    right = np.asarray(burned)[50:, -2:]
    assert burned.height > 50
    assert width_px < 60 or right.max() == 0
