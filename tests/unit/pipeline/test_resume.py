"""The same command goes on; another one touches nothing that is not its own."""

from pathlib import Path

import pytest

from pipeline import resume
from pipeline.resume import FolderTaken


def test_a_run_begins_and_the_same_paths_go_on(tmp_path: Path) -> None:
    run, is_new = resume.begin(tmp_path / "out", ("/b", "/a"))
    assert is_new
    assert resume.begin(tmp_path / "out", ("/a", "/b")) == (run, False)


def test_another_walk_may_not_mix_in(tmp_path: Path) -> None:
    resume.begin(tmp_path, ("/a",))
    with pytest.raises(FolderTaken, match=r"unfinished run of other paths \(/a\)"):
        resume.begin(tmp_path, ("/b",))


def test_finished_results_of_other_paths_are_kept(tmp_path: Path) -> None:
    run, _ = resume.begin(tmp_path, ("/a",))
    (tmp_path / "results.csv").write_text("of a")
    resume.finish(tmp_path, run)
    with pytest.raises(FolderTaken, match=r"results of other paths \(/a\).*remove that folder"):
        resume.begin(tmp_path, ("/b",))
    assert (tmp_path / "results.csv").read_text() == "of a"


def test_after_the_end_a_new_run_begins_in_an_empty_folder(tmp_path: Path) -> None:
    first, _ = resume.begin(tmp_path, ("/a",))
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "heatmaps" / "old.png").touch()
    (tmp_path / "results.csv").touch()
    (tmp_path / "notes.txt").touch()
    resume.finish(tmp_path, first)
    second, is_new = resume.begin(tmp_path, ("/a",))
    assert is_new
    assert second.job_id != first.job_id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "screen.json"]


def test_results_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "results.csv").touch()
    with pytest.raises(FolderTaken, match="no run of xraytriage screen wrote it"):
        resume.begin(tmp_path, ("/a",))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job_id": "x", "paths": 3, "finished": true}'])
def test_a_foreign_file_of_that_name_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "screen.json").write_text(text)
    with pytest.raises(FolderTaken, match="choose another --out"):
        resume.begin(tmp_path, ("/a",))
    assert (tmp_path / "screen.json").read_text() == text
