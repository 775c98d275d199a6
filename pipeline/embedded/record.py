"""`stack.json`: who runs on a data folder and where; and the lock that keeps others off it."""

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pipeline.embedded import procfs
from pipeline.embedded.private import write_private
from pipeline.settings import Settings

RECORD = "stack.json"
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    name: str
    pid: int
    started: int
    """Clock ticks since boot."""

    @property
    def alive(self) -> bool:
        """Whether this very process lives."""
        return procfs.started_at(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Record:
    """What `stack.json` says."""

    owner: Process
    boot: str
    ready: bool
    settings: dict[str, Any]
    """Those of the children: addresses and keys of what runs. The file is its owner's only."""
    addresses: dict[str, str]
    """Part -> where a person finds it."""
    children: list[Process] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether the stack that wrote this still runs."""
        return self.boot == procfs.boot_id() and self.owner.alive


def this_process() -> Process:
    """The process that calls."""
    return Process("up", os.getpid(), procfs.started_at(os.getpid()) or 0)


def write(folder: Path, record: Record) -> None:
    """Replace the record in one step."""
    write_private(folder / RECORD, json.dumps(asdict(record), indent=1, default=str))


def read(folder: Path) -> Record | None:
    """The record of the last stack on this folder; None when there is none that can be read."""
    try:
        raw = json.loads((folder / RECORD).read_text())
        owner, children = Process(**raw.pop("owner")), raw.pop("children")
        return Record(**raw, owner=owner, children=[Process(**child) for child in children])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(folder: Path) -> None:
    """Nothing runs here any more."""
    (folder / RECORD).unlink(missing_ok=True)


def connect(settings: Settings) -> Settings | None:
    """`settings` with the addresses of the stack that runs on its data folder; None: none does."""
    record = read(settings.data_dir)
    if record is None or not record.ready or not record.running:
        return None
    return Settings.model_validate({**settings.model_dump(), **record.settings})


def remove_leftovers(folder: Path) -> list[str]:
    """Kill what a killed stack left behind; returns the names. Call it with the lock held."""
    record = read(folder)
    if record is None or record.boot != procfs.boot_id():
        return []
    return [child.name for child in record.children if _remove(child)]


def clear(folder: Path) -> bool:
    """Take away the state of earlier stacks; False, and nothing done, where one runs."""
    if not folder.is_dir():
        return True
    lock = Lock(folder)
    if not lock.take():
        return False
    try:
        remove_leftovers(folder)
        for entry in folder.iterdir():
            if entry.name == LOCK:
                continue  # who opened it must find it again: a new file would be a second lock
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    finally:
        lock.release()
    return True


def _remove(child: Process) -> bool:
    """A child leads a session; while a member lives, its number is given to no other process."""
    began = procfs.started_at(child.pid)
    if began is not None and began != child.started:
        return False  # a stranger, so of ours nobody lives
    return procfs.kill_session(child.pid) > 0


class Lock:
    """The right to run a stack on a folder; the kernel takes it back when its holder dies."""

    def __init__(self, folder: Path) -> None:
        """Name the folder, which must exist."""
        self._path = folder / LOCK
        self._file: TextIO | None = None

    def take(self) -> bool:
        """Whether the lock is ours now."""
        file = self._path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let others in."""
        if self._file is not None:
            self._file.close()
            self._file = None
