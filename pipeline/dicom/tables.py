"""DICOM look-up tables: modality, VOI and palette (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5).

pydicom's own functions are not used for them: they refuse a descriptor of 12 bits, wrap where the
first value mapped is negative, and cost a pass of 64-bit floats over the image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.dicom.read import value, values
from pipeline.reasons import ReasonCode, Unreadable


@dataclass(frozen=True, slots=True, eq=False)
class LookUpTable:
    """``entries[i]``, of ``bits`` bits, is the output for the input ``first + i``."""

    first: int
    entries: NDArray[np.float64]
    bits: int

    def apply(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map inputs; those below and above the table get its first and last entry."""
        indices = np.clip(np.rint(inputs) - self.first, 0, self.entries.size - 1)
        outputs: NDArray[np.float64] = self.entries[indices.astype(np.intp)]
        return outputs


def read_table(item: Dataset, is_little_endian: bool) -> LookUpTable:
    """Read an item of a Modality or VOI LUT Sequence. Raises Unreadable (corrupt)."""
    return _read(item, "LUTDescriptor", "LUTData", is_little_endian)  # (0028,3002), (0028,3006)


def read_palette(dataset: Dataset, colour: str, is_little_endian: bool) -> LookUpTable:
    """Read the Red, Green or Blue palette. Raises Unreadable (corrupt)."""
    stem = f"{colour}PaletteColorLookupTable"
    return _read(dataset, f"{stem}Descriptor", f"{stem}Data", is_little_endian)


def _read(
    dataset: Dataset, descriptor_keyword: str, data_keyword: str, is_little_endian: bool
) -> LookUpTable:
    try:
        length, first, bits = (int(part) for part in values(dataset, descriptor_keyword))
    except (TypeError, ValueError) as error:
        raise Unreadable(ReasonCode.CORRUPT, "a look-up table's descriptor is damaged") from error
    length = (length & 0xFFFF) or 1 << 16  # 0 means 65,536; read as signed it may be negative
    entries = _entries(dataset, data_keyword, length, is_little_endian)
    if not entries.size or not 1 <= bits <= 16:
        raise Unreadable(ReasonCode.CORRUPT, "a look-up table is empty or of no valid depth")
    return LookUpTable(first, entries.astype(np.float64), bits)


def _entries(
    dataset: Dataset, keyword: str, length: int, is_little_endian: bool
) -> NDArray[np.integer]:
    data = value(dataset, keyword)
    if not isinstance(data, bytes):  # of VR US: numbers already
        numbers = [part for part in values(dataset, keyword) if isinstance(part, int)]
        return np.array(numbers[:length], np.int64) & 0xFFFF
    if len(data) < 2 * length:  # 8-bit entries, packed
        return np.frombuffer(data, np.uint8)[:length]
    return np.frombuffer(data, "<u2" if is_little_endian else ">u2", count=length)
