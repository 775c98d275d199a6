"""Zip archives: every file gets one answer, and nothing in them is believed."""

import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import zip_directory
from pipeline.archive import ArchiveLimits, BadMember, Member, is_zip, members
from pipeline.reasons import ReasonCode, Unreadable

pytest_plugins = ("tests.unit.pipeline.image_samples",)


def read(data: bytes, limits: ArchiveLimits | None = None) -> list[Member | BadMember]:
    return list(members(io.BytesIO(data), limits))


def only(data: bytes, limits: ArchiveLimits | None = None) -> Member | BadMember:
    (member,) = read(data, limits)
    return member


def bad(data: bytes, limits: ArchiveLimits | None = None) -> BadMember:
    member = only(data, limits)
    assert isinstance(member, BadMember)
    assert member.message
    return member


def refusal(data: bytes, limits: ArchiveLimits | None = None) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(data, limits)
    return caught.value


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_in_their_order_with_folders_left_out(method, make_archive):
    contents = {"b/": b"", "b/2.png": b"two" * 100, "a.dcm": b"one", "empty": b""}
    found = read(make_archive(contents, method))
    assert found == [
        Member("b/2.png", b"two" * 100),
        Member("a.dcm", b"one"),
        Member("empty", b""),
    ]


@given(
    contents=st.dictionaries(
        st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20),
        st.binary(max_size=300),
        min_size=1,
        max_size=6,
    ).filter(lambda contents: not all(map(is_zip, contents.values()))),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    comment=st.binary(max_size=40),
    prepended=st.binary(max_size=40),
)
def test_what_python_packs_is_unpacked(make_archive, contents, method, comment, prepended):
    contents = {name: data for name, data in contents.items() if not is_zip(data)}
    found = read(prepended + make_archive(contents, method, comment))
    assert {m.name: m.data for m in found if isinstance(m, Member)} == contents
    assert len(found) == len(contents)


def test_from_a_path_and_from_an_open_file(tmp_path, make_archive):
    path = tmp_path / "archive.zip"
    path.write_bytes(make_archive({"a": b"1"}))
    assert list(members(path)) == list(members(str(path))) == [Member("a", b"1")]
    with path.open("rb") as stream:
        assert list(members(stream)) == [Member("a", b"1")]
        assert not stream.closed


@pytest.mark.parametrize("contents", [{}, {"ward/": b"", "ward/left/": b""}])
def test_an_archive_without_a_file_is_refused_as_a_whole(make_archive, contents):
    assert refusal(make_archive(contents)).code == ReasonCode.EMPTY_ARCHIVE


def test_archives_are_known_by_their_bytes(make_archive):
    assert is_zip(make_archive({"a": b"1"}))
    assert is_zip(make_archive({}))
    assert not is_zip(b"PK")


def test_a_streamed_archive_and_zip64(tmp_path):
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.data += data
            return len(data)

    sink = Unseekable()
    with (
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("big.bin", "w", force_zip64=True) as member,
    ):
        member.write(b"streamed" * 1000)
    assert only(bytes(sink.data)) == Member("big.bin", b"streamed" * 1000)


def test_zip64_directory(make_archive):
    data = make_archive({"a.txt": b"hello"})
    at = data.rindex(b"PK\x05\x06")
    size, offset = struct.unpack_from("<2L", data, at + 12)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert only(data[:at] + end64 + locator + end) == Member("a.txt", b"hello")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "/etc/passwd",
        "C:\\evil.png",
        "c:evil.png",
        "..\\evil.png",
        "a/..",
        "\\\\server\\share\\evil.png",
    ],
)
def test_names_that_leave_their_folder_are_reported_not_followed(
    name, make_archive, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    placeholder = "x" * len(name)
    data = make_archive({placeholder: b"1"}).replace(placeholder.encode(), name.encode())
    assert bad(data).code is ReasonCode.UNSAFE_MEMBER_NAME
    assert list(tmp_path.iterdir()) == []


def test_a_name_with_a_null_byte(make_archive):
    data = make_archive({"ab.png": b"1"}).replace(b"ab.png", b"a\0.png")
    member = bad(data)
    assert member.code is ReasonCode.UNSAFE_MEMBER_NAME
    assert member.name == "a\\x00.png"


def test_dots_within_a_name_are_no_crime(make_archive):
    assert only(make_archive({"a..b/c...png": b"1"})) == Member("a..b/c...png", b"1")


def test_windows_folders(make_archive):
    data = make_archive({"dir/a.png": b"1"}).replace(b"dir/a.png", b"dir\\a.png")
    assert only(data) == Member("dir/a.png", b"1")


@pytest.mark.parametrize(
    ("raw", "is_flagged", "shown"),
    [
        (b"caf\xe9.png", True, "caf\\xe9.png"),  # says UTF-8 and is not
        (b"caf\x82.png", False, "café.png"),  # code page 437, as the format says
        (b"caf\xc3\xa9", False, "café"),  # UTF-8 without saying so, as many programs write
        (b"a\nb\x1b[1m", False, "a\\x0ab\\x1b[1m"),
    ],
)
def test_names_are_shown_whatever_their_bytes(raw, is_flagged, shown, make_archive):
    data = make_archive({"y" * len(raw): b"1"}).replace(b"y" * len(raw), raw)
    if is_flagged:
        directory = data.index(b"PK\x01\x02")
        data = data[: directory + 9] + b"\x08" + data[directory + 10 :]
    member = only(data)
    assert member == Member(shown, b"1")
    member.name.encode()


def test_an_encrypted_member_does_not_hide_the_others(make_archive):
    data = bytearray(make_archive({"locked": b"1", "open": b"2"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    locked, other = read(bytes(data))
    assert isinstance(locked, BadMember)
    assert locked.code is ReasonCode.ENCRYPTED_ARCHIVE
    assert other == Member("open", b"2")


def test_links_and_devices_are_no_files():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, kind in (("link", 0o120777), ("pipe", 0o010644)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, kind << 16
            archive.writestr(info, "/etc/passwd")
    found = read(buffer.getvalue())
    assert [m.code for m in found if isinstance(m, BadMember)] == [ReasonCode.NOT_A_FILE] * 2


def test_an_archive_inside_the_archive_is_refused(make_archive):
    inner = make_archive({"a": b"1"})
    outer = make_archive({"inner.zip": inner, "disguised.png": inner, "b": b"2"})
    found = read(outer)
    codes = [m.code for m in found if isinstance(m, BadMember)]
    assert codes == [ReasonCode.NESTED_ARCHIVE] * 2
    assert found[-1] == Member("b", b"2")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_methods_are_refused(method, make_archive):
    assert bad(make_archive({"a": b"1" * 100}, method)).code is ReasonCode.UNSUPPORTED_ARCHIVE


class TestBombs:
    def test_a_member_packed_too_tightly(self, make_archive):
        data = make_archive({"zeros": bytes(20_000_000)})
        tracemalloc.start()
        member = bad(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert member.code is ReasonCode.ARCHIVE_BOMB
        assert peak_bytes < 1_000_000

    def test_small_members_may_be_packed_tightly(self, make_archive):
        assert only(make_archive({"zeros": bytes(500_000)})) == Member("zeros", bytes(500_000))

    def test_a_member_over_the_limit(self, make_archive):
        data = make_archive({"a": b"123456"})
        limits = ArchiveLimits(max_member_bytes=5)
        assert bad(data, limits).code is ReasonCode.TOO_MANY_BYTES

    def test_a_member_that_says_it_is_small(self, make_archive):
        data = bytearray(make_archive({"zeros": bytes(20_000_000)}))
        at = data.index(b"PK\x01\x02")
        data[at + 24 : at + 28] = struct.pack("<L", 1000)
        tracemalloc.start()
        member = bad(bytes(data))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert member.code is ReasonCode.ARCHIVE_BOMB
        assert peak_bytes < 1_000_000

    def test_too_many_members(self, make_archive):
        data = make_archive({str(number): b"" for number in range(11)})
        assert refusal(data, ArchiveLimits(max_members=10)).code is ReasonCode.ARCHIVE_BOMB
        assert len(read(data, ArchiveLimits(max_members=11))) == 11

    def test_too_many_bytes_in_all(self, make_archive):
        data = make_archive({str(number): b"12345" for number in range(10)})
        assert refusal(data, ArchiveLimits(max_total_bytes=49)).code is ReasonCode.ARCHIVE_BOMB

    def test_members_that_share_their_bytes(self):
        """The zip bomb of D. Fifield in small: a hundred entries over one member's data."""
        kernel = os.urandom(50_000)
        local = struct.pack(
            "<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, zlib.crc32(kernel), 50_000, 50_000, 1, 0
        )
        entry = struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, zlib.crc32(kernel), 50_000, 50_000,
            1, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
        directory = (entry + b"a") * 100
        body = local + b"a" + kernel
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 100, 100, len(directory), len(body), 0)
        assert refusal(body + directory + end).code is ReasonCode.ARCHIVE_BOMB

    def test_at_most_one_member_is_in_memory(self, make_archive, tmp_path):
        path = tmp_path / "large.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(20):
                archive.writestr(str(number), os.urandom(1_000_000))
        tracemalloc.start()
        total = sum(len(m.data) for m in members(path) if isinstance(m, Member))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert total == 20_000_000
        assert peak_bytes < 3_500_000


class TestDamage:
    def test_no_archive_at_all(self):
        for data in (b"", b"PK", b"PK\x03\x04" + bytes(100), b"text" * 1000):
            assert refusal(data).code is ReasonCode.CORRUPT_ARCHIVE

    def test_cut_short(self, make_archive):
        data = make_archive({"a": b"1" * 1000, "b": b"2"})
        for length in range(4, len(data), 7):
            assert refusal(data[:length]).code is ReasonCode.CORRUPT_ARCHIVE

    def test_one_damaged_member_does_not_hide_the_others(self, make_archive):
        data = make_archive({"a": b"hello", "b": b"world"}, zipfile.ZIP_STORED)
        first, second = read(data.replace(b"hello", b"hallo"))
        assert isinstance(first, BadMember)
        assert first.code is ReasonCode.CORRUPT_ARCHIVE
        assert second == Member("b", b"world")

    def test_damaged_deflate_data(self, make_archive):
        data = bytearray(make_archive({"a": b"hello" * 100}))
        data[31:36] = b"\xff" * 5
        assert bad(bytes(data)).code is ReasonCode.CORRUPT_ARCHIVE

    def test_a_member_that_is_not_where_it_should_be(self, make_archive):
        data = bytearray(make_archive({"a": b"1"}))
        data[0] = 0
        assert bad(bytes(data)).code is ReasonCode.CORRUPT_ARCHIVE

    def test_several_parts(self, make_archive):
        data = bytearray(make_archive({"a": b"1"}))
        data[data.rindex(b"PK\x05\x06") + 4] = 3
        assert refusal(bytes(data)).code is ReasonCode.UNSUPPORTED_ARCHIVE

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(Unreadable) as caught:
            list(members(tmp_path / "missing.zip"))
        assert caught.value.code is ReasonCode.UNREADABLE_PATH

    def test_a_file_that_fails_while_it_is_read(self, make_archive):
        class Failing(io.BytesIO):
            """A file whose first bytes cannot be read."""

            def read(self, size=-1, /):
                if self.tell() < 10:
                    raise OSError(5, "Input/output error")
                return super().read(size)

        data = make_archive({"a": b"1"}, comment=b"x" * 65_535)
        (member,) = members(Failing(data))
        assert member == BadMember("a", ReasonCode.UNREADABLE_PATH, "Input/output error")
        with pytest.raises(Unreadable) as caught:
            list(members(Failing(make_archive({}))))
        assert caught.value.code is ReasonCode.UNREADABLE_PATH


def test_the_directory_is_read_without_holding_it(make_archive):
    data = make_archive({f"{number:04}": b"" for number in range(3000)})
    stream = io.BytesIO(data)
    tracemalloc.start()
    count = sum(1 for _ in zip_directory.entries(stream))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3000
    assert peak_bytes < 200_000
