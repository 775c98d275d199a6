"""Room on the disk of the data directory: new work is refused before it is used up."""

import shutil
from pathlib import Path

from pipeline.settings import Settings


def free_bytes(path: Path) -> int:
    """Free bytes of the file system that holds `path`, or will hold it."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def room(settings: Settings) -> bool:
    """Whether the data directory is above its watermark; under it, refuse new work (507)."""
    return free_bytes(settings.data_dir) >= settings.disk_watermark_bytes
