"""Multipart bodies on their way to disk."""

import errno
import tracemalloc
from collections.abc import Iterator
from io import SEEK_CUR, SEEK_END
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.api import spool as module
from pipeline.api.problems import Kind, ProblemError
from pipeline.api.spool import Form, Spool
from pipeline.ingest import NoRoom
from pipeline.reasons import ReasonCode
from pipeline.settings import Settings

BOUNDARY = b"frontier"


@pytest.fixture
def spool(settings: Settings) -> Iterator[Spool]:
    """An empty spool."""
    spool = Spool(BOUNDARY, settings)
    yield spool
    spool.close()


def part(data: bytes, name: bytes | None = b"a.png", field: bytes = b"files") -> bytes:
    filename = b"" if name is None else b'; filename="' + name + b'"'
    disposition = b'Content-Disposition: form-data; name="' + field + b'"' + filename
    return b"--" + BOUNDARY + b"\r\n" + disposition + b"\r\n\r\n" + data + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def fed(spool: Spool, data: bytes, step: int | None = None) -> Form:
    step = step or len(data)
    for start in range(0, len(data), step):
        spool.feed(data[start : start + step])
    return spool.finish()


def contents(form: Form) -> list[bytes]:
    found = []
    for file in form.files:
        with file.open() as opened:
            found.append(opened.read())
    return found


@given(
    files=st.lists(st.binary(max_size=200), max_size=5),
    step=st.integers(min_value=1, max_value=400),
)
def test_files_come_out_as_they_went_in_however_the_body_is_cut(
    files: list[bytes], step: int
) -> None:
    spool = Spool(BOUNDARY, Settings())
    form = fed(spool, body(*(part(data) for data in files)), step)
    assert contents(form) == files
    spool.close()


def test_fields_stand_beside_files_in_any_order(spool: Spool) -> None:
    form = fed(spool, body(part(b"1"), part(b" stat ", None, b"priority"), part(b"22")), 7)
    assert form.fields == {"priority": "stat"}
    assert contents(form) == [b"1", b"22"]


def test_a_file_can_be_read_from_anywhere_and_twice(spool: Spool) -> None:
    form = fed(spool, body(part(b"before"), part(b"0123456789"), part(b"behind")))
    with form.files[1].open() as one, form.files[1].open() as other:
        assert one.seek(-3, SEEK_END) == 7
        assert one.read() == b"789"
        assert other.read(4) == b"0123"
        assert other.seek(1, SEEK_CUR) == 5
        assert (other.read(), other.tell(), other.read()) == (b"56789", 10, b"")
        with pytest.raises(ValueError, match="before the start"):
            other.seek(-1)


def test_a_file_over_the_limit_is_dropped_and_its_neighbours_stay(
    spool: Spool, settings: Settings
) -> None:
    large = b"x" * (settings.max_file_bytes + 1)
    form = fed(spool, body(part(b"left"), part(large), part(b"right")), 4096)
    assert contents(form) == [b"left", b"", b"right"]
    refusals = [file.refusal and file.refusal.code for file in form.files]
    assert refusals == [None, ReasonCode.TOO_MANY_BYTES, None]


def test_the_space_of_a_dropped_file_is_given_back(spool: Spool, settings: Settings) -> None:
    fed(spool, body(part(b"x" * (settings.max_file_bytes + 1))), 4096)
    assert Path(f"/proc/self/fd/{spool.fileno()}").stat().st_size < 4096


def test_a_zip_may_be_larger_than_one_file(spool: Spool, settings: Settings) -> None:
    archive = b"PK\x03\x04" + b"x" * settings.max_file_bytes
    form = fed(spool, body(part(archive)), 4096)
    assert form.files[0].refusal is None
    assert contents(form) == [archive]


def test_memory_does_not_grow_with_the_body(spool: Spool) -> None:
    block = b"x" * 2**18
    tracemalloc.start()
    try:
        for _ in range(16):
            spool.feed(part(b"PK\x03\x04")[:-2])
            for _ in range(4):
                spool.feed(block)
            spool.feed(b"\r\n")
        spool.feed(body())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(spool.finish().files) == 16
    assert peak < 4 * len(block)


def test_an_empty_file_input_of_a_page_is_no_file(spool: Spool) -> None:
    assert fed(spool, body(part(b"", b""))).files == ()


def test_an_empty_file_with_a_name_is_one(spool: Spool) -> None:
    assert contents(fed(spool, body(part(b"")))) == [b""]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"chest.png", "chest.png"),
        ("Thorax_Jürgen.png".encode(), "Thorax_Jürgen.png"),
        (b"M\xfcller.png", "Müller.png"),
        (b"a\x00b\x1b[31m.png", "ab[31m.png"),
        (b"", "unnamed"),
        (b"x" * 3000 + b".png", "x" * 1020 + ".png"),
        (b"../../etc/passwd", "../../etc/passwd"),
    ],
)
def test_names_are_kept_as_far_as_they_can_be_shown(spool: Spool, sent: bytes, shown: str) -> None:
    form = fed(spool, body(part(b"x", sent)))
    assert [file.name for file in form.files] == [shown]


def test_a_body_that_is_cut_short_is_no_form(spool: Spool) -> None:
    with pytest.raises(ProblemError) as caught:
        fed(spool, part(b"half a file"))
    assert caught.value.kind is Kind.MALFORMED


def test_bytes_that_are_no_multipart_are_refused(spool: Spool) -> None:
    with pytest.raises(ProblemError) as caught:
        spool.feed(b"\x89PNG, and no boundary anywhere")
    assert caught.value.kind is Kind.MALFORMED


def test_a_file_in_another_field_is_named(spool: Spool) -> None:
    with pytest.raises(ProblemError) as caught:
        spool.feed(body(part(b"x", field=b"image")))
    assert caught.value.kind is Kind.INVALID
    assert caught.value.members["errors"][0].field == "image"


def test_a_text_field_has_an_end(spool: Spool) -> None:
    with pytest.raises(ProblemError) as caught:
        spool.feed(body(part(b"x" * 2000, None, b"priority")))
    assert caught.value.members["errors"][0].field == "priority"


def test_one_file_too_many_ends_the_request(spool: Spool, settings: Settings) -> None:
    with pytest.raises(ProblemError) as caught:
        spool.feed(body(*[part(b"x")] * (settings.max_request_files + 1)))
    assert caught.value.kind is Kind.REQUEST_TOO_LARGE


def test_a_body_over_the_limit_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 10)
    with pytest.raises(ProblemError) as caught:
        spool.feed(body(part(b"x")))
    assert caught.value.kind is Kind.REQUEST_TOO_LARGE


def test_a_disk_that_fills_up_stops_the_upload(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCH_BYTES", 1)
    monkeypatch.setattr(module, "free_bytes", lambda _: -1)
    with pytest.raises(NoRoom):
        spool.feed(body(part(b"x")))


def test_a_full_disk_is_no_fault_of_the_software(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "WATCH_BYTES", 1)
    monkeypatch.setattr(module, "free_bytes", full)
    with pytest.raises(NoRoom):
        spool.feed(body(part(b"x")))
