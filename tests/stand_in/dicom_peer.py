"""A modality that sends radiographs, and the listener that they go to, as a process of its own."""

import io
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from pipeline.embedded.part import environment
from pipeline.reach import listens
from pipeline.settings import Settings
from tests.faults.servers import Server, free_port, wait_until

STUDY = "2.25.4711"
ROOT = Path(__file__).parents[2]


def radiograph(number: int = 1, study: str = STUDY, side_px: int = 64, **elements: Any) -> Dataset:
    """A small DX image, complete enough for every receiver; `number` makes it another one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = f"{study}.1.{number}"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.Modality = "DX"
    dataset.PatientName = "Nobody^Test"
    dataset.PatientID = "0"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = side_px
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    pixels = np.random.default_rng(number).integers(1700, 2300, (side_px, side_px))
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def file_of(dataset: Dataset) -> bytes:
    """The dataset as a file of PS3.10."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Listener(Server):
    """`python -m pipeline.dicom.listener` on a free port of loopback."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Nothing is started yet."""
        super().__init__(folder)
        self.settings = settings.model_copy(update={"dicom_port": free_port()})
        self.port: int = self.settings.dicom_port or 0
        self._heard = False

    def start(self) -> None:
        """Start it with its settings in its environment, and wait until it answers."""
        self._heard = False
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment(self.settings),
                start_new_session=True,
            )
        wait_until(self.answers, "the listener answers C-ECHO")

    def command(self) -> list[str]:
        """As the embedded stack starts it."""
        return [sys.executable, "-P", "-m", "pipeline.dicom.listener"]

    def answers(self) -> bool:
        """C-ECHO is answered with success."""
        # pynetdicom leaves a socket open that found nobody; a mere connection takes a place.
        self._heard = self._heard or listens("127.0.0.1", self.port)
        if not self._heard:
            return False
        with association(self, [Verification]) as peer:
            return peer.is_established and peer.send_c_echo().get("Status") == 0

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "server.log").read_text()


@contextmanager
def association(
    listener: Listener,
    classes: Sequence[str] = (DigitalXRayImageStorageForPresentation,),
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    title: str = "MODALITY",
    called: str = "XRAYTRIAGE",
) -> Iterator[Association]:
    """An association with it, or the refusal of one; released at the end."""
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    for sop_class in classes:
        entity.add_requested_context(sop_class, list(syntaxes))
    peer = entity.associate("127.0.0.1", listener.port, ae_title=called)
    transport = peer.dul.socket
    connection = transport.socket if transport else None
    try:
        yield peer
    finally:
        if peer.is_established:
            peer.release()
        if connection is not None:
            connection.close()  # pynetdicom forgets it when the other side vanishes


def send(listener: Listener, *datasets: Dataset, **options: Any) -> list[int]:
    """The status that each of the datasets is answered with, over one association."""
    with association(listener, **options) as peer:
        assert peer.is_established
        return [int(peer.send_c_store(dataset).get("Status", -1)) for dataset in datasets]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A program of another maker's toolkit."""
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
