"""STOW-RS with a client that others wrote, over a real HTTP server and real servers behind it."""

import io
import socket
import threading
from collections.abc import Iterator

import pydicom
import pytest
import uvicorn
from dicomweb_client import DICOMwebClient
from pydicom.uid import CTImageStorage, RLELossless
from requests import HTTPError
from sqlalchemy import RowMapping, select

from pipeline.api.app import create_app
from pipeline.context import Context
from pipeline.settings import Settings
from pipeline.storage import ObjectRef
from pipeline.tables import images, jobs
from tests.stand_in.dicom_peer import STUDY, radiograph


@pytest.fixture
def client(settings: Settings, context: Context) -> Iterator[DICOMwebClient]:
    """Speaks to the API."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
        yield DICOMwebClient(url=address)
        server.should_exit = True
        serving.join(30)


def stored(context: Context) -> list[RowMapping]:
    with context.engine.connect() as connection:
        query = select(images, jobs.c.peer).join(jobs).order_by(images.c.id)
        return list(connection.execute(query).mappings())


def test_a_client_stores_instances(client: DICOMwebClient, context: Context) -> None:
    packed = radiograph(2)
    packed.compress(RLELossless, generate_instance_uid=False)
    sent = [radiograph(1), packed, radiograph(3, study="2.25.77")]
    answer = client.store_instances(sent)
    named = [str(item.ReferencedSOPInstanceUID) for item in answer.ReferencedSOPSequence]
    assert named == [str(dataset.SOPInstanceUID) for dataset in sent]
    rows = stored(context)
    assert {row["peer"] for row in rows} == {"stow"}
    assert len({row["job_id"] for row in rows}) == 2
    for row, dataset in zip(rows, sent, strict=True):
        data = context.store.get(ObjectRef.parse(row["original"]))
        read = pydicom.dcmread(io.BytesIO(data))
        assert read.SOPInstanceUID == dataset.SOPInstanceUID
        assert read.PixelData == dataset.PixelData
    assert context.dispatcher.depth("prepare", rows[0]["priority"]) == 3


def test_a_client_hears_what_failed(client: DICOMwebClient, context: Context) -> None:
    other = radiograph(2, study="2.25.5")
    answer = client.store_instances([radiograph(1), other], study_instance_uid=STUDY)
    (failed,) = answer.FailedSOPSequence
    assert failed.ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert failed.FailureReason == 0xA900
    assert len(stored(context)) == 1
    with pytest.raises(HTTPError, match="409"):
        client.store_instances([radiograph(4, SOPClassUID=CTImageStorage)])
