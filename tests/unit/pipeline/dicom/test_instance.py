"""Which instance an object is, from its first bytes, whatever they are."""

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dsutils import encode

from pipeline.dicom.instance import HEAD_BYTES, Instance, instance_of_dataset, instance_of_file
from pipeline.reasons import ReasonCode, Unreadable
from tests.stand_in.dicom_peer import STUDY, file_of, radiograph

# As in the processes that use it; pydicom warns of what it forgives.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
WHOLE = file_of(radiograph(1, side_px=16))


def refused(read: Any, *arguments: Any) -> str:
    """The words of a refusal."""
    with pytest.raises(Unreadable) as caught:
        read(*arguments)
    assert caught.value.code is ReasonCode.CORRUPT
    return caught.value.message


def encoded(dataset: Dataset, syntax: str) -> bytes:
    data = encode(dataset, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian, False)
    assert data is not None
    if syntax != DeflatedExplicitVRLittleEndian:
        return data
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_datasets_of_every_encoding(syntax: str) -> None:
    dataset = radiograph(1, PatientName="A^B", RequestAttributesSequence=[Dataset()])
    found = instance_of_dataset(encoded(dataset, syntax), syntax)
    assert found == Instance(
        dataset.SOPClassUID, dataset.SOPInstanceUID, STUDY, f"{STUDY}.1", syntax
    )


def test_files_with_any_preamble() -> None:
    data = file_of(radiograph(1))
    found = instance_of_file(data)
    assert (found.sop_instance, found.syntax) == (f"{STUDY}.1.1", ExplicitVRLittleEndian)
    assert instance_of_file(b"MZ" * 64 + data[128:]) == found
    assert instance_of_file(data[128:]) == found
    assert instance_of_file(data[132:]) == found
    for other in (b"", b"DIC", b"\x08\x00" + data, bytes(132) + data):
        assert "PS3.10" in refused(instance_of_file, other)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", ["", "not a uid", None])
def test_an_object_without_a_uid_is_refused_by_name(keyword: str, value: str | None) -> None:
    dataset = radiograph(1)
    if value is None:
        delattr(dataset, keyword)
    else:
        dataset[keyword]._value = value
    words = refused(
        instance_of_dataset, encoded(dataset, ExplicitVRLittleEndian), ExplicitVRLittleEndian
    )
    assert words == f"the object lacks {keyword}"


def test_a_series_may_be_missing() -> None:
    dataset = radiograph(1)
    del dataset.SeriesInstanceUID
    data = encoded(dataset, ExplicitVRLittleEndian)
    assert instance_of_dataset(data, ExplicitVRLittleEndian).series == ""


def test_no_pixels_are_needed() -> None:
    data = encoded(radiograph(1, side_px=512), ExplicitVRLittleEndian)
    assert instance_of_dataset(data[:2000], ExplicitVRLittleEndian).study == STUDY


def test_a_deflated_bomb_is_not_unpacked() -> None:
    length = 16 * HEAD_BYTES
    element = b"\x09\x00\x01\x10OB\0\0" + length.to_bytes(4, "little")  # private (0009,1001)
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    bomb = packer.compress(element) + packer.compress(bytes(length)) + packer.flush()
    tracemalloc.start()
    try:
        refused(instance_of_dataset, bomb, DeflatedExplicitVRLittleEndian)
        assert tracemalloc.get_traced_memory()[1] < 8 * HEAD_BYTES
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_refused() -> None:
    # (0008,1110) Referenced Study Sequence, undefined length, in itself many times.
    level = b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    refused(instance_of_dataset, level * 15_000, ExplicitVRLittleEndian)
    refused(instance_of_dataset, level * 100_000, ExplicitVRLittleEndian)


def test_unknown_transfer_syntaxes() -> None:
    data = encoded(radiograph(1), ExplicitVRLittleEndian)
    for syntax in ("", "1.2.3", "1.2.840.10008.5.1.4.1.1.7"):
        refused(instance_of_dataset, data, syntax)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 500))
def test_whatever_comes_ends_in_an_instance_or_a_refusal(noise: bytes, place: int) -> None:
    data = bytearray(WHOLE)
    data[132 + place : 132 + place + len(noise)] = noise
    try:
        found = instance_of_file(bytes(data))
    except Unreadable:
        return
    assert found.sop_class
    assert found.sop_instance
    assert found.study
