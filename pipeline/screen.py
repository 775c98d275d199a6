"""The bulk use case: walk folders and zips, send what is there, wait, write the results."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from pipeline import resume
from pipeline.context import Context
from pipeline.holdup import holdups
from pipeline.ingest import NoRoom, Source, accept, sources_of
from pipeline.pace import Pace, Progress
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.records import intake, results
from pipeline.reports.results import About, write_results
from pipeline.reports.summary import Summary
from pipeline.resume import Run
from pipeline.retry import ErrorKind, classify_database
from pipeline.states import Priority, State
from pipeline.storage import StorageFull, StorageUnavailable
from pipeline.walk import Found, member_count, spelled, walk
from pipeline.window import Window

SENDING, WAITING, WRITING = "sending", "waiting", "writing"

POLL_S = 0.25
WAIT_S = 5.0
"""Pause before the storage, the disk or the database is tried again."""
LOOK_EVERY_S = 0.5
"""At most so often the database is asked for the counts; rarer where that takes long."""
KNOWN_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be screened and where the results go."""

    paths: tuple[str, ...]
    out: Path
    priority: Priority = Priority.BULK
    limit: int | None = None
    """Screen the first so many images of the walk only."""
    program: str = "xraytriage"

    @property
    def keys(self) -> tuple[str, ...]:
        """The paths, each once, however they were given."""
        return tuple(sorted({Found(path).key for path in self.paths}))


class Interrupted(Exception):  # noqa: N818 - named for what happened
    """The run was stopped; what is there is written, and the same command goes on."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("interrupted")
        self.summary = summary


def screen(
    context: Context,
    order: Order,
    tell: Callable[[Progress], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Summary:
    """Screen everything below the order's paths and write the results; `tell` hears of it.

    Waits for a full disk, a lost storage or a lost database to come back. Raises FolderTaken
    before anything is begun, Interrupted after Ctrl-C, and StorageRefused.
    """
    run, is_new = resume.begin(order.out, order.keys)
    if is_new or results.job(context.engine, run.job_id) is None:
        intake.open_job(context.engine, "cli", order.priority, run.job_id)
    drive = _Drive(context, order, run, tell, sleep)
    try:
        drive.send()
        intake.close_job(context.engine, run.job_id)
        drive.wait_for_the_last()
    except KeyboardInterrupt:
        raise Interrupted(drive.write()) from None
    summary = drive.write()
    resume.finish(order.out, run)
    return summary


class _Drive:
    """One run while it goes."""

    def __init__(
        self,
        context: Context,
        order: Order,
        run: Run,
        tell: Callable[[Progress], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._context = context
        self._order = order
        self._job_id = run.job_id
        self._tell = tell
        self._sleep = sleep
        self._pace = Pace()
        self._total: int | None = None
        self._next_look = 0.0
        self._note: str | None = None
        self._phase = SENDING
        self._last = Progress(SENDING)

    def send(self) -> None:
        """Take in everything the walk finds, however often servers go away meanwhile."""
        threading.Thread(target=self._count, name="count", daemon=True).start()
        self._look()  # what the job has already is not this run's work
        while True:
            try:
                self._send_once()
            except (NoRoom, StorageFull, StorageUnavailable) as error:
                self._note = f"{error}; the run goes on by itself"
            except DBAPIError as error:
                if not _passes(error):
                    raise
                self._note = "the database does not answer; the run goes on by itself"
            else:
                self._note = None
                return
            # The walk begins anew: what the job has already is passed over.
            self._look()
            self._sleep(WAIT_S)

    def wait_for_the_last(self) -> None:
        """Come back when every image of the job has ended."""
        self._phase = WAITING
        while (progress := self._look()) is None or progress.finished < sum(
            progress.counts.values()
        ):
            self._sleep(POLL_S)

    def write(self) -> Summary:
        """Write the results as they are now."""
        self._tell(replace(self._last, phase=WRITING, note=None))
        about = About(
            roots=tuple(spelled(path) for path in self._order.paths),
            program=self._order.program,
            images=self._pace.finished,
            seconds=self._pace.seconds,
        )
        context = self._context
        return write_results(
            context.engine, context.store, context.stages, self._job_id, self._order.out, about
        )

    def _send_once(self) -> None:
        window = Window(self._context.engine)
        sources = self._paced(window)
        for accepted in accept(self._context, self._job_id, sources):
            self._note = None
            if accepted.state is not State.REJECTED:
                window.add(accepted.image_id)
            self._look_sometimes()

    def _paced(self, window: Window) -> Iterator[Source]:
        for source in islice(self._sources(), self._order.limit):
            if source is not None:
                window.wait(self._pause)
                yield source

    def _sources(self) -> Iterator[Source | None]:
        """One source for each image of the walk; None for a path that the job has already."""
        found = self._walk()
        while batch := list(islice(found, KNOWN_AT_ONCE)):
            keys = [item.key for item in batch]
            known = intake.known_keys(self._context.engine, self._job_id, keys)
            for item, key in zip(batch, keys, strict=True):
                if key in known:
                    yield None
                elif item.refusal is not None:
                    yield Source(item.name, BytesIO, key, item.refusal)
                else:
                    yield from _opened(item, key)

    def _walk(self) -> Iterator[Found]:
        # What this program itself writes is not screened.
        own = (str(self._order.out), str(self._context.settings.data_dir))
        return walk(self._order.paths, skip=own)

    def _count(self) -> None:
        total = sum(member_count(found.path) for found in self._walk())
        limit = self._order.limit
        self._total = total if limit is None else min(total, limit)

    def _pause(self) -> None:
        self._look_sometimes()
        self._sleep(POLL_S)

    def _look_sometimes(self) -> None:
        if self._pace.seconds >= self._next_look:
            self._look()

    def _look(self) -> Progress | None:
        """Ask how far the job is and tell it; None where the database does not answer."""
        began = self._pace.seconds
        try:
            job = results.job(self._context.engine, self._job_id)
        except DBAPIError as error:
            if not _passes(error):
                raise
            return None
        counts = job.counts if job else {}
        per_s = self._pace.look(counts)
        total = self._total if self._phase == SENDING else sum(counts.values())
        progress = Progress(self._phase, counts, total, per_s, self._note or self._hangs())
        self._last = progress
        self._tell(progress)
        took = self._pace.seconds - began
        self._next_look = self._pace.seconds + max(LOOK_EVERY_S, 10 * took)
        return progress

    def _hangs(self) -> str | None:
        if not self._pace.is_stalled:
            return None
        return "nothing has moved for a while: " + "; ".join(holdups(self._context))


def _opened(found: Found, key: str) -> Iterator[Source]:
    """The file itself, or what is in it, each under a name of its own."""
    names: set[str] = set()
    try:
        for source in sources_of(found.name, found.open, key):
            yield _renamed(source, names)
    except OSError as error:
        words = error.strerror or type(error).__name__
        refusal = Unreadable(ReasonCode.UNREADABLE_PATH, words)
        yield Source(found.name, BytesIO, key, refusal)


def _renamed(source: Source, names: set[str]) -> Source:
    """`source`, numbered where a zip has two members of that name: each gets its row."""
    suffix, number = "", 1
    while source.name + suffix in names:
        number += 1
        suffix = f" ({number})"
    names.add(source.name + suffix)
    return replace(source, name=source.name + suffix, once_key=f"{source.once_key}{suffix}")


def _passes(error: DBAPIError) -> bool:
    return classify_database(error) in (ErrorKind.UNAVAILABLE, ErrorKind.LOCKED)
