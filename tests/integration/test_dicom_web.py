"""dicomweb-client, which others wrote, searches and retrieves over a real HTTP server."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from pipeline.context import Context
from pipeline.dicom import results
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.stand_in import dicom_study
from tests.stand_in.dicom_study import STUDY
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import Broker, Store, opened_app, opened_context


@pytest.fixture
def context(tmp_path: Path, database_url: str | None) -> Iterator[Context]:
    """One finished study of two images."""
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    context = opened_context(settings, Store(), Broker())
    job_id = open_job(context.engine, "dicom", Priority.ROUTINE)
    job = FinishedJob(context.engine, context.store, job_id)  # type: ignore[arg-type]
    for number in (1, 2):
        dicom_study.chest(job, number)
    close_job(context.engine, job_id)
    yield context
    context.engine.dispose()


@pytest.fixture
def client(context: Context) -> Iterator[DICOMwebClient]:
    """Speaks to the API."""
    app = opened_app(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/dicom-web"
        yield DICOMwebClient(url=address)
        server.should_exit = True
        serving.join(30)
    app.state.readiness.close()


def test_a_client_finds_its_way_from_the_study_to_the_instance(client: DICOMwebClient) -> None:
    (study,) = map(Dataset.from_json, client.search_for_studies(limit=5))
    assert study.StudyInstanceUID == STUDY
    for unknown in ("1.2.3", "1.2.3\0", "no UID"):
        assert client.search_for_studies(search_filters={"StudyInstanceUID": unknown}) == []
    series = client.search_for_series(STUDY, search_filters={"Modality": "SR"})
    (report,) = map(Dataset.from_json, series)
    (instance,) = client.search_for_instances(STUDY, report.SeriesInstanceUID)
    found = Dataset.from_json(instance)
    whole = client.retrieve_instance(STUDY, report.SeriesInstanceUID, found.SOPInstanceUID)
    assert whole.SOPInstanceUID == found.SOPInstanceUID
    assert whole.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_a_client_retrieves_studies_and_series(client: DICOMwebClient, context: Context) -> None:
    expected = {result.sop_uid for result in results.of_study(context, STUDY)}
    retrieved = list(client.retrieve_study(STUDY))
    assert {item.SOPInstanceUID for item in retrieved} == expected
    overlays = [item for item in retrieved if "Effusion" in item.SeriesDescription]
    assert [item.pixel_array.shape[2] for item in overlays] == [3, 3]
    series = list(client.retrieve_series(STUDY, overlays[0].SeriesInstanceUID))
    assert len(series) == 2


def test_a_client_reads_metadata_and_renders(client: DICOMwebClient) -> None:
    described = [Dataset.from_json(item) for item in client.retrieve_study_metadata(STUDY)]
    assert len(described) == 7
    shown = next(item for item in described if item.Modality == "OT")
    place = (STUDY, shown.SeriesInstanceUID, shown.SOPInstanceUID)
    assert Dataset.from_json(client.retrieve_instance_metadata(*place)) == shown
    picture = client.retrieve_instance_rendered(*place, media_types=("image/png",))
    assert picture.startswith(b"\x89PNG")
