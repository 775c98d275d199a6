"""Results are sent to real peers, with what goes wrong on the way."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from pydicom.uid import ComprehensiveSRStorage
from sqlalchemy import insert, update

from pipeline import delivery
from pipeline.context import Context
from pipeline.delivery import NoDestinationError, Sender
from pipeline.dicom import results
from pipeline.identity import seal
from pipeline.records import deliveries
from pipeline.records.deliveries import Delivered
from pipeline.records.intake import close_job, open_job
from pipeline.states import Priority, State
from pipeline.tables import deliveries as table
from pipeline.tables import identities, jobs
from tests.faults.servers import free_port
from tests.stand_in import dicom_study
from tests.stand_in.dicom_study import STUDY, opened, study
from tests.stand_in.finished import FinishedJob
from tests.stand_in.peers import AE_TITLE, sent_to, storage_scp

# pynetdicom drops the socket of a connection that was refused without closing it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def context(tmp_path: Path, database_url: str | None) -> Iterator[Context]:
    """A database and a storage in memory; no destination."""
    with opened(tmp_path, database_url) as context:
        yield context


def make_due(context: Context) -> None:
    """What is put off is due now."""
    with context.engine.begin() as connection:
        connection.execute(update(table).values(due_at=0.0))


def states(context: Context, job_id: str) -> list[tuple[str, int]]:
    """State and attempts of each of a job's deliveries."""
    rows = deliveries.of_job(context.engine, job_id)
    return [(row["state"], row["attempts"]) for row in rows]


def test_a_study_that_has_ended_is_stored_at_the_destination(context: Context) -> None:
    job_id = study(context)
    with storage_scp() as (peer, address):
        sender = Sender(sent_to(context, address))
        assert sender.once() == 4
        assert sender.once() == 0
    expected = {r.sop_uid: results.make(context, r) for r in results.of_job(context, job_id)}
    assert sorted(peer.uids) == sorted(expected)
    assert set(peer.calling) == {"XRAYTRIAGE"}
    assert all(instance.StudyInstanceUID == STUDY for instance in peer.received)
    assert states(context, job_id) == [(Delivered.DELIVERED, 1)] * 4
    for row in deliveries.of_job(context.engine, job_id):
        assert row["destination"] == address
        assert row["delivered_at"] is not None


def test_nothing_is_sent_before_the_study_has_ended(context: Context) -> None:
    open_one = study(context, closed=False)
    with storage_scp() as (peer, address):
        sender = Sender(sent_to(context, address))
        sender.once()
        close_job(context.engine, open_one)
        busy = FinishedJob(context.engine, context.store, open_one, count=90)  # type: ignore[arg-type]
        busy.add("late.dcm", State.RECEIVED, stage="prepare", header=dicom_study.header(9))
        sender.once()
        assert peer.received == []


def test_only_studies_are_sent_and_no_old_ones(context: Context) -> None:
    uploaded = open_job(context.engine, "api", Priority.ROUTINE)
    dicom_study.chest(FinishedJob(context.engine, context.store, uploaded), 1)  # type: ignore[arg-type]
    close_job(context.engine, uploaded)
    old = study(context, f"{STUDY}.7", first=50)
    with context.engine.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == old).values(closed_at=1000.0))
    with storage_scp() as (peer, address):
        sender = Sender(sent_to(context, address))
        assert sender.once() == 0
        assert sender.again(old) == 4
        assert sender.once() == 4
    assert {str(instance.StudyInstanceUID) for instance in peer.received} == {f"{STUDY}.7"}


def test_a_destination_that_was_down_gets_everything_once_it_is_up(context: Context) -> None:
    job_id, port = study(context), free_port()
    sender = Sender(sent_to(context, f"dimse://{AE_TITLE}@127.0.0.1:{port}"))
    assert sender.once() == 0
    assert states(context, job_id) == [(Delivered.WAITING, 1)] * 4
    (words,) = {row["last_error"] for row in deliveries.of_job(context.engine, job_id)}
    assert words == "no association could be made"
    assert sender.once() == 0
    assert states(context, job_id) == [(Delivered.WAITING, 1)] * 4, "it is not due yet"
    make_due(context)
    with storage_scp(port) as (peer, _):
        assert sender.once() == 4
    assert len(peer.received) == 4
    assert states(context, job_id) == [(Delivered.DELIVERED, 2)] * 4


def test_after_the_last_try_it_has_failed_until_somebody_asks_again(context: Context) -> None:
    job_id, port = study(context), free_port()
    address = f"dimse://{AE_TITLE}@127.0.0.1:{port}"
    sender = Sender(sent_to(context, address, dicom_send_attempts=2))
    for _ in range(3):
        sender.once()
        make_due(context)
    assert states(context, job_id) == [(Delivered.FAILED, 2)] * 4
    assert deliveries.counts(context.engine) == {Delivered.FAILED: 4}
    with storage_scp(port) as (peer, _):
        assert sender.once() == 0
        assert sender.again(job_id) == 4
        assert sender.once() == 4
        assert sender.again(job_id) == 0
    assert len(peer.received) == 4


def test_an_instance_that_is_refused_does_not_hold_up_the_others(context: Context) -> None:
    job_id = study(context)
    with storage_scp(0, ComprehensiveSRStorage) as (peer, address):
        Sender(sent_to(context, address)).once()
    assert [instance.Modality for instance in peer.received] == ["SR"]
    rows = deliveries.of_job(context.engine, job_id)
    assert sorted(row["state"] for row in rows) == [Delivered.DELIVERED] + [Delivered.WAITING] * 3
    assert {row["last_error"] for row in rows} == {
        None,
        "the destination takes no instances of this class",
    }


def test_a_status_of_failure_is_recorded_and_a_warning_is_success(context: Context) -> None:
    job_id = study(context)
    with storage_scp() as (peer, address):
        sender = Sender(sent_to(context, address))
        peer.status = 0xA700
        assert sender.once() == 0
        (words,) = {row["last_error"] for row in deliveries.of_job(context.engine, job_id)}
        assert words == "the destination answered status A700H"
        peer.status = 0xB000
        make_due(context)
        assert sender.once() == 4


def test_a_wrong_ae_title_is_said_in_words(context: Context) -> None:
    job_id = study(context)
    with storage_scp() as (_, address):
        wrong = address.replace(AE_TITLE, "OTHER")
        assert Sender(sent_to(context, wrong)).once() == 0
    words = deliveries.of_job(context.engine, job_id)[0]["last_error"]
    assert "rejected" in words
    assert "AE titles" in words


def test_two_senders_send_each_instance_once(context: Context) -> None:
    ids = [study(context, f"{STUDY}.{n}", first=20 * n) for n in range(1, 6)]
    both_in = threading.Barrier(2, timeout=60)
    with storage_scp() as (peer, address):
        # The first instance of each sender waits for that of the other: they do work at a time.
        firsts = iter(range(2))

        def meet() -> None:
            if next(firsts, None) is not None:
                both_in.wait()

        peer.on_store = meet
        senders = [Sender(sent_to(context, address)) for _ in range(2)]
        for sender in senders:
            sender.plan()
        threads = [threading.Thread(target=sender.once) for sender in senders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert len(peer.uids) == len(set(peer.uids)) == 4 * 5
    assert all(states(context, job_id) == [(Delivered.DELIVERED, 1)] * 4 for job_id in ids)


def test_a_sender_that_died_loses_its_claim_and_what_it_says_later(context: Context) -> None:
    study(context)
    engine = context.engine
    with storage_scp() as (peer, address):
        alive = Sender(sent_to(context, address))
        alive.plan()
        held = deliveries.claim(engine, address, 60.0)
        assert len(held) == 4
        assert alive.once() == 0
        make_due(context)  # the lease is over
        peer.status = 0xA700
        alive.once()
        deliveries.delivered(engine, held[0])  # the dead one wakes up
        assert deliveries.counts(engine) == {Delivered.WAITING: 4}


def test_a_stopped_sender_gives_back_what_it_has_not_sent(context: Context) -> None:
    job_id = study(context)
    stop = threading.Event()
    with storage_scp() as (peer, address):
        peer.on_store = stop.set
        assert Sender(sent_to(context, address), stop).once() == 1
        assert sorted(states(context, job_id)) == [
            (Delivered.DELIVERED, 1),
            *[(Delivered.WAITING, 0)] * 3,
        ]
        assert Sender(sent_to(context, address)).once() == 3
    assert len(set(peer.uids)) == 4


def test_findings_that_were_replaced_meanwhile_are_not_sent(context: Context) -> None:
    job_id = study(context)
    with storage_scp() as (peer, address):
        sender = Sender(sent_to(context, address))
        sender.plan()
        image_id = f"{2:032x}"
        newer = FinishedJob(context.engine, context.store, job_id)  # type: ignore[arg-type]
        version = "chest-2.0.0+00000000"
        newer.run(image_id, "chest", None, {"abnormal": 0.1}, model_version=version, created_at=9.0)
        assert sender.once() == 0
        assert states(context, job_id) == [(Delivered.FAILED, 1)] * 4
        assert sender.again(job_id) == 1
        assert sender.once() == 1
    assert [instance.Modality for instance in peer.received] == ["SR"]


def test_the_patient_goes_back_with_the_results_and_into_no_log(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    key = Fernet.generate_key().decode()
    study(context)
    jane = {"PatientName": "Doe^Jane", "PatientID": "PID-1", "PatientBirthDate": "not a date"}
    with context.engine.begin() as connection:
        row = {"image_id": f"{2:032x}", "sealed": seal(jane, key)}
        connection.execute(insert(identities).values(**row))
    with storage_scp() as (peer, address), caplog.at_level("INFO"):
        sender = Sender(sent_to(context, address, identifiers_key=key))
        assert sender.once() == 4
    assert {str(instance.PatientName) for instance in peer.received} == {"Doe^Jane"}
    assert {instance.PatientID for instance in peer.received} == {"PID-1"}
    assert "Jane" not in caplog.text
    assert "PID-1" not in caplog.text


def test_without_a_destination_there_is_no_sender(context: Context) -> None:
    with pytest.raises(NoDestinationError, match="XRAYTRIAGE_DICOM_DESTINATION"):
        Sender(context)


def test_pauses_grow_to_an_hour_and_end() -> None:
    pauses = [delivery.pause_after(attempt, 30) for attempt in range(1, 31)]
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0]
    assert max(pause for pause in pauses[:-1] if pause is not None) == 3600.0
    assert pauses[-1] is None
    assert sum(pause for pause in pauses if pause is not None) > 20 * 3600
