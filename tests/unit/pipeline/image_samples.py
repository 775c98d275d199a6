"""Images to decode: one synthetic radiograph, and builders that write it in many ways.

A plugin of the modules that test the decoder (`pytest_plugins`), so that its fixtures need not
share a conftest with other tests.
"""

import io
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.image import Limits

Radiograph = Callable[..., NDArray[np.float64]]
MakeDicom = Callable[..., bytes]


def _radiograph(rows: int = 64, columns: int = 48) -> NDArray[np.float64]:
    y, x = np.mgrid[0:rows, 0:columns] / np.array([[[rows]], [[columns]]])
    spine = 0.5 * np.exp(-((x - 0.5) ** 2 / 0.02))
    ribs = 0.25 * (np.sin(y * 30) > 0.3) * (abs(x - 0.5) < 0.4)
    return ((0.15 + spine + ribs + 0.1 * y) / 1.05).clip(0, 1)


@pytest.fixture(scope="session")
def radiograph() -> Radiograph:
    """A callable (rows, columns) -> float64 in [0, 1], bones bright."""
    return _radiograph


@pytest.fixture(scope="session")
def stored(radiograph: Radiograph) -> Callable[[int], NDArray[np.unsignedinteger]]:
    """A callable bits -> the radiograph as detectors of that depth store it, uint8 or uint16."""

    def store(bits: int) -> NDArray[np.unsignedinteger]:
        words = np.rint(radiograph() * ((1 << bits) - 1))
        return words.astype(np.uint8 if bits <= 8 else np.uint16)

    return store


@pytest.fixture(scope="session")
def whole() -> Limits:
    """Limits that leave small images at their size, so that arrays can be compared."""
    return Limits(prepared_px=4096, min_px=8)


def _make_dicom(
    words: NDArray[Any],
    bits: int | None = None,
    *,
    syntax: str = ExplicitVRLittleEndian,
    compress: str | None = None,
    without: Iterable[str] = (),
    **elements: Any,
) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = words.shape[:2]
    dataset.SamplesPerPixel = 3 if words.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if words.ndim == 3 else "MONOCHROME2"
    if words.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = words.itemsize * 8
    dataset.BitsStored = bits or words.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 1 if words.dtype.kind == "i" else 0
    dataset.PixelData = words.tobytes() + b"\0" * (words.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if compress:
        dataset.compress(compress, generate_instance_uid=False)
    for keyword in without:
        delattr(dataset, keyword)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_dicom() -> MakeDicom:
    """A callable (words, bits, **elements) -> the bytes of a DICOM file of modality DX."""
    return _make_dicom


def _make_archive(
    contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
        archive.comment = comment
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_archive() -> Callable[..., bytes]:
    """A callable ({name: data}, method) -> the bytes of a zip file."""
    return _make_archive
