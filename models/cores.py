"""How many cores this process may really use, containers included."""

import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(limit_file: Path = _CGROUP_LIMIT) -> int:
    """Cores by affinity, or fewer where the container's quota (cgroup v2) says so; at least 1.

    A container limited to two cores still sees all cores of its host; sixty threads on a quota
    of two stand still most of the time.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = limit_file.read_text().split()
    except (OSError, ValueError):
        return cores
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))
