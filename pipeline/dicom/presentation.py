"""The grayscale pipeline: stored pixel values -> the grey levels of a display.

PS3.4 N.2: modality transformation, then VOI transformation, then presentation. Each formula is
applied to a ramp of all possible words, not to the image; see ``pipeline.grayscale``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from pipeline import grayscale
from pipeline.dicom.pixels import StoredPixels
from pipeline.dicom.read import PARSE_ERRORS, items, number, value, whole
from pipeline.dicom.tables import read_palette, read_table
from pipeline.reasons import ReasonCode, Unreadable

# A window or VOI LUT that leaves fewer than this share of the pixels between black and white
# belongs to another image (a default of 128/256 on 12-bit data, for example) and is ignored.
_LEAST_GREY_SHARE: Final = 0.01

_MOST_SEGMENTED_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class _Ramp:
    """What every possible word stands for: one entry for each, in the order of the words."""

    modality: NDArray[np.float64]  # the output of the modality transformation
    full: tuple[float, float]  # the range of that which the depth allows
    is_padding: NDArray[np.bool_]
    counts: NDArray[np.int64]  # how often the image has the word, padding not counted


def to_grey(pixels: StoredPixels, dataset: Dataset) -> tuple[NDArray[np.uint8], str]:
    """Return the image as displayed, uint8 of shape (rows, columns), and where its range is from.

    The second value is ``voi_lut``, ``window``, ``range`` (by ``grayscale.display_range``),
    ``palette`` or ``colour``. Raises Unreadable: corrupt, unsupported_pixels.
    """
    if pixels.words.ndim == 3:
        return _luma(pixels), "colour"
    if pixels.photometric_interpretation in ("PALETTE COLOR", "PALETTE_COLOR"):
        return grayscale.look_up(_palette_levels(pixels, dataset), pixels.words), "palette"
    if pixels.photometric_interpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise Unreadable(
            ReasonCode.UNSUPPORTED_PIXELS, "pixels in this photometric interpretation are not read"
        )
    ramp = _ramp(pixels, dataset)
    shares, source = _voi(ramp, dataset)
    if _is_inverted(pixels, dataset):
        shares = 1 - shares
    levels = grayscale.to_levels(shares)
    levels[ramp.is_padding] = 0
    return grayscale.look_up(levels, pixels.words), source


def _luma(pixels: StoredPixels) -> NDArray[np.uint8]:
    to_8_bits = np.right_shift(pixels.words, max(0, pixels.bits - 8))
    rgb = np.ascontiguousarray(to_8_bits, np.uint8)
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _is_inverted(pixels: StoredPixels, dataset: Dataset) -> bool:
    # PS3.3 C.11.6.1.2: a Presentation LUT Shape of INVERSE means the same as MONOCHROME1, and DX
    # images carry both, so they are not applied one after the other.
    shape = str(value(dataset, "PresentationLUTShape") or "").strip().upper()  # (2050,0020)
    return pixels.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"


def _stored_values(pixels: StoredPixels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every possible word and the sample that it holds."""
    words = np.arange(1 << (8 * pixels.words.dtype.itemsize), dtype=np.int64)
    samples = (words >> pixels.shift) & ((1 << pixels.bits) - 1)
    if pixels.is_signed:
        samples -= (samples >> (pixels.bits - 1)) << pixels.bits
    return words, samples


def _ramp(pixels: StoredPixels, dataset: Dataset) -> _Ramp:
    words, samples = _stored_values(pixels)
    modality, full = _modality(samples.astype(np.float64), dataset)
    counts = grayscale.histogram(pixels.words, words.size)
    is_padding = _is_padding(words, samples, dataset)
    if not counts[~is_padding].any():  # an image that is nothing but padding is shown as it is
        is_padding = np.zeros_like(is_padding)
    return _Ramp(modality, full, is_padding, np.where(is_padding, 0, counts))


def _is_padding(
    words: NDArray[np.int64], samples: NDArray[np.int64], dataset: Dataset
) -> NDArray[np.bool_]:
    """Return, for every possible word, whether it pads the image (PS3.3 C.7.5.1.1.2)."""
    padding = np.zeros(words.size, np.bool_)
    first = whole(dataset, "PixelPaddingValue")  # (0028,0120)
    limit = whole(dataset, "PixelPaddingRangeLimit")  # (0028,0121)
    if first is not None and limit is None:
        # Also compared as a whole word: -2000 or 63536 in a 12-bit image is outside its samples.
        padding |= (samples == first) | (words == first % words.size)
    elif first is not None and limit is not None:
        padding |= (samples >= min(first, limit)) & (samples <= max(first, limit))
    return padding


def _modality(
    stored: NDArray[np.float64], dataset: Dataset
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Apply the Modality LUT (PS3.3 C.11.1.1): a table, or slope and intercept, or nothing."""
    for item in items(dataset, "ModalityLUTSequence")[:1]:  # (0028,3000)
        table = read_table(item, _is_little_endian(dataset))
        return table.apply(stored), (0.0, float((1 << table.bits) - 1))
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    modality = stored * (slope or 1.0) + (intercept or 0.0)  # (0028,1053), (0028,1052)
    return modality, (float(modality.min()), float(modality.max()))


def _voi(ramp: _Ramp, dataset: Dataset) -> tuple[NDArray[np.float64], str]:
    """Map modality values to [0, 1] by the first VOI LUT, else the first window, else the range."""
    for item in items(dataset, "VOILUTSequence")[:1]:  # (0028,3010)
        by_table = _by_voi_table(ramp, item, _is_little_endian(dataset))
        if by_table is not None and _is_usable(by_table, ramp.counts):
            return by_table, "voi_lut"
    by_window = _by_window(ramp.modality, dataset)
    if by_window is not None and _is_usable(by_window, ramp.counts):
        return by_window, "window"
    low, high = grayscale.display_range(ramp.modality, ramp.counts, ramp.full)
    return grayscale.scale(ramp.modality, low, high), "range"


def _is_usable(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
    is_grey = (shares > 0) & (shares < 1)
    return bool(counts[is_grey].sum() >= _LEAST_GREY_SHARE * counts.sum())


def _by_voi_table(ramp: _Ramp, item: Dataset, is_little_endian: bool) -> NDArray[np.float64] | None:
    """Apply a VOI LUT (PS3.3 C.11.2.1.1), or return None if it is damaged."""
    try:
        table = read_table(item, is_little_endian)
    except Unreadable:  # it would only have chosen the contrast; a modality LUT says what is what
        return None
    # The descriptor's depth is the output's, but writers give 16 for the container: an output
    # that stays in the lowest quarter of it is taken for one of the depth that holds it.
    bits = min(table.bits, grayscale.depth_in_use(int(table.entries.max())))
    return np.clip(table.apply(ramp.modality) / ((1 << bits) - 1), 0.0, 1.0)


def _by_window(modality: NDArray[np.float64], dataset: Dataset) -> NDArray[np.float64] | None:
    """Apply the first window (PS3.3 C.11.2.1.2), or return None if there is no valid one."""
    center = number(dataset, "WindowCenter")  # (0028,1050)
    width = number(dataset, "WindowWidth")  # (0028,1051)
    if center is None or width is None or width <= 0:
        return None
    function = str(value(dataset, "VOILUTFunction") or "LINEAR").strip().upper()  # (0028,1056)
    if function == "SIGMOID":  # C.11.2.1.3.1
        return 1 / (1 + np.exp(np.clip(-4 * (modality - center) / width, -50, 50)))
    if function == "LINEAR_EXACT":  # C.11.2.1.3.2
        return np.clip((modality - center) / width + 0.5, 0.0, 1.0)
    if width < 1:
        return None
    if width == 1:  # C.11.2.1.2.1: a threshold
        return (modality > center - 0.5).astype(np.float64)
    return np.clip((modality - (center - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def _palette_levels(pixels: StoredPixels, dataset: Dataset) -> NDArray[np.uint8]:
    """Return the luma of every possible word through the palette (PS3.3 C.7.6.3.1.5)."""
    words, samples = _stored_values(pixels)
    if value(dataset, "RedPaletteColorLookupTableData") is None:
        rgb = _segmented_palette(samples, dataset)
    else:
        is_little_endian = _is_little_endian(dataset)
        tables = [read_palette(dataset, c, is_little_endian) for c in ("Red", "Green", "Blue")]
        columns = [
            table.apply(samples.astype(np.float64)) * 255 / ((1 << table.bits) - 1)
            for table in tables
        ]
        rgb = np.clip(np.rint(np.stack(columns, axis=-1)), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(rgb.reshape(1, words.size, 3)).convert("L")).ravel()


def _segmented_palette(samples: NDArray[np.int64], dataset: Dataset) -> NDArray[np.uint8]:
    size = len(value(dataset, "SegmentedRedPaletteColorLookupTableData") or b"")  # (0028,1221)
    if not 0 < size <= _MOST_SEGMENTED_BYTES:
        raise Unreadable(ReasonCode.CORRUPT, "the palette is missing or too long")
    try:
        rgb = apply_color_lut(samples, dataset)[..., :3]
    except PARSE_ERRORS as error:
        raise Unreadable(ReasonCode.CORRUPT, "the palette is damaged") from error
    return (rgb >> (8 * (rgb.dtype.itemsize - 1))).astype(np.uint8)


def _is_little_endian(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is not False
