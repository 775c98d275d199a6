"""The listener when servers fail, disks fill up, peers overdo it and somebody kills it."""

import io
import os
import signal

import pydicom
from pynetdicom.dsutils import encode

from pipeline.context import Context
from pipeline.records import studies
from tests.faults.servers import wait_until
from tests.integration.conftest import RealServer
from tests.stand_in.dicom_arrivals import NewListener, all_jobs, original, stored
from tests.stand_in.dicom_peer import Listener, association, radiograph, send
from tests.stand_in.dicom_requests import request_of

pytest_plugins = ("tests.integration.listening",)


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
    new_listener: NewListener, context: Context, weed: RealServer
) -> None:
    # Patience far beyond what the steps below take on a busy machine: an association that is
    # offered while the listener closes may be answered only by its time limit.
    listener = new_listener(s3_attempts=100, s3_patience_s=120.0, drain_s=120.0)
    with association(listener) as peer:
        weed.pause()
        try:
            request = request_of(radiograph(1))
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


def test_the_reconciler_closes_what_a_dead_listener_left_open(
    listener: Listener, context: Context
) -> None:
    send(listener, radiograph(1))
    listener.kill()
    assert studies.close_quiet(context.engine, 3600.0) == []
    wait_until(lambda: studies.close_quiet(context.engine, 0.0) != [], "it is quiet")
    assert all_jobs(context)[0]["closed_at"] is not None


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
