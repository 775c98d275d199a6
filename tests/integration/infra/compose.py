"""Docker Compose itself, and how it writes commands and times."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent


def compose(
    program: Path, env: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """What Docker Compose itself says, with these variables and no others."""
    return subprocess.run(
        [str(program), "--project-directory", str(ROOT), *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def words(test: list[str]) -> list[str]:
    """The command line of a health check."""
    kind, *rest = test
    return ["sh", "-c", rest[0].replace("$$", "$")] if kind == "CMD-SHELL" else rest


def seconds(text: str) -> float:
    """A time such as 1m30s."""
    minutes, _, rest = text.rpartition("m")
    return float(minutes or 0) * 60 + float(rest.removesuffix("s") or 0)
