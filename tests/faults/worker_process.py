"""A real worker process that a test starts, kills, stops and starts again."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.servers import PATIENCE

REPOSITORY = Path(__file__).parents[2]
ROUTINE = re.compile(r"^ *[-.]|^$|(queues|tasks)\]|SecurityWarning")
"""Lines of a worker's log that tell nothing about a failure."""


@dataclass
class Worker:
    """One worker process and how it is started again."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    log: Path
    ready: Path
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    def start(self) -> None:
        """Start it; it is ready some seconds later."""
        self.ready.unlink(missing_ok=True)
        self.starts += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.stand_in.worker", *self.arguments],
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the main process."""
        assert self.process is not None
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the main process runs (or sleeps)."""
        return self.process is not None and self.process.poll() is None

    @property
    def is_stopped(self) -> bool:
        """Whether it sleeps after SIGSTOP."""
        return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    @property
    def is_ready(self) -> bool:
        """Whether it consumes; the reconciler has nothing to consume."""
        return self.is_alive and (self.ready.exists() or self.arguments == ["reconcile"])

    def children(self) -> list[psutil.Process]:
        """The processes it forked, if any."""
        return psutil.Process(self.pid).children(recursive=True) if self.is_alive else []

    def kill(self) -> None:
        """kill -9, of the main process only."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait(30)  # type: ignore[union-attr]

    def terminate(self, deadline_s: float = 60.0) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGTERM)
        return self.process.wait(deadline_s * PATIENCE)

    def last_words(self) -> str:
        """The end of its log without what is there on any day."""
        lines = self.log.read_text(errors="replace").splitlines()
        lines = [line[:300] for line in lines if not ROUTINE.search(line)][-25:]
        return "\n".join([f"--- {self.name} (started {self.starts} times)", *lines])

    def destroy(self) -> None:
        """Whatever is left of it, children too."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)
