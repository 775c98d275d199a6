"""How large an input may be before it is refused."""

from dataclasses import dataclass
from typing import Final

from pipeline.reasons import ReasonCode, Unreadable

# Pillow's own default for Image.MAX_IMAGE_PIXELS (a quarter of a GiB of 24-bit pixels), written
# out so that a change elsewhere in the process can never raise it.
PILLOW_MAX_IMAGE_PIXELS: Final = 1024 * 1024 * 1024 // 4 // 3

# Above this many pixels per byte of file an oversized image is called a bomb, not just large.
_BOMB_PIXELS_PER_BYTE: Final = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one image file. Lengths in bytes and pixels."""

    max_bytes: int = 256 * 1024 * 1024
    max_pixels: int = PILLOW_MAX_IMAGE_PIXELS
    prepared_px: int = 512
    min_px: int = 16

    def check_bytes(self, size_bytes: int) -> None:
        """Raise Unreadable (empty_file, too_many_bytes) for a file of that size."""
        if size_bytes == 0:
            raise Unreadable(ReasonCode.EMPTY_FILE, "the file is empty")
        if size_bytes > self.max_bytes:
            raise Unreadable(
                ReasonCode.TOO_MANY_BYTES,
                f"the file has {size_bytes} bytes, the limit is {self.max_bytes}",
            )

    def check_pixels(self, width_px: int, height_px: int, size_bytes: int) -> None:
        """Raise Unreadable (too_small, too_large, decompression_bomb), before anything is decoded.

        ``size_bytes`` is the size of the file that claims to hold so many pixels.
        """
        if min(width_px, height_px) < self.min_px:
            raise Unreadable(
                ReasonCode.TOO_SMALL,
                f"the image is {width_px} x {height_px} pixels, "
                f"the least is {self.min_px} on each side",
            )
        pixels = width_px * height_px
        if pixels <= self.max_pixels:
            return
        is_bomb = pixels > _BOMB_PIXELS_PER_BYTE * size_bytes
        raise Unreadable(
            ReasonCode.DECOMPRESSION_BOMB if is_bomb else ReasonCode.TOO_LARGE,
            f"{size_bytes} bytes claim {width_px} x {height_px} pixels, "
            f"the limit is {self.max_pixels} pixels in all",
        )


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds for one zip archive. ``max_ratio`` is unpacked bytes over packed bytes."""

    max_member_bytes: int = 256 * 1024 * 1024
    max_members: int = 100_000
    max_total_bytes: int = 64 * 1024 * 1024 * 1024
    max_ratio: int = 200
