"""`xraytriage demo`: the whole system on the sample images, to look at."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import USAGE, WRONG
from pipeline.commands.version import program
from pipeline.states import Priority

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pipeline.embedded import Stack
    from pipeline.reports.summary import Summary

SAMPLES = Path("samples")
RESULTS = "results"
SHOWN = 3
"""Findings of an image that the table names."""
WIDTH = 130


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder of results and state; emptied.", file_okay=False)
    ] = Path("demo-out"),
    stay: Annotated[
        bool | None,
        typer.Option(
            help="Keep the web page and Flower up until Ctrl-C.  [default: on a terminal]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Triage the sample images with the whole stack, then show where to look.

    Run it where the project's `samples` folder is. Starts broker, storage, API, one worker pool a
    stage and Flower; sends real X-rays and other images through; ends with a table of what was
    found beside what the source of each image says it is.

    Exit code: 0 when every image has its final answer, 1 when not, 2 without samples.
    """
    from rich.console import Console

    if not (SAMPLES / "images").is_dir():
        typer.echo(
            "Error: there is no samples/images here; run it in the project's folder.", err=True
        )
        raise typer.Exit(USAGE)
    # Wide enough for the table also where the output is a file.
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    shutil.rmtree(out, ignore_errors=True)
    try:
        is_whole = _run(console, out, sys.stdout.isatty() if stay is None else stay)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(0 if is_whole else WRONG)


def _run(console: "Console", out: Path, stay: bool) -> bool:
    from pipeline.embedded import Stack
    from pipeline.embedded.view import View
    from pipeline.settings import Settings

    view = View(console)
    stack = Stack(Settings(data_dir=out / "state"), on_change=view.change)
    try:
        with view:
            stack.start()
        summary = _screen(console, stack, out / RESULTS)
        console.print(_table(out / RESULTS / "results.csv"))
        _print_addresses(console, stack, out / RESULTS)
        if stay:
            console.print("\nEverything stays up for you to try. Ctrl-C stops it.")
            stack.wait()
    finally:
        stack.stop()
    return summary.unfinished == 0


def _screen(console: "Console", stack: "Stack", out: Path) -> "Summary":
    from pipeline.commands.progress import Display
    from pipeline.context import Context
    from pipeline.screen import Order, screen

    order = Order((str(SAMPLES / "images"),), out, Priority.BULK, None, program())
    with Display(console, lambda: stack.wait(0)) as display:
        return screen(Context.open(stack.settings), order, display.tell)


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
        return "not an X-ray" if row["is_xray"] == "false" else "not readable as one"
    words = {"true": ", abnormal", "false": ", normal"}
    return row["xray_type"] + words.get(row["abnormal"], "")


def _answer(row: dict[str, str]) -> tuple[str, str, str]:
    """What was found, its score, and the findings or the reason."""
    if row["status"] != "done":
        return (row["status"], row["xray_score"], row["reason"].partition(": ")[2])
    words = {"true": ", abnormal", "false": ", normal"}
    found = row["xray_type"] + words.get(row["abnormal"], "")
    score = row["abnormality_score"] or row["type_score"]
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
