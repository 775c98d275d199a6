"""What Linux says about processes: enough to tell ours from a stranger with the same number."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def boot_id() -> str:
    """Differs after every start of the machine, when process numbers begin anew."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def started_at(pid: int) -> int | None:
    """When the process began, in clock ticks since boot; None when there is no such process."""
    stat = _stat(pid)
    return int(stat[19]) if stat and stat[0] not in "ZX" else None


def session_members(session: int) -> Iterator[int]:
    """Living processes of a session, its leader included when it lives."""
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat and stat[0] not in "ZX" and int(stat[3]) == session:
                yield int(entry.name)


def kill_session(session: int) -> int:
    """SIGKILL to every member, until none is born meanwhile; returns how many were killed."""
    killed = 0
    while members := list(session_members(session)):
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                continue
    return killed


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on; the second may hold blanks and brackets."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
