"""A folder of everything that goes wrong in archives, and what each path must end as."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

from PIL import Image

OVER_LIMIT_BYTES = 256 * 2**20 + 1
"""One more than a file may have."""


def bomb(side_px: int = 40_000) -> bytes:
    """A valid PNG of side_px x side_px gray pixels, a few hundred kB of zeros."""
    packer = zlib.compressobj(9)
    row = b"\x00" * (side_px + 1)
    data = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


NO_TEXT = os.fsdecode(b"no-text-\xff.jpg")


def build(folder: Path, good: Path) -> dict[str, str]:
    """Fill `folder`; returns path as it is written -> reason code, "" for a good image."""
    folder.mkdir(parents=True)
    return _files(folder, good) | _zips(folder, good)


def _files(folder: Path, good: Path) -> dict[str, str]:
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not an image\n")
    (folder / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    half_png = folder / "half.png"
    Image.effect_noise((200, 200), 60).save(half_png)
    half_png.write_bytes(half_png.read_bytes()[:4000])
    Image.new("L", (1, 1)).save(folder / "one-pixel.png")
    (folder / "no-pixel.png").write_bytes(bomb(0))
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "huge.png").write_bytes(bomb(1))
    os.truncate(folder / "huge.png", OVER_LIMIT_BYTES)  # sparse: it takes no room on the disk
    (folder / NO_TEXT).write_bytes(good.read_bytes())
    (folder / "wrong-extension.dcm").write_bytes(good.read_bytes())
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    return {
        "empty.png": "empty_file",
        "notes.txt": "unsupported_format",
        "half.jpg": "truncated",
        "half.png": "truncated",
        "one-pixel.png": "too_small",
        "no-pixel.png": "corrupt",
        "bomb.png": "decompression_bomb",
        "huge.png": "too_many_bytes",
        "no-text-\\xff.jpg": "",
        "loop": "not_a_file",
        "nowhere.png": "unreadable_path",
        "wrong-extension.dcm": "",
    }


def _zips(folder: Path, good: Path) -> dict[str, str]:
    with zipfile.ZipFile(folder / "slip.zip", "w") as archive:
        archive.writestr("../../outside.jpg", good.read_bytes())
        archive.write(good, "inside.jpg")
    zipfile.ZipFile(folder / "empty.zip", "w").close()
    with zipfile.ZipFile(folder / "folders.zip", "w") as archive:
        archive.mkdir("ward")
    with zipfile.ZipFile(
        folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
    ) as archive:
        archive.writestr("zeros.png", bytes(8 * 2**20))
    with zipfile.ZipFile(folder / "locked.zip", "w") as archive:
        archive.write(good, "locked.jpg")
    _say_encrypted(folder / "locked.zip")
    return {
        "slip.zip/inside.jpg": "",
        "slip.zip/../../outside.jpg": "unsafe_member_name",
        "empty.zip": "empty_archive",
        "folders.zip": "empty_archive",
        "bomb.zip/zeros.png": "archive_bomb",
        "locked.zip/locked.jpg": "encrypted_archive",
    }


def _say_encrypted(path: Path) -> None:
    """Set bit 0 of the member's flags, in its header and in the directory; no library writes it."""
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(data)
