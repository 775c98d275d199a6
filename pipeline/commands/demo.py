"""`xraytriage demo`: the whole system on the sample images, to look at."""

import csv
import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import USAGE, WRONG, DeviceWord, settings_of
from pipeline.commands.version import program
from pipeline.reasons import ReasonCode
from pipeline.states import Priority, State

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.embedded import Stack
    from pipeline.reports.summary import Summary
    from pipeline.settings import Settings

SAMPLES = Path("samples")
RESULTS, STATE = "results", "state"
MARK = "made-by-xraytriage-demo"
"""A file that says whose folder it is: only then `results` and `state` in it are removed."""
NOT_XRAY = "not an X-ray"
SHOWN = 3
"""Findings of an image that the table names."""
WIDTH = 130


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of results and state of demos.", file_okay=False)
    ] = Path("demo-out"),
    stay: Annotated[
        bool | None,
        typer.Option(
            help="Keep the web page and Flower up until Ctrl-C.  [default: on a terminal]",
            show_default=False,
        ),
    ] = None,
    device: DeviceWord = None,
) -> None:
    """Triage the sample images with the whole stack, then show where to look.

    Run it where the project's `samples` folder is. Starts broker, storage, API, one worker pool a
    stage and Flower; sends real X-rays and other images through; ends with a table of what was
    found beside what the source of each image says it is. The results of the last demo in --out
    are replaced; any other folder that is not empty is refused.

    Exit code: 0 when every image has its final answer, 1 when not, 2 without samples, where --out
    is something else's, and when a demo runs in it already.
    """
    from rich.console import Console

    if not (SAMPLES / "images").is_dir():
        typer.echo(
            "Error: there is no samples/images here; run it in the project's folder.", err=True
        )
        raise typer.Exit(USAGE)
    # Wide enough for the table also where the output is a file.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    settings = settings_of(out / STATE, device=device)
    stays = sys.stdout.isatty() if stay is None else stay
    raise typer.Exit(_exit_code(console, settings, out, stays))


def _exit_code(console: "Console", settings: "Settings", out: Path, stays: bool) -> int:
    from pipeline.embedded import AlreadyRunning, say_running

    try:
        _empty(out)
        return 0 if _run(console, settings, out / RESULTS, stays) else WRONG
    except AlreadyRunning as error:
        say_running(console, error)
        return USAGE
    except KeyboardInterrupt:
        console.print("Stopped before every image had its answer.")
        return WRONG


def _empty(out: Path) -> None:
    """Take away what an earlier demo left. Raises AlreadyRunning, and BadParameter for a folder
    of somebody else.
    """
    from pipeline.embedded import AlreadyRunning, record

    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        raise typer.BadParameter(
            f"{out} is not empty and no demo made it; choose another, or remove it first",
            param_hint="--out",
        )
    if not record.clear(out / STATE):
        raise AlreadyRunning(out / STATE, record.read(out / STATE))
    if (out / RESULTS).exists():
        shutil.rmtree(out / RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _run(console: "Console", settings: "Settings", results: Path, stays: bool) -> bool:
    """Whether every image has its final answer; asked to stop after that, it has, too.

    Raises KeyboardInterrupt where it is stopped before.
    """
    from pipeline.embedded import Stack, interrupting
    from pipeline.embedded.view import View

    view = View(console)
    stack = Stack(settings, on_change=view.change)
    with interrupting(stack):
        try:
            with view:
                stack.start()
            summary = _screen(console, stack, results)
            console.print(_table(results / "results.csv"))
            _print_addresses(console, stack, results)
            if stays:
                _stay(console, stack)
        finally:
            stack.stop()
    return summary.unfinished == 0


def _stay(console: "Console", stack: "Stack") -> None:
    console.print("\nEverything stays up for you to try. Ctrl-C stops it.")
    with suppress(KeyboardInterrupt):
        stack.wait()


def _screen(console: "Console", stack: "Stack", out: Path) -> "Summary":
    from pipeline.commands.progress import Display
    from pipeline.context import Context
    from pipeline.screen import Interrupted, Order, screen

    order = Order((str(SAMPLES / "images"),), out, Priority.BULK, None, program())
    try:
        with Display(console, lambda: stack.wait(0)) as display:
            return screen(Context.open(stack.settings), order, display.tell)
    except Interrupted:
        raise KeyboardInterrupt from None


def _table(results: Path) -> "Table":
    from rich.table import Table

    table = Table(title="What was found, beside what the source of the image says")
    for heading in ("image", "says the source", "says xraytriage", "score", "findings or reason"):
        table.add_column(heading)
    truth = _truth()
    with results.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = str(Path(row["path"]).relative_to(SAMPLES))
            table.add_row(name.removeprefix("images/"), truth.get(name, "?"), *_answer(row))
    return table


def _truth() -> dict[str, str]:
    with (SAMPLES / "expected.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: _expected(row) for row in csv.DictReader(file)}


def _expected(row: dict[str, str]) -> str:
    if row["is_xray"] != "true":
        return NOT_XRAY if row["is_xray"] == "false" else "not readable as one"
    words = {"true": ", abnormal", "false": ", normal"}
    return row["xray_type"] + words.get(row["abnormal"], "")


def _answer(row: dict[str, str]) -> tuple[str, str, str]:
    """What was found, a score and of what it is one, and the findings or the reason."""
    code, _, reason = row["reason"].partition(": ")
    if code == ReasonCode.NOT_XRAY:
        return NOT_XRAY, f"X-ray {row['xray_score']}", ""
    if row["status"] != State.DONE:
        return row["status"], "", reason
    words = {"true": ", abnormal", "false": ", normal"}
    found = row["xray_type"] + words.get(row["abnormal"], "")
    score = (
        f"abnormal {row['abnormality_score']}"
        if row["abnormality_score"]
        else f"{row['xray_type']} {row['type_score']}"
    )
    return found, score, _few(json.loads(row["findings"] or "{}"))


def _few(findings: dict[str, float]) -> str:
    most = [f"{label} {score:.2f}" for label, score in list(findings.items())[:SHOWN]]
    left = len(findings) - len(most)
    return ", ".join(most) + (f" and {left} more" if left else "")


def _print_addresses(console: "Console", stack: "Stack", results: Path) -> None:
    console.print("xraytriage is not a medical device.")
    lines = {"Report": str(results / "report.html")}
    names = {"api": "Web page", "flower": "Flower"}
    lines |= {names.get(name, name): address for name, address in stack.addresses.items()}
    for name, where in lines.items():
        console.print(f"{name + ':':10}{where}", soft_wrap=True, highlight=False)
