"""One child process: started in a session of its own, logging to a file, stopped with a grace."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.embedded import launch, procfs

LOG_BYTES = 8 * 2**20
"""A log that grows beyond this is kept as `<name>.log.1`, and begun anew."""


class Child:
    """A running program. The thread that makes it must outlive it (see `launch`)."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], directory: Path, log: Path
    ) -> None:
        """Start it. Raises OSError when log or interpreter cannot be opened."""
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # Appending, so that `trim_log` may cut the file while the child goes on writing.
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.started = procfs.started_at(self.pid) or 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to finish what it does and to end."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s` seconds."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it and all its descendants now, and wait for that."""
        procfs.kill_session(self.pid)
        self._process.wait()

    def trim_log(self, limit: int = LOG_BYTES) -> None:
        """Keep the log and its one predecessor below `limit` bytes each."""
        if self.log.stat().st_size <= limit:
            return
        with self.log.open("rb+") as log:
            log.seek(-limit, os.SEEK_END)
            self.log.with_suffix(".log.1").write_bytes(log.read())
            log.truncate(0)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for a message."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(-min(file.tell(), 16_384), os.SEEK_END)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-count:])
