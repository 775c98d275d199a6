"""Walking trees as the field has them: loops, links to nowhere, pipes, odd names, races."""

import os
import shutil
import stat
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reasons import ReasonCode
from pipeline.walk import Found, member_count, spelled, unspelled, walk


def names(root: Path, *skip: Path) -> list[str]:
    found = walk([str(root)], [str(folder) for folder in skip])
    return [os.path.relpath(item.path, root) for item in found]


def refusals(root: Path) -> dict[str, ReasonCode]:
    return {
        os.path.relpath(item.path, root): item.refusal.code
        for item in walk([str(root)])
        if item.refusal is not None
    }


def touch(path: Path) -> Path:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return path


def test_files_come_in_the_order_of_their_bytes_whatever_the_listing(tmp_path: Path) -> None:
    for name in ("b.png", "a/2.png", "a/1.png", "a.png", "Z.png", "c/d/e.png"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["Z.png", "a/1.png", "a/2.png", "a.png", "b.png", "c/d/e.png"]


def test_the_path_is_the_one_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert [found.name for found in walk(["./in/"])] == ["./in/a.png"]
    assert [found.key for found in walk(["./in/"])] == [str(tmp_path / "in/a.png")]


def test_a_loop_of_links_is_walked_once_and_each_link_has_its_row(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(".")
    assert names(tmp_path) == ["a/1.png", "a/self", "a/up"]
    assert refusals(tmp_path) == dict.fromkeys(("a/self", "a/up"), ReasonCode.NOT_A_FILE)


def test_a_folder_on_two_ways_is_walked_once_and_the_second_way_has_its_row(
    tmp_path: Path,
) -> None:
    touch(tmp_path / "real" / "1.png")
    (tmp_path / "also").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["also/1.png", "real"]
    first, second = walk([str(tmp_path / "real"), str(tmp_path / "also")])
    assert first.refusal is None
    assert second.path == str(tmp_path / "also")
    assert second.refusal is not None
    assert second.refusal.message == "the link leads to a folder that was walked already"


def test_a_folder_that_was_given_and_lies_in_another_one_is_no_second_way(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "1.png")
    for folders in ([tmp_path, tmp_path / "in"], [tmp_path / "in", tmp_path]):
        assert [found.name for found in walk(map(str, folders))] == [str(tmp_path / "in" / "1.png")]


def test_a_linked_file_is_a_path_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path / "1.png")
    (tmp_path / "2.png").symlink_to(tmp_path / "1.png")
    assert names(tmp_path) == ["1.png", "2.png"]


def test_links_to_nowhere_and_to_themselves_get_their_row(tmp_path: Path) -> None:
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "ring").symlink_to("ring")
    unreadable = ReasonCode.UNREADABLE_PATH
    assert refusals(tmp_path) == {"dangling.png": unreadable, "ring": unreadable}


def test_a_pipe_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert refusals(tmp_path) == {"pipe.png": ReasonCode.NOT_A_FILE}


def test_a_pipe_in_the_place_of_a_file_does_not_hang_the_run(tmp_path: Path) -> None:
    file = touch(tmp_path / "1.png")
    (found,) = walk([str(tmp_path)])
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(OSError, match="not a file"):
        found.open()


def test_a_file_that_disappears_is_found_and_then_cannot_be_opened(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        touch(tmp_path / name)
    walking = walk([str(tmp_path)])
    first = next(walking)
    (tmp_path / "2.png").unlink()
    (second,) = walking
    with first.open() as file:
        assert file.read() == b"x"
    with pytest.raises(FileNotFoundError):
        second.open()


def test_a_folder_that_disappears_gets_its_row(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "b" / "1.png")
    walking = walk([str(tmp_path)])
    next(walking)
    shutil.rmtree(tmp_path / "b")
    (gone,) = walking
    assert gone.path == str(tmp_path / "b")
    assert gone.refusal is not None
    assert gone.refusal.code is ReasonCode.UNREADABLE_PATH


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_gets_its_row(tmp_path: Path) -> None:
    touch(tmp_path / "closed" / "1.png")
    (tmp_path / "closed").chmod(0)
    try:
        assert refusals(tmp_path) == {"closed": ReasonCode.UNREADABLE_PATH}
    finally:
        (tmp_path / "closed").chmod(stat.S_IRWXU)


def test_a_folder_that_cannot_be_listed_gets_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "bad" / "1.png")
    touch(tmp_path / "good" / "1.png")
    scandir = os.scandir

    def failing(path: str) -> object:
        if path.endswith("bad"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    assert refusals(tmp_path) == {"bad": ReasonCode.UNREADABLE_PATH}
    assert names(tmp_path) == ["bad", "good/1.png"]


def test_a_name_of_bytes_that_are_no_text_is_walked_and_opened(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/r\xf6ntgen\n\x1b[31m.png"
    with open(raw, "wb") as file:  # noqa: PTH123 - the name is bytes on purpose
        file.write(b"x")
    (found,) = walk([str(tmp_path)])
    assert found.name == f"{tmp_path}/r\\xf6ntgen\\x0a\\x1b[31m.png"
    assert found.name.encode("utf-8")
    assert os.fsencode(unspelled(found.name)) == raw
    with found.open() as opened:
        assert opened.read() == b"x"


def test_a_tree_deeper_than_the_stack_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    levels = sys.getrecursionlimit() + 100
    for _ in range(levels):
        Path("d").mkdir()
        os.chdir("d")
    touch(Path("1.png"))
    found = [found.path for found in walk([str(tmp_path)])]
    Path("1.png").unlink()
    for _ in range(levels):  # pytest cannot remove it: it does so recursively
        os.chdir("..")
        Path("d").rmdir()
    assert found == [f"{tmp_path}/{'d/' * levels}1.png"]


def test_what_a_run_writes_is_not_walked(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "results" / "heatmaps" / "1.png")
    assert names(tmp_path, tmp_path / "results", tmp_path / "absent") == ["a.png"]


def test_a_file_given_twice_is_one(tmp_path: Path) -> None:
    file = touch(tmp_path / "1.png")
    touch(tmp_path / "2.png")
    roots = [str(tmp_path), str(file), f"{tmp_path}/./1.png", str(tmp_path)]
    assert [Path(found.path).name for found in walk(roots)] == ["1.png", "2.png"]


def test_an_empty_folder_has_no_rows(tmp_path: Path) -> None:
    assert names(tmp_path) == []


@given(st.binary(min_size=1).map(lambda raw: raw.replace(b"\0", b"x")))
def test_every_name_is_shown_as_text_and_can_be_turned_back(raw: bytes) -> None:
    path = os.fsdecode(raw)
    shown = spelled(path)
    shown.encode("utf-8")
    assert len(shown.splitlines()) == 1
    assert unspelled(shown) == path


@pytest.mark.parametrize("name", ["a b.png", "Röntgen/胸部　正面.png", "a\u200db.png", "🩻.png"])
def test_a_name_people_can_read_is_left_alone(name: str) -> None:
    assert spelled(name) == name


def test_members_of_a_zip_are_counted_from_its_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for index in range(7):
            archive.writestr(f"{index}.png", b"x")
        archive.comment = b"with a comment"
    assert member_count(str(tmp_path / "a.zip")) == 7


def test_what_is_no_zip_counts_as_one_file(tmp_path: Path) -> None:
    touch(tmp_path / "broken.zip")
    assert member_count(str(tmp_path / "broken.zip")) == 1
    assert member_count(str(tmp_path / "gone.zip")) == 1
    assert member_count("a.png") == 1


def test_found_is_shown_by_name() -> None:
    assert Found("a\\b.png").name == "a\\\\b.png"
