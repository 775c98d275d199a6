"""Damaged files end in an image or a typed refusal, never in another exception or a hang.

``MUTATIONS`` is for every run of the tests; XRAYTRIAGE_FUZZ_MUTATIONS asks for more, and
XRAYTRIAGE_FUZZ_SEED for others.
"""

import contextlib
import io
import os
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from pipeline.archive import BadMember, Member, members
from pipeline.image import Decoded, Limits, Unreadable, decode
from pipeline.limits import ArchiveLimits

pytest_plugins = ("tests.unit.pipeline.image_samples",)

MUTATIONS = int(os.environ.get("XRAYTRIAGE_FUZZ_MUTATIONS", "2400"))
SEED = int(os.environ.get("XRAYTRIAGE_FUZZ_SEED", "20240607"))
MOST_SECONDS = 20  # for one file on a busy machine; the sandbox's own limit is stricter

# Small, so that a mutated size cannot make the run take long; the checks are the same.
LIMITS = Limits(max_bytes=4_000_000, max_pixels=2_000_000)

Seeds = dict[str, bytes]


@pytest.fixture(scope="module")
def seeds(make_dicom, stored, request) -> Seeds:
    grey = Image.fromarray(stored(8))
    colour = Image.fromarray(np.stack([stored(8), 255 - stored(8), stored(8) // 2], axis=-1))
    deep = Image.fromarray(stored(16))

    def saved(image: Image.Image, fmt: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, fmt, **options)
        return buffer.getvalue()

    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = np.arange(4096, dtype=np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    window = {"WindowCenter": ["1500", "2"], "WindowWidth": ["1800", "3"], "PixelPaddingValue": 5}
    found = {
        "png": saved(grey, "PNG"),
        "png16": saved(deep, "PNG"),
        "png-palette": saved(colour.convert("P"), "PNG", transparency=3),
        "jpeg": saved(colour, "JPEG", exif=Image.Exif()),
        "jpeg-progressive": saved(grey, "JPEG", progressive=True),
        "tiff": saved(deep, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": saved(colour, "TIFF", compression="tiff_deflate"),
        "webp": saved(colour, "WEBP"),
        "bmp": saved(grey, "BMP"),
        "jp2": saved(deep, "JPEG2000"),
        "dicom": make_dicom(stored(12), 12, VOILUTSequence=[table], **window),
        "dicom-implicit": make_dicom(stored(12), 12, syntax=ImplicitVRLittleEndian, **window),
        "dicom-big-endian": make_dicom(stored(12), 12, syntax=ExplicitVRBigEndian),
        "dicom-deflated": make_dicom(stored(12), 12, syntax=DeflatedExplicitVRLittleEndian),
        "dicom-rle": make_dicom(stored(12), 12, compress=RLELossless),
        "dicom-jpeg2000": make_dicom(stored(12), 12, compress=JPEG2000Lossless),
    }
    folder = request.path.parent / "data"
    return found | {file.stem: file.read_bytes() for file in sorted(folder.glob("jpeg_*.dcm"))}


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    start = 128 if data[128:132] == b"DICM" else 0
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(start, min(len(data), start + 900))] = rng.randrange(256)


def overwrite(data: bytearray, rng: random.Random) -> None:
    extreme = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"))
    at = rng.randrange(len(data))
    data[at : at + 4] = extreme


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 2, 7, 100))]


def repeat(data: bytearray, rng: random.Random) -> None:
    at, length = rng.randrange(len(data)), rng.choice((1, 8, 200))
    data[at:at] = data[at : at + length] * rng.choice((1, 3, 50))


MUTATORS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, flip_header, overwrite, cut, remove, repeat,
)  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2))):
        if changed:
            rng.choice(MUTATORS)(changed, rng)
    return bytes(changed)


def test_damaged_images_end_typed(seeds):
    rng = random.Random(SEED)
    outcomes: dict[str, int] = {}
    for number in range(MUTATIONS):
        name = list(seeds)[number % len(seeds)]
        data = mutated(seeds[name], rng)
        started = time.perf_counter()
        try:
            decoded = decode(data, LIMITS)
        except Unreadable as refused:
            outcome = refused.code.value
        else:
            outcome = "decoded"
            check(decoded)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        assert time.perf_counter() - started < MOST_SECONDS, (name, number)
    # The mutations are worth something: some files are still read, others are refused.
    assert outcomes["decoded"] > MUTATIONS // 20
    assert sum(outcomes.values()) - outcomes["decoded"] > MUTATIONS // 10


def check(decoded: Decoded) -> None:
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.ndim == 2
    assert min(decoded.pixels.shape) >= 1
    assert max(decoded.pixels.shape) <= LIMITS.prepared_px
    assert decoded.width_px * decoded.height_px <= LIMITS.max_pixels


def test_damaged_archives_end_typed(make_archive):
    rng = random.Random(SEED)
    seed = make_archive({"a.txt": b"abc" * 100, "b/c.txt": b"0123456789" * 50, "d": b""})
    limits = ArchiveLimits(max_member_bytes=100_000)
    for _ in range(MUTATIONS):
        with contextlib.suppress(Unreadable):
            found = list(members(io.BytesIO(mutated(seed, rng)), limits))
            assert all(isinstance(member, (Member, BadMember)) for member in found)
