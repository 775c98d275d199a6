"""The stored pixels of a DICOM image's first frame, decompressed but not yet interpreted."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import encaps, uid
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from pipeline import codestream
from pipeline.codestream import Codestream, Coding
from pipeline.dicom.layout import Layout, read_layout
from pipeline.dicom.read import PARSE_ERRORS, value, whole
from pipeline.limits import Limits
from pipeline.reasons import ReasonCode, Unreadable

# What pydicom's decoders and encapsulation functions raise for damaged pixel data: RuntimeError
# stands for the errors of all codecs, which pydicom catches.
_CODEC_ERRORS: Final = (*PARSE_ERRORS, RuntimeError)

_ITEM_TAG: Final = b"\xfe\xff\x00\xe0"  # (FFFE,E000), little endian: encapsulated data start so

_SHORTEST_FRAME_BYTES: Final = 4

# The transfer syntax by what the codestream is; headers lie, and codecs are chosen by them.
_SYNTAX_OF_CODING: Final = {
    Coding.JPEG_BASELINE: uid.JPEGBaseline8Bit,
    Coding.JPEG_EXTENDED: uid.JPEGExtended12Bit,
    Coding.JPEG_PROGRESSIVE: uid.JPEGExtended12Bit,
    Coding.JPEG_LOSSLESS: uid.JPEGLossless,
    Coding.JPEG_LS: uid.JPEGLSLossless,
    Coding.JPEG_2000: uid.JPEG2000,
}
# Transfer syntaxes that are kept where the codestream is of their family.
_FAMILIES: Final = {
    Coding.JPEG_LS: (uid.JPEGLSLossless, uid.JPEGLSNearLossless),
    Coding.JPEG_2000: (
        *(uid.JPEG2000, uid.JPEG2000Lossless),
        *(uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL),
    ),
}
_WITH_CODESTREAM: Final = (
    *uid.JPEGTransferSyntaxes,
    *uid.JPEGLSTransferSyntaxes,
    *uid.JPEG2000TransferSyntaxes,
)


@dataclass(frozen=True, slots=True, eq=False)
class StoredPixels:
    """The words of one frame: unsigned, of shape (rows, columns), or (rows, columns, 3) for RGB.

    A sample is the ``bits`` bits above the lowest ``shift`` bits of its word, in two's complement
    if ``is_signed`` (PS3.5 8.1.1); the other bits mean nothing.
    """

    words: NDArray[np.unsignedinteger]
    bits: int
    shift: int
    is_signed: bool
    photometric_interpretation: str


def stored_pixels(dataset: Dataset, limits: Limits) -> StoredPixels:
    """Decode the first frame.

    Raises Unreadable: no_pixels, truncated, corrupt, too_small, too_large, decompression_bomb,
    unsupported_transfer_syntax, unsupported_pixels.
    """
    data = value(dataset, "PixelData")
    if not isinstance(data, bytes):
        raise Unreadable(ReasonCode.NO_PIXELS, "the DICOM object has no pixel data")
    declared = _declared_syntax(dataset)
    if _is_encapsulated(dataset, data, declared):
        frame = _first_frame(dataset, data)
        stream = codestream.inspect(frame)
        syntax = _actual_syntax(declared, stream)
        layout = read_layout(dataset, stream)
        limits.check_pixels(layout.columns, layout.rows, len(data))
        data = encaps.encapsulate([frame])
    else:
        syntax = _native_syntax(dataset, declared)
        layout = read_layout(dataset, None)
        limits.check_pixels(layout.columns, layout.rows, len(data))
        data, layout = _first_native_frame(data, layout)
    words, photometric_interpretation = _decode(syntax, data, layout, dataset["PixelData"].VR)
    return StoredPixels(
        words=words,
        bits=layout.bits,
        shift=layout.shift,
        is_signed=layout.pixel_representation == 1,
        photometric_interpretation=photometric_interpretation,
    )


def _declared_syntax(dataset: Dataset) -> uid.UID | None:
    file_meta = getattr(dataset, "file_meta", None)
    found = value(file_meta, "TransferSyntaxUID") if file_meta else None  # (0002,0010)
    syntax = uid.UID(str(found).strip()) if found else None
    return syntax if syntax and syntax.is_transfer_syntax else None


def _is_encapsulated(dataset: Dataset, data: bytes, declared: uid.UID | None) -> bool:
    # Native pixels might begin with the bytes of an item tag, but not in undefined length.
    if data[:4] != _ITEM_TAG:
        return False
    is_undefined_length = bool(dataset["PixelData"].is_undefined_length)
    return is_undefined_length or (declared is not None and declared.is_encapsulated)


def _native_syntax(dataset: Dataset, declared: uid.UID | None) -> uid.UID:
    if declared is not None and not declared.is_encapsulated:
        return declared
    _is_implicit, is_little_endian = dataset.original_encoding
    return uid.ExplicitVRBigEndian if is_little_endian is False else uid.ExplicitVRLittleEndian


def _actual_syntax(declared: uid.UID | None, stream: Codestream | None) -> uid.UID:
    """Choose the transfer syntax of encapsulated data: what the codestream is, if that is known."""
    if stream is None:
        if declared is None or not declared.is_encapsulated:
            raise Unreadable(
                ReasonCode.UNSUPPORTED_TRANSFER_SYNTAX,
                "the pixel data are compressed and the header does not say how",
            )
        if declared in _WITH_CODESTREAM:  # no codec is asked what cannot be checked before
            raise Unreadable(ReasonCode.CORRUPT, f"the pixel data are not {declared.name}")
        return declared
    if declared in _FAMILIES.get(stream.coding, ()):
        return declared
    if stream.coding not in _SYNTAX_OF_CODING:
        raise Unreadable(
            ReasonCode.UNSUPPORTED_TRANSFER_SYNTAX, f"{stream.coding.value} is not read"
        )
    return _SYNTAX_OF_CODING[stream.coding]


def _first_frame(dataset: Dataset, data: bytes) -> bytes:
    tables = (
        value(dataset, "ExtendedOffsetTable"),
        value(dataset, "ExtendedOffsetTableLengths"),
    )
    try:
        frame = encaps.get_frame(
            data,
            0,
            number_of_frames=max(1, whole(dataset, "NumberOfFrames") or 1),
            extended_offsets=tables if all(tables) else None,
        )
    except (*_CODEC_ERRORS, StopIteration) as error:
        raise Unreadable(
            ReasonCode.CORRUPT, "the frames of the compressed pixel data cannot be found"
        ) from error
    if len(frame) < _SHORTEST_FRAME_BYTES:
        raise Unreadable(ReasonCode.TRUNCATED, "the compressed pixel data are empty")
    return frame


def _first_native_frame(data: bytes, layout: Layout) -> tuple[bytes, Layout]:
    """Cut the first frame out of uncompressed pixel data, padded to an even length."""
    full = (layout.rows * layout.columns * layout.samples * layout.bits_allocated + 7) // 8
    length = full
    if layout.photometric_interpretation == "YBR_FULL_422":  # PS3.3 C.7.6.3.1.2: Y1 Y2 Cb Cr
        if len(data) >= full:  # not subsampled after all
            layout = replace(layout, photometric_interpretation="YBR_FULL")
        else:
            length = full // 3 * 2
    if len(data) < length:
        raise Unreadable(ReasonCode.TRUNCATED, f"the pixel data have {len(data)} of {length} bytes")
    return data[: length + length % 2], layout


def _options(syntax: uid.UID, layout: Layout, pixel_vr: str) -> dict[str, Any]:
    options = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits,
        "pixel_representation": layout.pixel_representation,
        "photometric_interpretation": layout.photometric_interpretation,
        "planar_configuration": layout.planar_configuration,
        "pixel_keyword": "PixelData",
        "pixel_vr": pixel_vr,
        "correct_unused_bits": False,  # Layout.shift does it, and knows of High Bit
    }
    if syntax == uid.RLELossless:
        # pydicom's own RLE decoder takes ten times as long, and has no bound on what it unpacks.
        return {**options, "decoding_plugin": "pylibjpeg"}
    # A view: the words are only read, and a copy of 15 MB costs as much as the look-up.
    return options if syntax.is_encapsulated else {**options, "view_only": True}


def _decode(
    syntax: uid.UID, data: bytes, layout: Layout, pixel_vr: str
) -> tuple[NDArray[np.unsignedinteger], str]:
    """Return the words of the only frame in ``data`` and their photometric interpretation."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise Unreadable(
            ReasonCode.UNSUPPORTED_TRANSFER_SYNTAX, f"transfer syntax {syntax.name} is not read"
        ) from error
    try:
        array, properties = decoder.as_array(data, index=0, **_options(syntax, layout, pixel_vr))
    except BaseException as error:
        # A panic of the RLE plugin, which is in Rust, derives from BaseException and nothing else;
        # its class cannot be imported. Anything unknown is passed on as it is.
        if not isinstance(error, _CODEC_ERRORS) and type(error).__name__ != "PanicException":
            raise
        raise Unreadable(
            ReasonCode.CORRUPT, f"the pixel data ({syntax.name}) are damaged"
        ) from error
    if array.dtype.byteorder not in ("=", "|"):
        array = array.astype(array.dtype.newbyteorder("="))
    words = array.view(f"u{array.dtype.itemsize}")
    return words, str(properties["photometric_interpretation"])
