"""Of a DICOM header only an allow-list is kept, and nothing personal, wherever it was written."""

import json
import logging
import warnings

import pytest
from pydicom.dataset import Dataset

from pipeline.dicom.read import KEPT
from pipeline.image import Unreadable, decode

pytest_plugins = ("tests.unit.pipeline.image_samples",)

SECRET = "ZZSECRET"

PERSONAL = {
    "PatientName": f"{SECRET}^JOHN",
    "PatientID": f"{SECRET}1",
    "PatientBirthDate": "19700101",
    "PatientSex": "M",
    "PatientAge": "054Y",
    "AccessionNumber": f"{SECRET}2",
    "ReferringPhysicianName": f"{SECRET}^DOC",
    "InstitutionName": f"{SECRET} hospital",
    "StudyDescription": f"{SECRET} study",
    "SeriesDescription": f"{SECRET} series",
    "ProtocolName": f"{SECRET} protocol",
    "ImageComments": f"{SECRET} comment",
    "StudyID": f"{SECRET}3",
    "OperatorsName": f"{SECRET}^OP",
    "StudyDate": "20200102",
}


def test_facts_are_kept_under_the_names_of_the_standard(make_dicom, stored):
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator = "51185008", "SCT"
    region.CodeMeaning = "Chest"
    header = decode(
        make_dicom(
            stored(12), 12, BodyPartExamined="CHEST", ViewPosition="PA", ImageLaterality="U",
            Manufacturer="ACME Imaging (Europe)", ManufacturerModelName="DR-1000",
            ImagerPixelSpacing=[0.143, 0.143], StudyInstanceUID="2.25.10",
            SeriesInstanceUID="2.25.11", PatientOrientation=["L", "F"],
            BurnedInAnnotation="NO", AnatomicRegionSequence=[region],
        )
    ).header  # fmt: skip
    assert header["modality"] == "DX"
    assert header["body_part_examined"] == "CHEST"
    assert header["view_position"] == "PA"
    assert header["image_laterality"] == "U"
    assert header["manufacturer"] == "ACME Imaging (Europe)"
    assert header["manufacturer_model_name"] == "DR-1000"
    assert header["imager_pixel_spacing"] == (0.143, 0.143)
    assert header["study_instance_uid"] == "2.25.10"
    assert header["series_instance_uid"] == "2.25.11"
    assert header["sop_instance_uid"] == "2.25.1"
    assert header["photometric_interpretation"] == "MONOCHROME2"
    assert header["patient_orientation"] == "L\\F"
    assert header["bits_stored"] == 12
    assert header["anatomic_region_code"] == "SCT:51185008"
    assert header["burned_in_annotation"] == "NO"
    assert "laterality" not in header
    json.dumps(dict(header))


def test_nothing_personal_is_kept_or_said(make_dicom, stored, caplog, recwarn):
    nested = Dataset()
    nested.PatientName, nested.CodeValue = f"{SECRET}^NESTED", f"{SECRET}4"
    decoded = decode(
        make_dicom(
            stored(12), 12, RequestAttributesSequence=[nested], AnatomicRegionSequence=[nested],
            **PERSONAL,
        )
    )  # fmt: skip
    assert SECRET not in repr(decoded)
    assert "1970" not in repr(decoded)
    assert not {k for k in decoded.header if k.startswith("patient")} - {"patient_orientation"}
    assert SECRET not in caplog.text
    assert not recwarn.list


def test_text_in_coded_elements_is_dropped(make_dicom, stored):
    data = make_dicom(
        stored(12), 12, BodyPartExamined=f"{SECRET} John b. 1970", ViewPosition="pa; John",
        StudyInstanceUID=f"{SECRET}.1", Manufacturer="<script>", ImageLaterality="x" * 40,
    )  # fmt: skip
    header = decode(data).header
    for name in ("body_part_examined", "view_position", "study_instance_uid", "manufacturer",
                 "image_laterality"):  # fmt: skip
        assert name not in header


def test_a_refusal_does_not_quote_free_text(make_dicom, stored):
    with pytest.raises(Unreadable) as caught:
        decode(make_dicom(stored(8), Modality=f"{SECRET} John Doe 1970"))
    assert SECRET not in str(caught.value)


def test_damaged_values_are_left_out_and_not_logged(make_dicom, stored, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about writing these
        data = make_dicom(stored(12), 12, PixelSpacing=["1.5", "1.5"], WindowCenter="1234.5")
    data = data.replace(b"1.5\\1.5 ", b"Doe\\Joe ").replace(b"1234.5", b"ZZSECR")
    with caplog.at_level(logging.DEBUG):
        decoded = decode(data)
    assert "pixel_spacing" not in decoded.header
    assert "ZZSECR" not in caplog.text
    assert "Doe" not in caplog.text
    assert decoded.header["grey_range_from"] == "range"


def test_the_allow_list_names_no_personal_element():
    assert not set(KEPT) & set(PERSONAL)
