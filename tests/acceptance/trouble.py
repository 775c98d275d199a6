"""A folder of everything that goes wrong in archives, and what each file must end as."""

import struct
import zipfile
import zlib
from pathlib import Path

from PIL import Image


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


def build(folder: Path, good: Path) -> dict[str, str]:
    """Fill `folder`; returns path -> reason code, or "" for a good file with a bad name."""
    folder.mkdir(parents=True)
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("not an image\n")
    (folder / "half.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    half_png = folder / "half.png"
    Image.effect_noise((200, 200), 60).save(half_png)
    half_png.write_bytes(half_png.read_bytes()[:4000])
    Image.new("L", (1, 1)).save(folder / "one-pixel.png")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "wrong-extension.dcm").write_bytes(good.read_bytes())
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    with zipfile.ZipFile(folder / "slip.zip", "w") as archive:
        archive.writestr("../../outside.jpg", good.read_bytes())
        archive.write(good, "inside.jpg")
    return {
        "empty.png": "empty_file",
        "notes.txt": "unsupported_format",
        "half.jpg": "truncated",
        "half.png": "truncated",
        "one-pixel.png": "too_small",
        "bomb.png": "decompression_bomb",
        "wrong-extension.dcm": "",
        "slip.zip/inside.jpg": "",
        "slip.zip/../../outside.jpg": "unsafe_member_name",
    }
