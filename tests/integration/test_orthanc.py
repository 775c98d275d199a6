"""Orthanc, a PACS that others wrote, takes our results and has them."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from cryptography.fernet import Fernet
from pydicom.uid import ComprehensiveSRStorage
from sqlalchemy import insert

from pipeline.context import Context
from pipeline.delivery import Sender
from pipeline.identity import seal
from pipeline.tables import identities
from tests.faults.servers import Server, free_port
from tests.stand_in.dicom_study import STUDY, opened, study
from tests.stand_in.peers import sent_to

pytestmark = pytest.mark.peers


class Orthanc(Server):
    """A PACS in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Write its configuration."""
        super().__init__(folder)
        self.http, self.dicom = free_port(), free_port()
        config = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(config))

    def command(self) -> list[str]:
        """Debian's program."""
        return [shutil.which("Orthanc") or "/usr/sbin/Orthanc", "orthanc.json"]

    def answers(self) -> bool:
        """Its REST API speaks."""
        try:
            return bool(self.get("/system"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        """An answer of its REST API."""
        with urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return json.load(answer)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """A running PACS without images."""
    if shutil.which("Orthanc") is None and not Path("/usr/sbin/Orthanc").exists():
        if os.environ.get("CI") == "true":
            raise FileNotFoundError("Orthanc, of the package orthanc")
        pytest.skip("Orthanc is not installed")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = Orthanc(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def context(tmp_path: Path, database_url: str | None) -> Iterator[Context]:
    """A database and a storage in memory; no destination."""
    with opened(tmp_path / "data", database_url) as context:
        yield context


def test_orthanc_has_the_report_and_the_heatmaps_in_one_study(
    context: Context, orthanc: Orthanc
) -> None:
    key = Fernet.generate_key().decode()
    job_id = study(context)
    with context.engine.begin() as connection:
        row = {"image_id": f"{2:032x}", "sealed": seal({"PatientID": "PID-1"}, key)}
        connection.execute(insert(identities).values(**row))
    address = f"dimse://ORTHANC@127.0.0.1:{orthanc.dicom}"
    sender = Sender(sent_to(context, address, identifiers_key=key), threading.Event())
    assert sender.once() == 4, job_id

    (found,) = orthanc.get("/studies?expand")
    assert found["MainDicomTags"]["StudyInstanceUID"] == STUDY
    assert found["PatientMainDicomTags"]["PatientID"] == "PID-1"
    series = [orthanc.get(f"/series/{name}") for name in found["Series"]]
    described = {one["MainDicomTags"]["SeriesDescription"]: one for one in series}
    assert len(described) == 4
    report = described["AI result, not for primary diagnosis"]
    tags = orthanc.get(f"/instances/{report['Instances'][0]}/simplified-tags")
    assert tags["SOPClassUID"] == ComprehensiveSRStorage
    assert tags["ContentTemplateSequence"][0]["TemplateIdentifier"] == "1500"
    shown = described["AI heatmap Effusion chest-1.1.0+00000000"]
    with urlopen(
        f"http://127.0.0.1:{orthanc.http}/instances/{shown['Instances'][0]}/preview", timeout=10
    ) as picture:
        assert picture.read(8) == b"\x89PNG\r\n\x1a\n"
