"""How the pixels of a DICOM image are laid out, as far as its header can be believed."""

from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from pipeline.codestream import Codestream, Coding
from pipeline.dicom.read import value, whole
from pipeline.reasons import ReasonCode, Unreadable

_COLOURS: Final = frozenset(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"))
_YBR_BY_DEFAULT: Final = (Coding.JPEG_BASELINE, Coding.JPEG_EXTENDED, Coding.JPEG_PROGRESSIVE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The Image Pixel module (PS3.3 C.7.6.3) with gaps and contradictions mended."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits: int
    shift: int
    pixel_representation: int
    photometric_interpretation: str
    planar_configuration: int


def read_layout(dataset: Dataset, stream: Codestream | None) -> Layout:
    """Read the Image Pixel module; a codestream, where there is one, is believed before it."""
    rows, columns = whole(dataset, "Rows"), whole(dataset, "Columns")
    samples = whole(dataset, "SamplesPerPixel") or 1
    allocated = whole(dataset, "BitsAllocated") or 0
    if stream:
        _check_size(stream, rows, columns)
        rows, columns, samples = stream.height_px, stream.width_px, stream.samples
        allocated = max(allocated, 8 if stream.precision <= 8 else 16)
    if not rows or not columns or not allocated:
        raise Unreadable(ReasonCode.CORRUPT, "the header lacks Rows, Columns or Bits Allocated")
    if samples not in (1, 3) or allocated not in (1, 8, 16, 32) or (allocated, samples) == (32, 1):
        raise Unreadable(
            ReasonCode.UNSUPPORTED_PIXELS, f"{samples} samples of {allocated} bits are not read"
        )
    # Lossless codestreams often have the precision of the container, so the lesser is the depth.
    deepest = min(allocated, stream.precision) if stream else allocated
    bits = whole(dataset, "BitsStored") or deepest
    bits = bits if 1 <= bits <= deepest else deepest
    high_bit = None if stream else whole(dataset, "HighBit")
    shift = bits - 1 if high_bit is None else high_bit
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        bits_allocated=allocated,
        bits=bits,
        shift=shift + 1 - bits if bits <= shift + 1 <= allocated else 0,
        pixel_representation=1 if whole(dataset, "PixelRepresentation") == 1 else 0,
        photometric_interpretation=_photometric(dataset, samples, stream),
        planar_configuration=1 if whole(dataset, "PlanarConfiguration") == 1 else 0,
    )


def _check_size(stream: Codestream, rows: int | None, columns: int | None) -> None:
    if (rows, columns) not in ((stream.height_px, stream.width_px), (None, None)):
        raise Unreadable(
            ReasonCode.CORRUPT,
            f"the header says {columns} x {rows} pixels, the {stream.coding.value} data "
            f"{stream.width_px} x {stream.height_px}",
        )


def _photometric(dataset: Dataset, samples: int, stream: Codestream | None) -> str:
    """Return (0028,0004), or what the number of samples allows where it contradicts it."""
    named = str(value(dataset, "PhotometricInterpretation") or "").strip().upper()
    if samples == 1:
        return "MONOCHROME2" if named in _COLOURS or not named else named
    if named in _COLOURS:
        return named
    if not named or named.startswith("MONOCHROME"):
        return "YBR_FULL" if stream and stream.coding in _YBR_BY_DEFAULT else "RGB"
    raise Unreadable(
        ReasonCode.UNSUPPORTED_PIXELS, "pixels in this photometric interpretation are not read"
    )
