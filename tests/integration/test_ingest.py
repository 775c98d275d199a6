"""The one door, on real storage, a real broker and a real database; and what `verify` sees."""

import io
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from pipeline import db, ingest
from pipeline.context import Context
from pipeline.ingest import Accepted, NoRoom, Source, accept, sources_of
from pipeline.reasons import ReasonCode
from pipeline.records import intake, results
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.storage import ObjectRef
from pipeline.tables import images
from pipeline.verify import violations


@pytest.fixture
def context(settings: Settings) -> Context:
    # A machine that is busy with other tests must not look like a dead broker.
    context = Context.open(settings.model_copy(update={"publish_timeout_s": 60.0}))
    context.store.ensure_bucket()
    return context


@pytest.fixture
def job(context: Context) -> str:
    return intake.open_job(context.engine, "test", Priority.ROUTINE)


def png(seed: int, side_px: int = 32) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side_px, side_px), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def source(name: str, data: bytes, key: str | None = None) -> Source:
    return Source(name, partial(io.BytesIO, data), key)


def originals(context: Context, answers: list[Accepted]) -> list[ObjectRef]:
    found = [results.image(context.engine, answer.image_id) for answer in answers]
    return [ObjectRef.parse(view.row["original"]) for view in found if view is not None]


def test_bytes_are_safe_and_announced_when_the_answer_is_given(context: Context, job: str) -> None:
    data = [png(seed) for seed in range(3)]
    answers = list(accept(context, job, [source(f"{n}.png", d) for n, d in enumerate(data)]))
    assert [answer.state for answer in answers] == [State.RECEIVED] * 3
    refs = originals(context, answers)
    assert [context.store.get(ref) for ref in refs] == data
    assert context.dispatcher.depth("prepare", Priority.ROUTINE) == 1
    assert results.unsent(context.engine) == 0


def test_small_files_of_a_chunk_share_an_object_and_a_large_one_has_its_own(
    context: Context, job: str
) -> None:
    large = png(9, side_px=600)
    assert len(large) > ingest.SMALL
    files = [png(1), large, png(2)]
    first, big, last = originals(
        context, list(accept(context, job, [source("x", f) for f in files]))
    )
    assert first.key == last.key != big.key
    assert (big.offset, big.length) == (0, len(large))


def test_the_same_bytes_are_stored_once_and_answered_twice(context: Context, job: str) -> None:
    twice = [source("a.png", png(1)), source("b.png", png(1))]
    answers = [*accept(context, job, twice), *accept(context, job, [source("c.png", png(1))])]
    assert len({answer.image_id for answer in answers}) == 3
    assert len(set(originals(context, answers))) == 1
    assert len(list(context.store.keys("originals"))) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ReasonCode.EMPTY_FILE),
        (b"just words, for a while\n" * 20, ReasonCode.UNSUPPORTED_FORMAT),
        (png(1, side_px=64) + b"\0" * 10_000, ReasonCode.TOO_MANY_BYTES),
    ],
)
def test_a_file_refused_at_the_door_has_a_row_with_the_reason(
    context: Context, job: str, data: bytes, code: ReasonCode
) -> None:
    small = context.settings.model_copy(update={"max_file_bytes": 10_000})
    (answer,) = accept(replace(context, settings=small), job, [source("bad", data)])
    assert (answer.state, answer.reason_code) == (State.REJECTED, code)
    view = results.job(context.engine, job)
    assert view is not None
    assert view.counts == {State.REJECTED: 1}


def test_a_file_that_is_gone_has_a_row_too(context: Context, job: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    (answer,) = accept(context, job, sources_of("gone.png", _opener(gone)))
    assert answer.reason_code == ReasonCode.UNREADABLE_PATH
    assert str(tmp_path) not in (answer.reason or "")


def test_a_zip_is_its_members_and_a_bad_zip_is_one_refusal(
    context: Context, job: str, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    with zipfile.ZipFile(good, "w") as archive:
        archive.writestr("one.png", png(1))
        archive.writestr("two.png", png(2))
    bad.write_bytes(good.read_bytes()[:60])
    answers = [
        answer
        for path in (good, bad)
        for answer in accept(context, job, sources_of(path.name, _opener(path)))
    ]
    assert [answer.name for answer in answers] == [
        "good.zip/one.png",
        "good.zip/two.png",
        "bad.zip",
    ]
    assert answers[-1].reason_code == ReasonCode.CORRUPT_ARCHIVE


def test_a_key_that_the_job_has_gets_no_second_row(context: Context, job: str) -> None:
    assert len(list(accept(context, job, [source("a.png", png(1), "a.png")]))) == 1
    assert list(accept(context, job, [source("a.png", png(1), "a.png")])) == []


def test_a_full_disk_refuses_before_anything_is_taken(context: Context, job: str) -> None:
    full = context.settings.model_copy(update={"disk_watermark_bytes": 2**62})
    with pytest.raises(NoRoom):
        list(accept(replace(context, settings=full), job, [source("a.png", png(1))]))
    view = results.job(context.engine, job)
    assert view is not None
    assert view.total == 0


def test_verify_names_an_object_that_is_gone_and_a_row_that_contradicts_itself(
    context: Context, job: str
) -> None:
    first, second = accept(context, job, [source("a.png", png(1)), source("b.png", png(2))])
    assert list(violations(context)) == []
    assert {found.promise for found in violations(context, settled=True)} == {"I1"}
    (key,) = context.store.keys("originals")
    context.store.delete(key)
    broken = {"state": State.DONE.value}
    query = update(images).where(images.c.id == first.image_id).values(**broken)
    db.write(context.engine, lambda connection: connection.execute(query))
    found = {(violation.promise, violation.where) for violation in violations(context)}
    assert {("I4", first.image_id), ("I4", second.image_id), ("I1", first.image_id)} <= found


def _opener(path: Path) -> Callable[[], BinaryIO]:
    return lambda: os.fdopen(os.open(path, os.O_RDONLY), "rb")
