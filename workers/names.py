"""What worker processes call themselves in the database, and whether one of them is dead."""

import os
import socket
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path


def worker_name(stage: str) -> str:
    """Who holds and writes a row: stage, host, machine and process."""
    return f"{stage}@{_machine()}:{os.getpid()}"


def dead_ones(names: Iterable[str]) -> list[str]:
    """Those of `names` that were processes of this machine and are gone.

    Of other machines nothing is known here: the leases of their processes have to run out.
    """
    ours = [name for name in names if name.rpartition(":")[0].endswith(f"@{_machine()}")]
    return [name for name in ours if not _lives(int(name.rpartition(":")[2]))]


@cache
def _machine() -> str:
    # Hosts and containers may share a name. A process id means something only within one boot
    # and one process namespace; where those can't be told, no two processes count as neighbours.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        space = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no path, an inode in words
    except OSError:
        return f"{socket.gethostname()}#{os.getpid()}"
    return f"{socket.gethostname()}#{sha256((boot + space).encode()).hexdigest()[:8]}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
