"""What a run of `screen` leaves in its folder, so that the same command goes on where it was."""
# ruff: noqa: N818 - the errors are named for what happened

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.reports.files import write_json
from pipeline.uid import new_id

FILE = "screen.json"
RESULTS = ("results.csv", "results.jsonl", "summary.json", "report.html")


class FolderTaken(Exception):
    """The results folder belongs to something else; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: its job, what it walks, and whether its results are all written."""

    job_id: str
    paths: tuple[str, ...]
    """Absolute, as `walk.spelled` writes them; in any order."""
    finished: bool = False


def begin(out: Path, paths: tuple[str, ...]) -> tuple[Run, bool]:
    """The unfinished run of these paths in `out`, or a new one; and whether it is a new one.

    A new run takes the place of a finished one of the same paths, never that of another.

    The run is on disk before its job is in the database: whatever kills the program in between,
    the next run opens the job under that id. Raises FolderTaken.
    """
    earlier = check(out, paths)
    if earlier is not None and not earlier.finished:
        return earlier, False
    if earlier is not None:
        _clear(out)
    run = Run(new_id(), paths)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FILE, asdict(run))
    return run, True


def check(out: Path, paths: tuple[str, ...]) -> Run | None:
    """The earlier run of these paths in `out`, if any. Raises FolderTaken; changes nothing."""
    earlier = _read(out)
    if earlier is None:
        _refuse_strangers(out)
    elif sorted(earlier.paths) != sorted(paths):
        raise FolderTaken(_of_other_paths(out, earlier))
    return earlier


def finish(out: Path, run: Run) -> None:
    """Say that all results are written: the next run of the same command begins anew."""
    write_json(out / FILE, asdict(replace(run, finished=True)))


def _of_other_paths(out: Path, earlier: Run) -> str:
    paths = ", ".join(earlier.paths)
    if earlier.finished:
        return (
            f"{out} holds the results of other paths ({paths}), which would be lost. Choose "
            "another --out, or remove that folder first."
        )
    return (
        f"{out} holds an unfinished run of other paths ({paths}). "
        "Finish it with the command that began it, or choose another --out."
    )


def _read(out: Path) -> Run | None:
    try:
        found = json.loads((out / FILE).read_text(encoding="utf-8"))
        return Run(found["job_id"], tuple(found["paths"]), found["finished"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise FolderTaken(
            f"{out / FILE} was not written by xraytriage screen; choose another --out."
        ) from error


def _refuse_strangers(out: Path) -> None:
    for name in RESULTS:
        if (out / name).exists():
            raise FolderTaken(
                f"{out / name} is there, and no run of xraytriage screen wrote it; "
                "choose another --out."
            )


def _clear(out: Path) -> None:
    """Take away the results of a finished run, so that none of them mixes with the new ones."""
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "heatmaps", ignore_errors=True)
