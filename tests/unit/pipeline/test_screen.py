"""A run over real SQLite, with workers that work whenever the run pauses."""

import csv
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from PIL import Image as Picture
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from models.catalogue import STAGES
from pipeline import screen as screening
from pipeline.context import Context
from pipeline.db import open_engine
from pipeline.dispatch import BrokerUnavailable, Dispatcher
from pipeline.flow import PREPARE, Step
from pipeline.holdup import holdups
from pipeline.ingest import NoRoom
from pipeline.pace import STALLED_AFTER_S, Pace, Progress
from pipeline.records import claims, intake, results
from pipeline.records.claims import Outcome
from pipeline.records.intake import Nudge
from pipeline.reports.summary import Summary
from pipeline.resume import FolderTaken
from pipeline.screen import Interrupted, Order, screen
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.storage import ObjectRef, ObjectStore, StorageUnavailable
from pipeline.walk import Found
from pipeline.window import Window
from tests.stand_in.finished import MemoryStore


@dataclass
class Store(MemoryStore):
    """A storage in memory that can be made to fail."""

    failures: list[Exception] = field(default_factory=list)

    def put_file(
        self, prefix: str, file: BinaryIO, sha256: str, size: int, content_type: str
    ) -> ObjectRef:
        self._fail()
        return ObjectRef.parse(self.put(file.read()))

    def put_pack(self, prefix: str, blobs: Sequence[bytes]) -> list[ObjectRef]:
        self._fail()
        return [ObjectRef.parse(self.put(blob)) for blob in blobs]

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop()


class Broker:
    """Keeps the messages until a worker takes them."""

    def __init__(self) -> None:
        self.nudges: list[Nudge] = []
        self.is_down = False

    def publish(self, nudges: Sequence[Nudge], root_id: str | None = None) -> list[str]:
        self.nudges += nudges
        return [nudge.id for nudge in nudges]

    def ping(self) -> None:
        if self.is_down:
            raise BrokerUnavailable("no answer")

    def depth(self, stage: str, priority: int) -> int:
        return sum(nudge.stage == stage and nudge.priority == priority for nudge in self.nudges)


@dataclass
class Bench:
    """Everything a run needs, and the one worker."""

    context: Context
    store: Store
    broker: Broker
    folder: Path
    told: list[Progress] = field(default_factory=list)
    pauses: int = 0

    def work(self, _: float) -> None:
        """What happens while the run sleeps: every image that waits is done."""
        self.pauses += 1
        for nudge in self.broker.nudges:
            held = claims.claim(self.context.engine, PREPARE, nudge.image_ids, 60.0, "w", 3)
            outcomes = [Outcome(claim, Step(State.DONE)) for claim in held]
            claims.complete(self.context.engine, PREPARE, outcomes, 32, 60.0)
        self.broker.nudges.clear()

    def screen(
        self, *paths: Path, sleep: Callable[[float], None] | None = None, **more: Any
    ) -> Summary:
        roots = tuple(str(path) for path in paths or (self.folder / "in",))
        order = Order(roots, self.folder / "out", **more)
        return screen(self.context, order, self.told.append, sleep=sleep or self.work)

    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def names(self) -> list[str]:
        return sorted(os.path.relpath(row["path"], self.folder / "in") for row in self.rows())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    settings = Settings(data_dir=tmp_path / "data", chunk_size=2, disk_watermark_bytes=0)
    engine = open_engine(settings.database)
    SQLModel.metadata.create_all(engine)
    store, broker = Store(), Broker()
    context = Context(settings, engine, cast(ObjectStore, store), cast(Dispatcher, broker), STAGES)
    yield Bench(context, store, broker, tmp_path)
    engine.dispose()


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = int(hashlib.sha256(str(path).encode()).hexdigest()[:2], 16)
    Picture.new("L", (32, 32), shade).save(path, "PNG")
    return path


@pytest.fixture
def tree(bench: Bench) -> Path:
    folder = bench.folder / "in"
    for name in ("1.png", "2.png", "a/3.png", "a/b/4.png"):
        picture(folder / name)
    return folder


def test_every_path_has_one_row_good_or_bad(bench: Bench, tree: Path) -> None:
    (tree / "empty.png").touch()
    (tree / "notes.png").write_text("no image")
    (tree / "gone.png").symlink_to(tree / "nowhere.png")
    (tree / "loop").symlink_to(tree)
    os.mkfifo(tree / "pipe.png")
    with zipfile.ZipFile(tree / "z.zip", "w") as archive:
        archive.write(tree / "1.png", "in/5.png")
        archive.writestr("in/6.txt", "text")
        archive.writestr("../7.png", "outside")
    (tree / "broken.zip").write_bytes(b"PK\x03\x04 cut")
    zipfile.ZipFile(tree / "empty.zip", "w").close()
    with zipfile.ZipFile(tree / "folders.zip", "w") as archive:
        archive.mkdir("ward")
    summary = bench.screen(sleep=bench.work)
    assert summary.unfinished == 0
    status = {
        os.path.relpath(row["path"], tree): row["reason"].partition(":")[0] or row["status"]
        for row in bench.rows()
    }
    assert len(status) == len(bench.rows()) == summary.images
    assert status == {
        "1.png": "done",
        "2.png": "done",
        "a/3.png": "done",
        "a/b/4.png": "done",
        "empty.png": "empty_file",
        "notes.png": "unsupported_format",
        "gone.png": "unreadable_path",
        "pipe.png": "not_a_file",
        "broken.zip": "corrupt_archive",
        "empty.zip": "empty_archive",
        "folders.zip": "empty_archive",
        "loop": "not_a_file",
        "z.zip/in/5.png": "done",
        "z.zip/in/6.txt": "unsupported_format",
        os.path.normpath("z.zip/../7.png"): "unsafe_member_name",
    }


def test_a_name_that_is_no_text_is_screened(bench: Bench, tree: Path) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff.png")).write_bytes((tree / "1.png").read_bytes())
    bench.screen()
    assert "\\xff.png" in bench.names()


def test_a_file_that_disappears_has_its_row(
    bench: Bench, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Found.open

    def lose_then_open(found: Found) -> BinaryIO:
        (tree / "1.png").unlink(missing_ok=True)
        return opened(found)

    monkeypatch.setattr(Found, "open", lose_then_open)
    bench.screen()
    reasons = {os.path.relpath(row["path"], tree): row["reason"] for row in bench.rows()}
    assert reasons["1.png"].startswith("unreadable_path")
    assert len(reasons) == 4


def test_limit_takes_the_first_of_the_walk(bench: Bench, tree: Path) -> None:
    bench.screen(limit=3)
    assert bench.names() == ["1.png", "2.png", "a/3.png"]


def test_limit_counts_what_an_interrupted_run_sent(bench: Bench, tree: Path) -> None:
    with pytest.raises(Interrupted):
        bench.screen(sleep=_interrupt, limit=3)
    bench.screen(limit=3)
    assert bench.names() == ["1.png", "2.png", "a/3.png"]


def test_own_results_and_state_are_not_screened(bench: Bench, tree: Path) -> None:
    bench.screen(bench.folder)
    first = len(bench.rows())
    bench.screen(bench.folder)
    assert len(bench.rows()) == first == 4


def test_the_window_holds_the_run_back(
    bench: Bench, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(20):
        picture(tree / f"more/{index}.png")
    most = 0

    def work(seconds: float) -> None:
        nonlocal most
        job = results.job(bench.context.engine, _job_id(bench))
        assert job is not None
        most = max(most, job.total - job.finished)
        bench.work(seconds)

    monkeypatch.setattr(screening, "Window", lambda engine: Window(engine, size=4))
    bench.screen(sleep=work)
    assert len(bench.rows()) == 24
    # One chunk and the running uploads may be behind the window.
    assert most <= 4 + 2 + 4


def test_interrupted_it_writes_what_is_there_and_goes_on(bench: Bench, tree: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        bench.screen(sleep=_interrupt)
    assert stopped.value.summary.unfinished == 4
    assert bench.names() == ["1.png", "2.png", "a/3.png", "a/b/4.png"]
    picture(tree / "later.png")
    assert bench.screen().unfinished == 0
    assert bench.names() == ["1.png", "2.png", "a/3.png", "a/b/4.png", "later.png"]
    assert len(bench.store.blobs) == len({row["sha256"] for row in bench.rows()})


def test_killed_before_its_job_was_there_it_goes_on(bench: Bench, tree: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "open_job", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.screen()
    job_id = _job_id(bench)
    bench.screen()
    assert _job_id(bench) == job_id
    assert len(bench.rows()) == 4


def test_other_paths_need_another_folder(bench: Bench, tree: Path) -> None:
    with pytest.raises(Interrupted):
        bench.screen(sleep=_interrupt)
    with pytest.raises(FolderTaken):
        bench.screen(tree / "a")


def test_a_finished_run_is_run_anew(bench: Bench, tree: Path) -> None:
    bench.screen()
    first = _job_id(bench)
    (tree / "a" / "3.png").unlink()
    bench.screen()
    assert _job_id(bench) != first
    assert "a/3.png" not in bench.names()
    assert len(bench.rows()) == 3


@pytest.mark.parametrize(
    "failure",
    [
        StorageUnavailable("the storage is away"),
        NoRoom("the disk is full"),
        OperationalError("", {}, Exception("x"), connection_invalidated=True),
    ],
)
def test_servers_that_go_away_are_waited_for(bench: Bench, tree: Path, failure: Exception) -> None:
    bench.store.failures = [failure]
    bench.screen()
    assert len(bench.rows()) == 4
    notes = [progress.note for progress in bench.told if progress.note]
    assert "the run goes on by itself" in notes[0]
    assert bench.told[-1].note is None


def test_other_errors_end_the_run(bench: Bench, tree: Path) -> None:
    bench.store.failures = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        bench.screen()


def test_progress_tells_counts_and_the_total(bench: Bench, tree: Path) -> None:
    bench.screen()
    phases = [progress.phase for progress in bench.told]
    assert phases[-1] == "writing"
    assert "waiting" in phases
    assert bench.told[-2].finished == bench.told[-2].total == 4


def test_a_standstill_is_explained(
    bench: Bench, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**9, int(STALLED_AFTER_S) * 2))
    monkeypatch.setattr(screening, "Pace", lambda: Pace(lambda: float(next(clock))))
    pauses = iter(range(3))

    def idle(seconds: float) -> None:
        if next(pauses, None) is None:
            bench.work(seconds)

    bench.screen(sleep=idle)
    notes = " ".join(progress.note or "" for progress in bench.told)
    assert "nothing has moved for a while: 4 images are at stage prepare" in notes
    assert "is a worker for it running?" in notes


def test_a_broker_that_is_away_is_named(bench: Bench) -> None:
    bench.broker.is_down = True
    (sentence,) = holdups(bench.context)
    assert "message broker does not answer" in sentence


def test_images_without_a_message_are_the_reconcilers(bench: Bench, tree: Path) -> None:
    with pytest.raises(Interrupted):
        bench.screen(sleep=_interrupt)
    bench.broker.nudges.clear()
    (sentence,) = holdups(bench.context)
    assert "the reconciler will send them again" in sentence


def test_the_jobs_priority_is_the_order_s(bench: Bench, tree: Path) -> None:
    bench.screen(priority=Priority.STAT)
    job = results.job(bench.context.engine, _job_id(bench))
    assert job is not None
    assert (job.priority, job.source) == (Priority.STAT, "cli")
    assert job.closed_at is not None


def _job_id(bench: Bench) -> str:
    found = json.loads((bench.folder / "out" / "screen.json").read_text())
    return str(found["job_id"])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_members_of_the_same_name_each_have_a_row(bench: Bench, tree: Path) -> None:
    with zipfile.ZipFile(tree / "twice.zip", "w") as archive:
        archive.write(tree / "1.png", "same.png")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.write(tree / "2.png", "same.png")
    summary = bench.screen()
    assert summary.images == 6
    assert {"twice.zip/same.png", "twice.zip/same.png (2)"} < set(bench.names())


def test_a_zip_that_disappears_while_it_is_opened_has_its_row(
    bench: Bench, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tree / "a.zip", "w") as archive:
        archive.write(tree / "1.png", "1.png")
    opened = Found.open

    def open_once(found: Found) -> BinaryIO:
        file = opened(found)
        if found.path.endswith(".zip"):
            Path(found.path).unlink()
        return file

    monkeypatch.setattr(Found, "open", open_once)
    monkeypatch.setattr(screening, "member_count", lambda _: 1)
    summary = bench.screen()
    assert summary.images == 5
    assert summary.reasons == {"unreadable_path": 1}
