"""What decoding costs a core: our decoder beside pydicom and Pillow called bare."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from pipeline.image import Limits, decode, encode_prepared
from pipeline.settings import Settings
from tests.benchmarks.corpus import chests
from workers.prepare import timed

PREPARED_PX = 512
ROUNDS = 12


@dataclass(frozen=True)
class Cost:
    """Images a second of one core's time, by file kind."""

    kind: str
    ours: float
    bare: float


def per_core() -> Iterator[Cost]:
    """The prepare stage without its servers, in its sandbox's time limit, and the bare calls."""
    radiograph = _radiograph()
    dicom = _dicom(np.asarray(radiograph.resize((2500, 3000)), dtype=np.uint16) * 257)
    png = _saved(radiograph.resize((1024, 1024)), "PNG")
    jpeg = _saved(radiograph.resize((2000, 2000)), "JPEG")
    yield _measure("2,500 x 3,000 16-bit DICOM", dicom, _bare_dicom)
    yield _measure("1,024 x 1,024 PNG", png, _bare_picture)
    yield _measure("2,000 x 2,000 JPEG", jpeg, _bare_picture)


def _measure(kind: str, data: bytes, bare: Callable[[bytes], object]) -> Cost:
    limits, limit_s = Limits(), Settings().prepare_image_s

    def ours() -> None:
        with timed(limit_s):
            encode_prepared(decode(data, limits).pixels)

    # In turns, so that a change of the machine's pace meets both alike.
    spent = {ours: 0.0, bare: 0.0}
    for number in range(ROUNDS + 1):
        for work in spent:
            begun = time.process_time()
            work(data) if work is bare else ours()
            if number:  # the first round warms up
                spent[work] += time.process_time() - begun
    return Cost(kind, ROUNDS / spent[ours], ROUNDS / spent[bare])


def _bare_dicom(data: bytes) -> Image.Image:
    # The shortest right way for this file: MONOCHROME2, full range, no LUT.
    words = dcmread(io.BytesIO(data)).pixel_array
    low, high = float(words.min()), float(words.max())
    gray = ((words - low) * (255.0 / (high - low))).astype(np.uint8)
    picture = Image.fromarray(gray)
    picture.thumbnail((PREPARED_PX, PREPARED_PX))
    return picture


def _bare_picture(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("L")
    picture.thumbnail((PREPARED_PX, PREPARED_PX))
    return picture


def _radiograph() -> Image.Image:
    with Image.open(io.BytesIO(chests(1)[0])) as opened:
        return opened.convert("L")


def _saved(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _dicom(words: np.ndarray) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = words.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.PixelData = words.tobytes()
    dataset["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
