"""From stored numbers to the 256 grey levels of a display.

Every array of words is mapped through a table with one entry for each possible word, so that
modality, window, padding and inversion cost one pass over the image whatever their formulas.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Of the pixels, how many the robust window leaves out at each end, and the share of the full
# range that the rest must span for the full range to be used as it is.
_TAIL: Final = 0.005
_WELL_USED: Final = 0.5

_DEPTHS: Final = (8, 10, 12, 14, 16)
_HISTOGRAM_PIXELS: Final = 250_000
_ROWS_PER_BLOCK: Final = 64


def look_up(table: NDArray[np.uint8], words: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Map each word through ``table``, which has an entry for every value of the words' dtype."""
    grey = np.empty(words.shape, np.uint8)
    # numpy widens the indices to 64 bits: in blocks, the copy stays in the cache (three times as
    # fast as table[words]). mode="clip" skips a bounds check that the dtype makes needless.
    for start in range(0, words.shape[0], _ROWS_PER_BLOCK):
        block = slice(start, start + _ROWS_PER_BLOCK)
        np.take(table, words[block], out=grey[block], mode="clip")
    return grey


def histogram(words: NDArray[np.unsignedinteger], length: int) -> NDArray[np.int64]:
    """Count each word on a regular grid of about a quarter of a million pixels of a 2-D image."""
    step = max(1, int((words.size / _HISTOGRAM_PIXELS) ** 0.5))
    return np.bincount(words[::step, ::step].ravel(), minlength=length).astype(np.int64)


def depth_in_use(greatest: int) -> int:
    """Bits of the shallowest usual detector depth (8, 10, 12, 14, 16) that holds ``greatest``.

    PNG and TIFF say that a sample has 16 bits, not how many of them the detector filled.
    """
    return next((bits for bits in _DEPTHS if greatest < 1 << bits), _DEPTHS[-1])


def display_range(
    values: NDArray[np.float64], counts: NDArray[np.int64], full: tuple[float, float]
) -> tuple[float, float]:
    """Choose the values shown as black and as white where the file names no window.

    ``values[i]`` occurs ``counts[i]`` times; ``full`` is the range the depth allows. An image
    whose middle 99 % of pixels spans at least half of the full range is shown in the full range,
    so nothing is stretched and the versions of one image in 8, 10, 12 and 16 bits look alike,
    an 8-bit PNG included. Any other image uses too little of its depth to be read (12 bits in a
    16-bit file, raw detector counts, one burnt-in marker at the maximum): it is shown between its
    0.5 and 99.5 percentiles, as viewers do, or between its extremes if those coincide.
    """
    used = np.flatnonzero(counts)
    used = used[np.argsort(values[used], kind="stable")]
    ranked = values[used]
    tail = _TAIL * counts[used].sum()
    # Both ends are counted from outside, so that an inverted image gets the inverted range.
    low = ranked[np.searchsorted(np.cumsum(counts[used]), tail)]
    high = ranked[::-1][np.searchsorted(np.cumsum(counts[used][::-1]), tail)]
    if high <= low:
        low, high = ranked[0], ranked[-1]
    if high <= low or high - low >= _WELL_USED * (full[1] - full[0]):
        return full
    return float(low), float(high)


def scale(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Map [low, high] to [0, 1], clipped."""
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def to_levels(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map [0, 1] to the grey levels 0..255, to the nearest."""
    return np.rint(shares * 255.0).astype(np.uint8)
