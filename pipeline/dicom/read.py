"""Reading a DICOM file: the allow-listed elements of it and no others.

Elements outside KEPT (patient name, identifiers, birth date, accession number, free text, private
ones) are skipped by the parser, so they are in no object that could be logged.
"""

import io
import logging
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset as read_elements
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from pipeline.limits import Limits
from pipeline.reasons import ReasonCode, Unreadable

# pydicom's warnings and logged tracebacks quote the values they complain of.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
config.settings.reading_validation_mode = config.IGNORE

KEPT: Final = (
    "SOPClassUID",  # (0008,0016)
    "SOPInstanceUID",  # (0008,0018)
    "Modality",  # (0008,0060)
    "ConversionType",  # (0008,0064)
    "PresentationIntentType",  # (0008,0068)
    "Manufacturer",  # (0008,0070)
    "ManufacturerModelName",  # (0008,1090)
    "AnatomicRegionSequence",  # (0008,2218)
    "BodyPartExamined",  # (0018,0015)
    "ImagerPixelSpacing",  # (0018,1164)
    "ViewPosition",  # (0018,5101)
    "StudyInstanceUID",  # (0020,000D)
    "SeriesInstanceUID",  # (0020,000E)
    "PatientOrientation",  # (0020,0020): of the rows and columns, L\F for example
    "Laterality",  # (0020,0060)
    "ImageLaterality",  # (0020,0062)
    "SamplesPerPixel",  # (0028,0002)
    "PhotometricInterpretation",  # (0028,0004)
    "PlanarConfiguration",  # (0028,0006)
    "NumberOfFrames",  # (0028,0008)
    "Rows",  # (0028,0010)
    "Columns",  # (0028,0011)
    "PixelSpacing",  # (0028,0030)
    "BitsAllocated",  # (0028,0100)
    "BitsStored",  # (0028,0101)
    "HighBit",  # (0028,0102)
    "PixelRepresentation",  # (0028,0103)
    "PixelPaddingValue",  # (0028,0120)
    "PixelPaddingRangeLimit",  # (0028,0121)
    "BurnedInAnnotation",  # (0028,0301)
    "WindowCenter",  # (0028,1050)
    "WindowWidth",  # (0028,1051)
    "RescaleIntercept",  # (0028,1052)
    "RescaleSlope",  # (0028,1053)
    "VOILUTFunction",  # (0028,1056)
    "RedPaletteColorLookupTableDescriptor",  # (0028,1101)
    "GreenPaletteColorLookupTableDescriptor",  # (0028,1102)
    "BluePaletteColorLookupTableDescriptor",  # (0028,1103)
    "RedPaletteColorLookupTableData",  # (0028,1201)
    "GreenPaletteColorLookupTableData",  # (0028,1202)
    "BluePaletteColorLookupTableData",  # (0028,1203)
    "SegmentedRedPaletteColorLookupTableData",  # (0028,1221)
    "SegmentedGreenPaletteColorLookupTableData",  # (0028,1222)
    "SegmentedBluePaletteColorLookupTableData",  # (0028,1223)
    "LossyImageCompression",  # (0028,2110)
    "ModalityLUTSequence",  # (0028,3000)
    "VOILUTSequence",  # (0028,3010)
    "ViewCodeSequence",  # (0054,0220)
    "PresentationLUTShape",  # (2050,0020)
    "ExtendedOffsetTable",  # (7FE0,0001)
    "ExtendedOffsetTableLengths",  # (7FE0,0002)
    "PixelData",  # (7FE0,0010)
)


def _tags(keywords: Sequence[str]) -> list[BaseTag | int]:
    return [tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None]


_KEPT_TAGS: Final = _tags(KEPT)

# What pydicom raises for bytes that break the standard, when it parses a file and again when it
# converts the value of one element (which it puts off until the value is asked for).
PARSE_ERRORS: Final = (
    InvalidDicomError,
    BytesLengthException,
    OSError,  # "No tag to read at file position ..."
    EOFError,
    ValueError,  # includes UnicodeDecodeError
    TypeError,
    AttributeError,
    LookupError,  # unknown tags, encodings
    NotImplementedError,  # an unknown VR
    RecursionError,  # sequences nested a thousand deep
    OverflowError,
    struct.error,
)

_PREAMBLE_BYTES: Final = 128
_PREFIX: Final = b"DICM"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00")
_NEAR_BYTES: Final = 1024  # more than a value at the start of a dataset has

# In little and in big endian.
PIXEL_DATA_TAGS: Final = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")  # (7FE0,0010)
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # (FFFE,E000)

# Far above any radiograph's. pydicom takes 4 microseconds for an element, 65 for an item.
_MOST_ELEMENTS: Final = 100_000
_MOST_ITEMS: Final = 20_000


def is_dicom(head: bytes) -> bool:
    """Whether the first bytes are those of a DICOM file, with or without preamble and prefix."""
    if head.startswith(_PREFIX, _PREAMBLE_BYTES) or head.startswith(_PREFIX):
        return True
    if len(head) < 8:
        return False
    # A bare dataset starts with group 0002 or 0008: (0002,0000), (0008,0005), (0008,0016) ...
    has_vr = head[4:6].isalpha() and head[4:6].isupper()
    if head[:2] in _FIRST_GROUPS and head[3] == 0:
        return has_vr or int.from_bytes(head[4:8], "little") < _NEAR_BYTES
    return head[:3] == b"\x00\x08\x00" and has_vr  # big endian is explicit always


def read_dicom(data: bytes, limits: Limits) -> Dataset:
    """Parse ``data``, which ``is_dicom``, into a dataset of the KEPT elements with ``file_meta``.

    The preamble is skipped unseen. Raises Unreadable: corrupt, truncated, decompression_bomb.
    """
    return _read(data, limits, _KEPT_TAGS, None)


def read_header(data: bytes, limits: Limits, keywords: Sequence[str]) -> Dataset:
    """Parse ``data``, which ``is_dicom``, for these elements only; nothing behind them is read.

    Raises as ``read_dicom`` does.
    """
    tags = _tags(keywords)
    return _read(data, limits, tags, max(int(tag) for tag in tags))


def read_elements_of(
    head: bytes, syntax: UID, keywords: Sequence[str], most_inflated: int
) -> Dataset:
    """Parse the beginning of a dataset without file meta, in ``syntax``, for these elements only.

    Of a deflated dataset at most ``most_inflated`` bytes are unpacked. Raises Unreadable: corrupt.
    """
    tags = _tags(keywords)
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, most_inflated)
        _check_items(head)
        return read_elements(
            io.BytesIO(head),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=_ElementCount(max(int(tag) for tag in tags)),
            specific_tags=tags,
        )
    except (zlib.error, *PARSE_ERRORS) as error:
        raise Unreadable(ReasonCode.CORRUPT, "the DICOM data elements are damaged") from error


def _read(data: bytes, limits: Limits, tags: list[BaseTag | int], last: int | None) -> Dataset:
    if data.startswith(_PREFIX) and not data.startswith(_PREFIX, _PREAMBLE_BYTES):
        data = data[4:]
    try:
        inflated = _read_deflated(data, limits, tags, last)
        if inflated is not None:
            return inflated
        _check_items(data)
        return read_partial(io.BytesIO(data), _ElementCount(last), force=True, specific_tags=tags)
    except zlib.error as error:
        raise Unreadable(ReasonCode.CORRUPT, "the deflated dataset is damaged") from error
    except PARSE_ERRORS as error:
        raise Unreadable(ReasonCode.CORRUPT, "the DICOM data elements are damaged") from error


def read_meta(stream: BinaryIO) -> tuple[FileMetaDataset, bytes]:
    """Parse the file meta information (group 0002) that ``stream`` is at; also what follows it.

    May raise any of PARSE_ERRORS.
    """
    meta = read_elements(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    return FileMetaDataset(meta), stream.read()


class _ElementCount:
    """A ``stop_when`` of pydicom's readers: stops behind a tag, and refuses what has no end."""

    def __init__(self, last: int | None) -> None:
        self.count = 0
        self._last = last

    def __call__(self, tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if self._last is not None and tag > self._last:
            return True
        self.count += 1
        if self.count > _MOST_ELEMENTS:
            raise Unreadable(
                ReasonCode.CORRUPT, f"the header has more than {_MOST_ELEMENTS} data elements"
            )
        return False


def _check_items(data: bytes) -> None:
    """Refuse a header of so many sequence items that pydicom would be busy for minutes."""
    end = next((at for tag in PIXEL_DATA_TAGS if (at := data.find(tag)) >= 0), len(data))
    if max(data.count(tag, 0, end) for tag in _ITEM_TAGS) > _MOST_ITEMS:
        raise Unreadable(
            ReasonCode.CORRUPT, f"the header has more than {_MOST_ITEMS} sequence items"
        )


def _read_deflated(
    data: bytes, limits: Limits, tags: list[BaseTag | int], last: int | None
) -> Dataset | None:
    """Read a file in the deflated transfer syntax (PS3.5 A.5); None if it is in another.

    pydicom inflates without a bound: a few hundred kB could fill the memory.
    """
    start = _PREAMBLE_BYTES + 4 if data.startswith(_PREFIX, _PREAMBLE_BYTES) else 0
    if DeflatedExplicitVRLittleEndian.encode() not in data[start : start + _NEAR_BYTES]:
        return None
    stream = io.BytesIO(data)
    stream.seek(start)
    file_meta, packed = read_meta(stream)
    if file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(packed, limits.max_bytes)
    if inflater.unconsumed_tail:
        raise Unreadable(
            ReasonCode.DECOMPRESSION_BOMB,
            f"the deflated dataset has more than {limits.max_bytes} bytes",
        )
    if not inflater.eof:
        raise Unreadable(ReasonCode.TRUNCATED, "the deflated dataset ends too early")
    _check_items(inflated)
    dataset = read_elements(
        io.BytesIO(inflated), False, True, stop_when=_ElementCount(last), specific_tags=tags
    )
    file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = file_meta
    return dataset


def value(dataset: Dataset, keyword: str) -> Any:
    """Return the value of an element, or None if it is absent, empty or cannot be converted."""
    try:
        found = dataset.get(keyword)
    except PARSE_ERRORS:
        return None
    if found is None or (isinstance(found, (str, bytes)) and not found):
        return None
    return found


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """Return all values of an element: none, one or several."""
    found = value(dataset, keyword)
    if isinstance(found, Sequence) and not isinstance(found, (str, bytes)):
        return list(found)
    return [] if found is None else [found]


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric element as a finite float, or None."""
    try:
        result = float(values(dataset, keyword)[0])
    except (IndexError, TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of a numeric element as an int, or None."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none if it is absent or damaged."""
    try:
        return [item for item in values(dataset, keyword) if isinstance(item, Dataset)]
    except PARSE_ERRORS:
        return []
