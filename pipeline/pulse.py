"""Marks that show whether a worker makes progress: one small file for each process.

An orchestrator that only asks whether a process exists keeps one that hangs. So every process of
a worker notes when it last moved and how many chunks it has in hand, and `xraytriage probe` reads
that. Off unless the setting `pulse_dir` names a folder; a container has one of its own.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from pipeline.settings import Settings

REST_S = 1.0
"""Between two marks of the same kind; a mark costs a system call or two."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What one process noted last."""

    pid: int
    in_hand: int
    """Chunks that it has begun and not ended."""
    age_s: float
    """Seconds since it last moved."""


class Pulse:
    """What this process notes of itself. Threads may share it; a forked child needs its own."""

    def __init__(self, settings: Settings, role: str) -> None:
        """`role` names the service: a stage, several joined by `-`, or `reconcile`."""
        folder = settings.pulse_dir
        self._path = None if folder is None else folder / f"{role}.{os.getpid()}"
        self._lock = Lock()
        self._in_hand = 0
        self._moved_at = -REST_S
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def move(self) -> None:
        """Note progress; cheap enough to be called for each image."""
        if time.monotonic() - self._moved_at >= REST_S:
            self._count(0)

    @contextmanager
    def chunk(self) -> Iterator[None]:
        """Note that a chunk is in hand."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        if self._path is None:
            return
        with self._lock:
            self._in_hand += change
            self._moved_at = time.monotonic()
            # A full disk must not end work that goes on without it.
            with suppress(OSError):
                self._path.write_text(str(self._in_hand))


def marks(folder: Path, role: str) -> list[Mark]:
    """What the living processes of `role` noted; files of dead ones are removed."""
    found = []
    for path in folder.glob(f"{role}.*"):
        pid = path.suffix.removeprefix(".")
        if not pid.isdigit():
            continue
        if not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)
            continue
        try:
            age_s = time.time() - path.stat().st_mtime
            found.append(Mark(int(pid), int(path.read_text() or 0), max(0.0, age_s)))
        except (FileNotFoundError, ValueError):  # it ended, or is about to write
            continue
    return found
