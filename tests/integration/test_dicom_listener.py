"""The listener as modalities meet it: a process of its own, over real servers."""

import io
import json
import os
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pydicom
import pytest
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
from sqlalchemy import RowMapping, select

from pipeline.context import Context
from pipeline.dicom.contexts import TRANSFER_SYNTAXES
from pipeline.dicom.header import PROJECTION_CLASSES
from pipeline.records import studies
from pipeline.settings import Settings
from pipeline.states import State
from pipeline.storage import ObjectRef
from pipeline.tables import images, jobs
from tests.faults.servers import wait_until
from tests.integration.conftest import RealServer
from tests.integration.test_orthanc import Orthanc
from tests.stand_in.dicom_peer import STUDY, Listener, association, file_of, radiograph, run, send

NewListener = Callable[..., Listener]


@pytest.fixture
def context(settings: Settings) -> Context:
    """The same servers, seen from here."""
    context = Context.open(settings)
    context.store.ensure_bucket()
    return context


@pytest.fixture
def new_listener(settings: Settings, context: Context, tmp_path: Path) -> Iterator[NewListener]:
    """A callable (**settings) -> a listener that answers; it ends with the test."""
    made: list[Listener] = []

    def new(**overrides: Any) -> Listener:
        folder = tmp_path / f"listener-{len(made)}"
        listener = Listener(folder, settings.model_copy(update=overrides))
        made.append(listener)
        listener.start()
        return listener

    yield new
    for listener in made:
        listener.kill()


@pytest.fixture
def listener(new_listener: NewListener) -> Listener:
    """A listener with the default settings."""
    return new_listener()


def stored(context: Context) -> list[RowMapping]:
    """All images, oldest first."""
    with context.engine.connect() as connection:
        return list(connection.execute(select(images).order_by(images.c.id)).mappings())


def all_jobs(context: Context) -> list[RowMapping]:
    with context.engine.connect() as connection:
        return list(connection.execute(select(jobs).order_by(jobs.c.id)).mappings())


def original(context: Context, row: RowMapping) -> bytes:
    return context.store.get(ObjectRef.parse(row["original"]))


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
    wait_until(lambda: all_jobs(context)[0]["closed_at"] is not None, "the job is closed")
    send(listener, radiograph(1))
    assert len(all_jobs(context)) == 2
    assert len(stored(context)) == 2


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
            request = _request_of(dataset)
            setattr(dataset, keyword, "1.2.840.10008.5.1.4.1.1.7")
            answer = _send_raw(peer, request, dataset)
        assert answer == 0xA900, keyword
    assert stored(context) == []


def test_a_class_that_is_not_the_contexts(listener: Listener, context: Context) -> None:
    with association(listener) as peer:
        request = _request_of(radiograph(1))
        request.AffectedSOPClassUID = SecondaryCaptureImageStorage
        assert _send_raw(peer, request, radiograph(1)) == 0x0122
    assert stored(context) == []


def test_bytes_that_are_no_dataset(listener: Listener, context: Context) -> None:
    for data in (b"\x08\x00", b"MZ" * 4000, zlib.compress(bytes(10_000))):
        with association(listener) as peer:
            request = _request_of(radiograph(1))
            request.DataSet = io.BytesIO(data)
            assert _send_raw(peer, request, None) == 0xC000
    assert stored(context) == []


def _request_of(dataset: Dataset) -> Any:
    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = dataset.SOPClassUID
    request.AffectedSOPInstanceUID = dataset.SOPInstanceUID
    request.Priority = 2
    return request


def _send_raw(peer: Any, request: Any, dataset: Dataset | None) -> int:
    from pynetdicom.dsutils import encode

    if dataset is not None:
        encoded = encode(dataset, False, True)
        assert encoded is not None
        request.DataSet = io.BytesIO(encoded)
    context_id = peer.accepted_contexts[0].context_id
    peer._reactor_checkpoint.clear()
    peer.dimse.send_msg(request, context_id)
    _, answer = peer.dimse.get_msg(block=True)
    peer._reactor_checkpoint.set()
    return int(answer.Status)


def test_only_those_on_the_list_may_send(new_listener: NewListener) -> None:
    listener = new_listener(dicom_calling_aets="ROOM1, MODALITY")
    with association(listener, title="STRANGER") as peer:
        assert peer.is_rejected
    with association(listener, title="ROOM1", called="OTHER") as peer:
        assert peer.is_rejected
    assert send(listener, radiograph(1), title="ROOM1") == [0]


def test_more_associations_than_allowed_are_rejected(new_listener: NewListener) -> None:
    listener = new_listener(dicom_max_associations=1)
    with association(listener) as first:
        assert first.is_established
        with association(listener) as second:
            assert second.is_rejected
    wait_until(listener.answers, "the place is free again")


def test_without_storage_nothing_is_promised(
    new_listener: NewListener, context: Context, weed: RealServer
) -> None:
    listener = new_listener(s3_attempts=1, s3_patience_s=0.0, s3_timeout_s=0.5)
    weed.pause()
    try:
        assert send(listener, radiograph(1)) == [0xA700]
    finally:
        weed.resume()
    assert stored(context) == []
    assert send(listener, radiograph(1)) == [0]


def test_a_full_disk_is_out_of_resources(new_listener: NewListener, context: Context) -> None:
    listener = new_listener(disk_watermark_bytes=2**62)
    assert send(listener, radiograph(1)) == [0xA700]
    assert stored(context) == []


def test_killed_in_mid_association_nothing_answered_success_is_lost(
    listener: Listener, context: Context
) -> None:
    answered = []
    with association(listener) as peer:
        for number in range(1, 41):
            if number == 25:
                assert listener.process is not None
                os.kill(listener.process.pid, signal.SIGKILL)
            try:
                if peer.send_c_store(radiograph(number)).get("Status") == 0:
                    answered.append(number)
            except RuntimeError:  # pynetdicom: the association is gone
                break
    assert 24 <= len(answered) < 40
    rows = {row["once_key"]: row for row in stored(context)}
    for number in answered:
        dataset = radiograph(number)
        data = original(context, rows[dataset.SOPInstanceUID])
        assert pydicom.dcmread(io.BytesIO(data)).PixelData == dataset.PixelData
    listener.kill()
    listener.start()
    again = [radiograph(number) for number in range(1, 41)]
    assert send(listener, *again) == [0] * 40
    assert len(stored(context)) == 40


def test_sigterm_lets_a_store_end_and_answers_it(
    listener: Listener, context: Context, weed: RealServer
) -> None:
    with association(listener) as peer:
        weed.pause()
        try:
            request = _request_of(radiograph(1))
            from pynetdicom.dsutils import encode

            encoded = encode(radiograph(1), False, True)
            assert encoded is not None
            request.DataSet = io.BytesIO(encoded)
            peer._reactor_checkpoint.clear()
            peer.dimse.send_msg(request, peer.accepted_contexts[0].context_id)
            wait_until(lambda: len(all_jobs(context)) == 1, "the store has begun")
            assert listener.process is not None
            os.kill(listener.process.pid, signal.SIGTERM)
            with association(listener) as late:
                wait_until(lambda: not late.is_established, "new associations are refused")
        finally:
            weed.resume()
        _, answer = peer.dimse.get_msg(block=True)
        peer._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == 0
    assert listener.process.wait(30) == 0
    assert len(stored(context)) == 1


def test_the_log_names_peers_and_hashes_and_nothing_else(listener: Listener) -> None:
    name = "Zzyzx^Secret"
    send(listener, radiograph(1, PatientName=name, PatientID="PID-777", AccessionNumber="ACC-1"))
    with association(listener) as peer:
        peer.send_c_store(broken(radiograph(2, PatientName=name), "StudyInstanceUID", ""))
    wait_until(lambda: listener.log.count("status=") == 2, "both are logged")
    assert "peer=MODALITY" in listener.log
    for secret in ("Zzyzx", "PID-777", "ACC-1", STUDY):
        assert secret not in listener.log


def test_the_reconciler_closes_what_a_dead_listener_left_open(
    listener: Listener, context: Context
) -> None:
    send(listener, radiograph(1))
    listener.kill()
    assert studies.close_quiet(context.engine, 3600.0) == []
    wait_until(lambda: studies.close_quiet(context.engine, 0.0) != [], "it is quiet")
    assert all_jobs(context)[0]["closed_at"] is not None


def test_dcmtk_verifies_and_stores(listener: Listener, context: Context, tmp_path: Path) -> None:
    if not (shutil.which("storescu") and shutil.which("echoscu")):
        pytest.skip("dcmtk is not installed")
    where = ["-aec", "XRAYTRIAGE", "127.0.0.1", str(listener.port)]
    echo = run("echoscu", *where)
    assert echo.returncode == 0, echo.stderr
    files = []
    for number in (1, 2):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(file_of(radiograph(number)))
    result = run("storescu", *where, *map(str, files))
    assert result.returncode == 0, result.stderr
    assert {row["once_key"] for row in stored(context)} == {f"{STUDY}.1.1", f"{STUDY}.1.2"}
    assert all_jobs(context)[0]["peer"] == "STORESCU"
    wrong = run("echoscu", "-aec", "OTHER", "127.0.0.1", str(listener.port))
    assert wrong.returncode != 0


def test_orthanc_sends_a_study(listener: Listener, context: Context, tmp_path: Path) -> None:
    if shutil.which("Orthanc") is None and not Path("/usr/sbin/Orthanc").exists():
        pytest.skip("Orthanc is not installed")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    orthanc = Orthanc(folder)
    orthanc.start()
    try:
        us = {"AET": "XRAYTRIAGE", "Host": "127.0.0.1", "Port": listener.port}
        ask(orthanc, "PUT", "/modalities/xraytriage", json.dumps(us).encode())
        ids = [
            ask(orthanc, "POST", "/instances", file_of(radiograph(number)))["ID"]
            for number in (1, 2)
        ]
        assert ask(orthanc, "POST", "/modalities/xraytriage/echo", b"{}") == {}
        sent = ask(orthanc, "POST", "/modalities/xraytriage/store", json.dumps(ids).encode())
    finally:
        orthanc.kill()
    assert (sent["InstancesCount"], sent["FailedInstancesCount"]) == (2, 0)
    (job,) = all_jobs(context)
    assert (job["study_instance_uid"], job["peer"]) == (STUDY, "ORTHANC")
    for row, number in zip(stored(context), (1, 2), strict=True):
        read = pydicom.dcmread(io.BytesIO(original(context, row)))
        assert read.PixelData == radiograph(number).PixelData


def ask(orthanc: Orthanc, method: str, path: str, data: bytes) -> Any:
    """An answer of Orthanc's REST API."""
    address = f"http://127.0.0.1:{orthanc.http}{path}"
    with urlopen(Request(address, data, method=method), timeout=30) as answer:
        return json.loads(answer.read() or "{}")


def test_an_object_far_over_the_limit_ends_its_association(
    new_listener: NewListener, context: Context
) -> None:
    listener = new_listener(max_file_bytes=50_000)
    with association(listener) as peer:
        status = peer.send_c_store(radiograph(1, side_px=3_000))
        assert status.get("Status") is None
        wait_until(lambda: not peer.is_established, "the association is aborted")
    assert send(listener, radiograph(2)) == [0]
    assert len(stored(context)) == 1
