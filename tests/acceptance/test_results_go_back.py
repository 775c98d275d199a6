"""A modality sends a study, and the PACS gets report and heatmaps of the shipped models."""

import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from highdicom.sr import ComprehensiveSR
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from sqlalchemy import select

from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.settings import Identifiers, Settings
from pipeline.tables import images
from tests.acceptance.conftest import until
from tests.conftest import NewDatabase
from tests.stand_in.peers import Peer, storage_scp
from tests.unit.pipeline.dicom.standard import problems


@pytest.fixture(scope="module")
def pacs() -> Iterator[tuple[Peer, str]]:
    """Who the results are for."""
    with storage_scp() as scp:
        yield scp


@pytest.fixture(scope="module")
def hospital(
    tmp_path_factory: pytest.TempPathFactory, pacs: tuple[Peer, str], new_database: NewDatabase
) -> Iterator[Stack]:
    """A stack that listens, keeps identifiers sealed, and sends back."""
    with new_database() as database_url:
        settings = Settings(
            data_dir=tmp_path_factory.mktemp("hospital"),
            database_url=database_url,
            scan_s=1.0,
            dicom_port=0,
            dicom_quiet_s=1.0,
            dicom_destination=pacs[1],
            identifiers=Identifiers.ENCRYPT,
            identifiers_key=Fernet.generate_key().decode(),
        )
        with Stack(settings, flower=False) as stack:
            yield stack


def store(stack: Stack, instance: Dataset) -> int:
    """The status of a C-STORE."""
    modality = AE("MODALITY")
    modality.add_requested_context(instance.SOPClassUID, instance.file_meta.TransferSyntaxUID)
    address = ("127.0.0.1", stack.settings.dicom_port or 0)
    association = modality.associate(*address, ae_title=stack.settings.dicom_ae_title)
    assert association.is_established
    status = int(association.send_c_store(instance).Status)
    association.release()
    return status


def test_a_study_comes_by_c_store_and_its_results_go_back(
    hospital: Stack, pacs: tuple[Peer, str], samples: Path
) -> None:
    sent = dcmread(samples / "images" / "chest" / "child-pneumonia-3.dcm")
    assert store(hospital, sent) == 0
    peer = pacs[0]
    with httpx.Client(base_url=hospital.addresses["api"], timeout=60.0) as client:
        study = f"/dicom-web/studies/{sent.StudyInstanceUID}/instances"

        def listed() -> int:
            return len(client.get(study).raise_for_status().json())

        until(lambda: 0 < listed() == len(peer.received), "all results are at the PACS")
        engine = Context.open(hospital.settings).engine
        with engine.connect() as connection:
            image_id = connection.execute(select(images.c.id)).scalar_one()
        image = client.get(f"/v1/images/{image_id}").raise_for_status().json()
        zipped = client.get(f"/v1/images/{image_id}/dicom").raise_for_status().content
    with zipfile.ZipFile(BytesIO(zipped)) as archive:
        files = [dcmread(BytesIO(archive.read(name))) for name in archive.namelist()]
    assert {file.SOPInstanceUID for file in files} == set(peer.uids)

    (report,) = [file for file in files if file.Modality == "SR"]
    chest = next(run for run in image["stages"] if run["stage"] == "chest")
    groups = ComprehensiveSR.from_dataset(report).content.get_image_measurement_groups()
    told = {g.tracking_identifier: g.get_measurements()[0].value for g in groups}
    for label, score in chest["scores"].items():
        assert float(told[f"image 1, {label}"]) == pytest.approx(100 * score, abs=1e-3)
    assert len(groups) == 2 + len(chest["scores"])
    thresholds = [len(g.get_measurements()) for g in groups if g.finding_type is not None]
    assert thresholds == [2] * len(chest["scores"]), "every label tells its threshold"
    overlays = [file for file in files if file.Modality == "OT"]
    heatmaps = [finding for finding in chest["findings"] if finding["heatmap"]]
    assert len(overlays) == len(heatmaps) > 0
    for file in files:
        assert file.StudyInstanceUID == sent.StudyInstanceUID
        assert file.PatientID == sent.PatientID
        assert file.PatientName == sent.PatientName
        assert problems(file) == []
