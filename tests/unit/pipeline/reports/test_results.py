"""The files of a run: every image once, small memory, nothing that the page cannot carry."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from models.catalogue import STAGES
from pipeline.records import results as records
from pipeline.reports import heatmaps, thumbnails
from pipeline.reports.results import DISCLAIMER, About, write_results
from pipeline.reports.row import COLUMNS
from pipeline.reports.summary import Summary
from pipeline.states import State
from tests.stand_in.finished import FinishedJob, png

ABOUT = About(("in",), "xraytriage 0.1.0", images=10, seconds=4.0)


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("models.spec.WEIGHTS_ROOT", tmp_path / "no weights here")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(job: FinishedJob, out: Path) -> Summary:
    return write_results(job.engine, job.store, STAGES, job.job_id, out, ABOUT)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def lines(out: Path) -> Iterator[dict[str, object]]:
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def test_every_image_has_one_row_over_many_pages(
    job: FinishedJob, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = records.pages
    monkeypatch.setattr(records, "pages", lambda engine, job_id: pages(engine, job_id, limit=3))
    for index in range(10):
        job.add(f"{index}.png")
    write(job, out)
    assert [row["path"] for row in rows(out)] == [f"{index}.png" for index in range(10)]
    assert [line["path"] for line in lines(out)] == [f"{index}.png" for index in range(10)]


def test_the_table_is_utf8_with_a_plain_header(job: FinishedJob, out: Path) -> None:
    job.add('Röntgen/"a", b\\x0a.png')
    write(job, out)
    text = (out / "results.csv").read_bytes()
    assert text.startswith((",".join(COLUMNS) + "\n").encode())
    assert rows(out)[0]["path"] == 'Röntgen/"a", b\\x0a.png'


def test_heatmaps_lie_where_the_table_says(job: FinishedJob, out: Path) -> None:
    job.chest("ward/Müller 1.png")
    write(job, out)
    named = json.loads(rows(out)[0]["heatmaps"])
    assert set(named) == {"abnormal", "Effusion", "Hernia (experimental)"}
    assert (out / named["Effusion"]).read_bytes() == png("Effusion")
    assert re.fullmatch(r"heatmaps/Müller_1-Effusion-[0-9a-f]{12}\.png", named["Effusion"])


def test_heatmaps_are_fetched_in_bulk_and_only_once(
    job: FinishedJob, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmaps, "AT_ONCE", 4)
    for index in range(3):
        job.chest(f"{index}.png")
    folder = heatmaps.HeatmapFolder(out, job.store)
    folder.fetch(job.views())
    # Nine heatmaps, four at a time; the three images share three contents and one image.
    assert job.store.asked == [3, 3, 2]
    folder.fetch(job.views())
    assert job.store.asked == [3, 3, 2]


def test_a_lost_heatmap_is_counted_and_stops_nothing(job: FinishedJob, out: Path) -> None:
    job.chest("a.png")
    job.store.blobs.clear()
    assert write(job, out).heatmaps_missing == 3
    assert json.loads((out / "summary.json").read_text())["heatmaps_missing"] == 3
    assert "no picture" in (out / "report.html").read_text()


def test_the_summary_counts_by_status_reason_type_and_finding(job: FinishedJob, out: Path) -> None:
    job.chest("a.png")
    job.chest("b.png", 0.1)
    job.add("c.png", State.REJECTED, reason_code="truncated", reason="Cut.")
    job.add("d.png", State.RECEIVED, finished_at=None)
    assert write(job, out).unfinished == 1
    found = json.loads((out / "summary.json").read_text())
    assert found["by_status"] == {"done": 2, "received": 1, "rejected": 1}
    assert found["by_reason"] == {"truncated": 1}
    assert found["by_type"] == {"chest": 2}
    assert found["by_finding"] == {"Effusion": 1, "Hernia (experimental)": 1}
    assert (found["abnormal"], found["normal"], found["unfinished"]) == (1, 1, 1)
    assert found["this_run"] == {"images": 10, "seconds": 4.0, "images_per_s": 2.5}
    assert found["model_versions"]["chest"] == {"chest-1.0.0+00000000": 2}
    assert found["stages"]["gate"]["compute_ms_mean"] == 20.0


def test_the_lines_hold_all_scores_and_nothing_of_the_plumbing(job: FinishedJob, out: Path) -> None:
    job.chest("a.png")
    write(job, out)
    (line,) = lines(out)
    assert not line.keys() & {"token", "lease_until", "once_key", "original", "worker"}
    runs = line["runs"]
    assert isinstance(runs, list)
    assert runs[2]["scores"]["Mass"] == 0.2
    assert runs[2]["findings"][0]["threshold"] == 0.5
    assert runs[2]["findings"][0]["heatmap"].startswith("heatmaps/a-")


def test_the_page_loads_nothing_and_runs_nothing_that_a_name_brings(
    job: FinishedJob, out: Path
) -> None:
    job.chest('<script>alert("1")</script>.png')
    write(job, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert not re.search(r'(src|href)="(?!data:|#|heatmaps/)', page)
    assert page.count(DISCLAIMER) == 1
    assert page.count("data:image/webp;base64,") == 2


def test_the_page_of_a_huge_run_shows_a_choice_and_says_so(
    job: FinishedJob, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.reports.results.SHOWN", (2, 1))
    for index in range(9):
        job.chest(f"{index}.png", index / 10)
    write(job, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<article") == 3
    assert "shows 3 of 9 images" in page
    assert page.index("8.png") < page.index("7.png")


def test_a_run_without_images_has_its_files_too(job: FinishedJob, out: Path) -> None:
    write(job, out)
    assert rows(out) == []
    assert "0 images" in (out / "report.html").read_text()


def test_results_that_fail_midway_leave_the_earlier_ones(
    job: FinishedJob, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.chest("a.png")
    write(job, out)
    before = (out / "results.csv").read_bytes()
    job.find(job.chest("b.png"), "Mass", 0.9)
    monkeypatch.setattr(job.store, "get_many", _fail)
    with pytest.raises(RuntimeError):
        write(job, out)
    assert (out / "results.csv").read_bytes() == before
    assert not list(out.glob(".*.part"))


def _fail(_: object) -> list[bytes]:
    raise RuntimeError("the storage broke")


def test_a_broken_picture_becomes_no_picture() -> None:
    assert thumbnails.data_address(b"\x93NUMPY broken") is None
    assert thumbnails.data_address(b"\x89PNG broken") is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, r"\d\d:\d\d"), (7200, r".* to [^,]*"), (200_000, r".* to .*, .*")]
)
def test_the_page_says_when(job: FinishedJob, out: Path, seconds: int, words: str) -> None:
    # Noon, wherever the test runs: neither five seconds nor two hours lead into another day.
    noon = datetime(2026, 3, 4, 12).astimezone().timestamp()
    job.add("a.png", created_at=noon, finished_at=noon + seconds)
    write(job, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert re.search(rf"4 March 2026, {words} · 1 image ·", page)
