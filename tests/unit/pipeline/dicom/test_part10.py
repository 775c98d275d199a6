"""A received dataset becomes a file of PS3.10 without a byte of it changed."""

import io

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom.dsutils import encode

from pipeline.dicom.part10 import Received, head_of, joined, without_preamble
from tests.stand_in.dicom_peer import file_of, radiograph


def test_the_head_says_what_the_association_said() -> None:
    dataset = radiograph(1)
    data = encode(dataset, False, True)
    assert data is not None
    head = head_of(
        Received(dataset.SOPClassUID, dataset.SOPInstanceUID, ExplicitVRLittleEndian, "ROOM 1")
    )
    with joined(head, lambda: io.BytesIO(data)) as file:
        whole = file.read()
    assert whole[:132] == bytes(128) + b"DICM"
    assert whole[len(head) :] == data
    read = pydicom.dcmread(io.BytesIO(whole))
    meta = read.file_meta
    assert meta.MediaStorageSOPClassUID == dataset.SOPClassUID
    assert meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.SourceApplicationEntityTitle == "ROOM 1"
    assert meta.ImplementationClassUID.is_valid
    assert meta.ImplementationVersionName == "XRAYTRIAGE"
    assert read.PixelData == dataset.PixelData


def test_the_same_association_gives_the_same_bytes() -> None:
    received = Received("1.2.3", "1.2.4", JPEG2000Lossless, "A")
    assert head_of(received) == head_of(received)


def test_files_are_joined_in_blocks_of_any_size() -> None:
    rest = bytes(range(256)) * 40
    for size in (1, 7, 4096, 100_000):
        with joined(b"head", lambda: io.BytesIO(rest), skip=10) as file:
            blocks = []
            while block := file.read(size):
                blocks.append(block)
            assert b"".join(blocks) == b"head" + rest[10:]


def test_what_is_joined_is_closed_with_it() -> None:
    rest = io.BytesIO(b"x")
    joined(b"", lambda: rest).close()
    assert rest.closed


def test_a_preamble_is_zeroed() -> None:
    data = file_of(radiograph(1))
    poisoned = b"#!/bin/sh\n" + bytes(118) + data[128:]
    for sent, start in ((poisoned, 132), (data[128:], 4), (data[132:], 0)):
        with without_preamble(lambda sent=sent: io.BytesIO(sent), start) as file:  # type: ignore[misc]
            assert file.read() == bytes(128) + data[128:]
