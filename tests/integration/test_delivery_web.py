"""Results are posted to a DICOMweb server by STOW-RS."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from pipeline.context import Context
from pipeline.delivery import Sender
from pipeline.dicom import results
from pipeline.records import deliveries
from pipeline.records.deliveries import Delivered
from pipeline.tables import deliveries as table
from tests.faults.servers import free_port
from tests.stand_in.dicom_study import opened, study
from tests.stand_in.peers import sent_to, web_server


@pytest.fixture
def context(tmp_path: Path, database_url: str | None) -> Iterator[Context]:
    """A database and a storage in memory; no destination."""
    with opened(tmp_path, database_url) as context:
        yield context


def test_results_are_posted_to_a_dicomweb_server(context: Context) -> None:
    job_id = study(context)
    with web_server() as (peer, address):
        secret = {"dicom_destination_authorization": "Bearer s3cret"}
        sender = Sender(sent_to(context, f"stow+{address}", **secret))
        assert sender.once() == 4
    assert sorted(peer.uids) == sorted(r.sop_uid for r in results.of_job(context, job_id))
    assert {headers["Authorization"] for headers in peer.headers} == {"Bearer s3cret"}
    assert deliveries.counts(context.engine) == {Delivered.DELIVERED: 4}
    assert "s3cret" not in str(deliveries.of_job(context.engine, job_id))


FAILED_ITEM = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (409, FAILED_ITEM, "the destination answered HTTP 409, failure reason A700H"),
        (202, FAILED_ITEM, "the destination answered HTTP 202, failure reason A700H"),
        (400, "no JSON", "the destination answered HTTP 400"),
        (401, {}, "the destination answered HTTP 401"),
        (503, {}, "the destination answered HTTP 503"),
    ],
)
def test_a_dicomweb_server_may_refuse(
    context: Context, status: int, body: object, words: str
) -> None:
    job_id = study(context)
    with web_server() as (peer, address):
        peer.http = status, json.dumps(body).encode()
        sender = Sender(sent_to(context, address))
        assert sender.once() == 0
        assert {row["last_error"] for row in deliveries.of_job(context.engine, job_id)} == {words}
        peer.http = 202, b'{"00081199": {"vr": "SQ"}}'
        with context.engine.begin() as connection:
            connection.execute(update(table).values(due_at=0.0))
        assert sender.once() == 4


def test_a_dicomweb_server_that_is_gone_is_tried_again(context: Context) -> None:
    job_id = study(context)
    assert Sender(sent_to(context, f"http://127.0.0.1:{free_port()}/dicom-web")).once() == 0
    row = deliveries.of_job(context.engine, job_id)[0]
    assert row["last_error"] == "no answer (ConnectionRefusedError)"
