"""The listener as modalities meet it: a process of its own, over real servers."""

import io
import socket
import zlib
from contextlib import ExitStack
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from pipeline.context import Context
from pipeline.dicom.contexts import TRANSFER_SYNTAXES
from pipeline.dicom.header import PROJECTION_CLASSES
from pipeline.states import State
from tests.faults.servers import wait_until
from tests.stand_in.dicom_arrivals import NewListener, all_jobs, original, stored
from tests.stand_in.dicom_peer import STUDY, Listener, association, radiograph, send
from tests.stand_in.dicom_requests import request_of, send_raw

pytest_plugins = ("tests.integration.listening",)


def test_instances_of_a_study_become_one_job_and_are_whole_files(
    listener: Listener, context: Context
) -> None:
    sent = [radiograph(number) for number in (1, 2, 3)]
    assert send(listener, *sent) == [0x0000] * 3
    (job,) = all_jobs(context)
    assert (job["source"], job["peer"]) == ("dicom", "MODALITY")
    assert (job["study_instance_uid"], job["closed_at"]) == (STUDY, None)
    rows = stored(context)
    assert {row["state"] for row in rows} == {State.RECEIVED}
    for row, dataset in zip(rows, sent, strict=True):
        data = original(context, row)
        assert data[:132] == bytes(128) + b"DICM"
        read = pydicom.dcmread(io.BytesIO(data))
        assert read.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert read.file_meta.SourceApplicationEntityTitle == "MODALITY"
        assert read.PixelData == dataset.PixelData
        assert read.PatientName == dataset.PatientName
    assert context.dispatcher.depth("prepare", job["priority"]) == 3


def test_the_same_instance_again_is_success_and_stored_once(
    listener: Listener, context: Context
) -> None:
    assert send(listener, radiograph(1), radiograph(1)) == [0, 0]
    assert send(listener, radiograph(1)) == [0]
    assert len(stored(context)) == 1
    other = radiograph(2)
    other.SOPInstanceUID = radiograph(1).SOPInstanceUID
    assert send(listener, other, other) == [0, 0]
    assert len(stored(context)) == 2, "other bytes under the same UID are kept as well"


def test_each_sender_has_its_own_job_of_a_study(listener: Listener, context: Context) -> None:
    send(listener, radiograph(1), title="ROOM1")
    send(listener, radiograph(2), title="ROOM2")
    send(listener, radiograph(3, study="2.25.99"), title="ROOM1")
    found = {(job["study_instance_uid"], job["peer"]) for job in all_jobs(context)}
    assert found == {(STUDY, "ROOM1"), (STUDY, "ROOM2"), ("2.25.99", "ROOM1")}


def test_a_quiet_study_is_closed_and_a_late_instance_opens_another(
    new_listener: NewListener, context: Context
) -> None:
    listener = new_listener(dicom_quiet_s=0.5)
    send(listener, radiograph(1))
    # All: on a busy machine a first job may be closed before the bytes are there.
    wait_until(lambda: all(job["closed_at"] is not None for job in all_jobs(context)), "closed")
    send(listener, radiograph(1))
    first, late = stored(context)
    assert first["once_key"] == late["once_key"]
    assert first["job_id"] != late["job_id"]


def test_it_offers_every_class_and_syntax_that_the_decoder_reads(listener: Listener) -> None:
    with association(listener, PROJECTION_CLASSES, [ExplicitVRLittleEndian]) as peer:
        assert {cx.abstract_syntax for cx in peer.accepted_contexts} == set(PROJECTION_CLASSES)
    for syntax in TRANSFER_SYNTAXES:
        with association(listener, [SecondaryCaptureImageStorage], [syntax]) as peer:
            assert [cx.transfer_syntax for cx in peer.accepted_contexts] == [[syntax]]
    with association(listener, [CTImageStorage]) as peer:
        assert not peer.is_established or not peer.accepted_contexts


def test_datasets_are_stored_as_they_are_encoded(listener: Listener, context: Context) -> None:
    native = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
    sent = {}
    for number, syntax in enumerate((*native, RLELossless), 1):
        dataset = sent[syntax] = radiograph(number)
        if syntax in native:
            dataset.file_meta.TransferSyntaxUID = syntax
        else:
            dataset.compress(syntax, generate_instance_uid=False)
        assert send(listener, dataset, syntaxes=[syntax]) == [0], syntax
    for row, (syntax, dataset) in zip(stored(context), sent.items(), strict=True):
        read = pydicom.dcmread(io.BytesIO(original(context, row)))
        assert read.file_meta.TransferSyntaxUID == syntax
        assert read.SOPInstanceUID == dataset.SOPInstanceUID
        assert read.PixelData == dataset.PixelData


def broken(dataset: Dataset, keyword: str, value: str) -> Dataset:
    setattr(dataset, keyword, value)
    return dataset


def test_refused_instances_get_the_right_status(
    new_listener: NewListener, context: Context
) -> None:
    listener = new_listener(max_file_bytes=20_000)
    with association(listener) as peer:
        answers = {
            "no study": _ask(peer, broken(radiograph(1), "StudyInstanceUID", "")),
            "too large": _ask(peer, radiograph(2, side_px=128)),
            "good": _ask(peer, radiograph(3)),
        }
    statuses = {name: int(answer.Status) for name, answer in answers.items()}
    assert statuses == {"no study": 0xC000, "too large": 0xA700, "good": 0x0000}
    assert answers["no study"].ErrorComment == "the object lacks StudyInstanceUID"
    assert "20000 bytes" in answers["too large"].ErrorComment
    assert len(stored(context)) == 1


def _ask(peer: Any, dataset: Dataset) -> Dataset:
    answer: Dataset = peer.send_c_store(dataset)
    return answer


def test_a_dataset_of_another_class_or_instance_than_the_request(
    listener: Listener, context: Context
) -> None:
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        with association(listener) as peer:
            dataset = radiograph(1)
            # pynetdicom takes the request's UIDs from the dataset; what is sent then is patched.
            request = request_of(dataset)
            setattr(dataset, keyword, "1.2.840.10008.5.1.4.1.1.7")
            answer = send_raw(peer, request, dataset)
        assert answer == 0xA900, keyword
    assert stored(context) == []


def test_a_class_that_is_not_the_contexts(listener: Listener, context: Context) -> None:
    with association(listener) as peer:
        request = request_of(radiograph(1))
        request.AffectedSOPClassUID = SecondaryCaptureImageStorage
        assert send_raw(peer, request, radiograph(1)) == 0x0122
    assert stored(context) == []


def test_bytes_that_are_no_dataset(listener: Listener, context: Context) -> None:
    for data in (b"\x08\x00", b"MZ" * 4000, zlib.compress(bytes(10_000))):
        with association(listener) as peer:
            request = request_of(radiograph(1))
            request.DataSet = io.BytesIO(data)
            assert send_raw(peer, request, None) == 0xC000
    assert stored(context) == []


def test_only_those_on_the_list_may_send(new_listener: NewListener) -> None:
    listener = new_listener(dicom_calling_aets="ROOM1, MODALITY")
    with association(listener, title="STRANGER") as peer:
        assert peer.is_rejected
    with association(listener, title="ROOM1", called="OTHER") as peer:
        assert peer.is_rejected
    assert send(listener, radiograph(1), title="ROOM1") == [0]


def test_more_associations_than_allowed_are_rejected(new_listener: NewListener) -> None:
    listener = new_listener(dicom_max_associations=1)
    with ExitStack() as stack:
        # The echo that found it ready may hold the only place for a moment longer.
        wait_until(
            lambda: stack.enter_context(association(listener)).is_established, "the first is in"
        )
        with association(listener) as second:
            assert second.is_rejected
    wait_until(listener.answers, "the place is free again")


def test_a_connection_that_goes_without_a_request_keeps_no_place(
    new_listener: NewListener,
) -> None:
    """As a load balancer's port check does, every few seconds."""
    listener = new_listener(dicom_max_associations=1, dicom_acse_timeout_s=3600.0)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    wait_until(listener.answers, "the place is free again")


def test_the_log_names_peers_and_hashes_and_nothing_else(listener: Listener) -> None:
    name = "Zzyzx^Secret"
    send(listener, radiograph(1, PatientName=name, PatientID="PID-777", AccessionNumber="ACC-1"))
    with association(listener) as peer:
        peer.send_c_store(broken(radiograph(2, PatientName=name), "StudyInstanceUID", ""))
    wait_until(lambda: listener.log.count("status=") == 2, "both are logged")
    assert "peer=MODALITY" in listener.log
    for secret in ("Zzyzx", "PID-777", "ACC-1", STUDY):
        assert secret not in listener.log
