"""Images that kill, hang or bloat the decoder, and images that the model can't stand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.records.results import ImageView
from pipeline.states import State
from tests.faults.conftest import NewPlant
from tests.faults.pictures import blob, picture
from tests.faults.plant import Plant
from tests.stand_in.poison import CRASH

pytestmark = pytest.mark.faults

DEADLY = ("segfault", "loop", "memory", "exit")


def test_poison_kills_its_own_child_only_and_ends_alone_in_quarantine(plant: Plant) -> None:
    main = plant.workers["prepare"].pid
    job = plant.open_job()
    bad = [blob(word, picture(4000 + at, word)) for at, word in enumerate(DEADLY)]
    poison = {}
    for at, file in enumerate(bad):  # each in one chunk with seven good images
        plant.submit(range(at * 7, at * 7 + 3), job)
        (poisoned,) = plant.take([file], job)
        poison[file.name] = poisoned.image_id
        plant.submit(range(at * 7 + 3, at * 7 + 7), job)
    plant.over()
    plant.settle("poison: " + ", ".join(DEADLY), quarantined=len(DEADLY))
    assert plant.workers["prepare"].pid == main, "only children died"
    views = plant.views()
    for image_id in poison.values():
        _is_quarantined(views[image_id], "prepare")
    assert "memory" in views[poison["memory"]].row["reason"]
    assert views[poison["segfault"]].row["reason_code"] == "worker_lost"


def _is_quarantined(view: ImageView, stage: str) -> None:
    row = view.row
    assert (row["state"], row["attempts"], row["stopped_at"]) == (State.QUARANTINED, 3, stage)
    assert row["reason"].startswith("3 attempts failed: ")


def test_bytes_that_are_no_image_are_rejected_with_their_reason(plant: Plant) -> None:
    good = picture(1)
    wanted = {
        "empty": (b"", "empty_file"),
        "text": (b"no image at all", "unsupported_format"),
        "truncated": (good[: len(good) // 2], "truncated"),
        "damaged": (good[:60] + bytes(200) + good[260:], "corrupt"),
        "bomb": (_bomb(), "decompression_bomb"),
        "tiny": (_flat(0, 4), "too_small"),
    }
    job = plant.open_job()
    files = [blob(name, data) for name, (data, _) in wanted.items()]
    taken = {item.image_id: item.name for item in plant.take(files, job)}
    plant.submit(range(12), job)
    plant.over()
    plant.settle("poison: empty, truncated, damaged, bomb")
    views = plant.views()
    codes = {name: views[image_id].row["reason_code"] for image_id, name in taken.items()}
    assert codes == {name: code for name, (_, code) in wanted.items()}


def test_an_image_that_the_model_cannot_stand_fails_alone(new_plant: NewPlant) -> None:
    """One is refused by itself; one makes the forward pass of its whole batch fail."""
    plant = new_plant()
    plant.staff()
    plant.ready()
    job = plant.open_job()
    files = [blob("white", _flat(255)), blob("black", _flat(0))]
    bad = []
    for at, file in enumerate(files):
        plant.submit(range(at * 7, at * 7 + 7), job)
        bad += [item.image_id for item in plant.take([file], job)]
    plant.over()
    plant.settle("poison: in a model's batch", quarantined=len(files))
    views = plant.views()
    for image_id in bad:
        _is_quarantined(views[image_id], "gate")
    assert "a white image" in views[bad[0]].row["reason"]


def test_an_image_that_crashes_the_model_takes_nobody_with_it(new_plant: NewPlant) -> None:
    """The process with the models dies each time; whoever else was in its hand goes on."""
    plant = new_plant()
    plant.staff(slow_s=0.1)
    plant.ready()
    job = plant.open_job()
    plant.submit(range(12), job)
    (crash,) = plant.take([blob("crash", _flat(CRASH))], job)
    plant.submit(range(12, 40), job)
    plant.over()
    plant.settle("poison: the model's process dies", quarantined=1)
    _is_quarantined(plant.views()[crash.image_id], "gate")
    assert plant.workers["gate"].starts > 3


def _flat(gray: int, side_px: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side_px, side_px), gray, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in a few hundred bytes."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
