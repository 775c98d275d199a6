"""`xraytriage screen`: folders and zips in, tables, heatmaps and a page out."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline.commands.options import USAGE, WRONG, DataDir, DeviceWord, settings_of
from pipeline.commands.running import OwnerGone, for_one_run
from pipeline.commands.version import program
from pipeline.states import Priority

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.reports.summary import Summary
    from pipeline.screen import Order
    from pipeline.settings import Settings

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Files, folders and zips. Folders are walked to the bottom.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the results.", file_okay=False)]
PriorityWord = Annotated[
    Literal["stat", "routine", "bulk"],
    typer.Option(help="stat overtakes routine, routine overtakes bulk."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help="Screen the first so many images only.", show_default=False),
]
WithFlower = Annotated[
    bool, typer.Option("--flower", help="Start Flower too, where a stack is started.")
]


EXAMPLES = """\b
Examples:
  xraytriage screen samples/images
  xraytriage screen /mnt/archive exports.zip --out june --priority routine
  xraytriage screen /mnt/archive --limit 100 --out trial
"""


def screen(
    paths: Paths,
    out: Out = Path("xraytriage-results"),
    priority: PriorityWord = "bulk",
    limit: Limit = None,
    flower: WithFlower = False,
    device: DeviceWord = None,
    data_dir: DataDir = None,
) -> None:
    """Screen all images in files, folders and zips, and write what was found.

    \b
    Into --out it writes
      results.csv     one row for each path walked, unreadable and refused files included;
                      a finding marked "(experimental)" comes from a label with little data
      results.jsonl   everything: all scores, thresholds, versions, timings
      heatmaps/       a PNG for each positive finding
      summary.json    counts, speed, versions
      report.html     the page to read
    In names, a byte that is no text is written \\xNN, and a backslash \\\\.

    Talks to the stack that runs on --data-dir or to the servers that are configured; where there
    is none, one is started for the run, with --device. Stopped by Ctrl-C or by a crash, the same
    command goes on where it was. An --out that holds results of other paths is refused.

    Exit code: 0 when every image has a final answer, refused ones included; 1 when not, or after
    Ctrl-C; 2 for wrong usage.
    """

    # All that takes time is in here, imports too: Ctrl-C is answered from the first second.
    def work() -> int:
        _check(paths, out)
        from pipeline.screen import Order

        order = Order(tuple(paths), out, Priority.parse(priority), limit, program())
        return _exit_code(settings_of(data_dir, device=device), order, flower)

    raise typer.Exit(_until_stopped(work))


def _until_stopped(work: Callable[[], int]) -> int:
    # A service manager stops with SIGTERM what a person stops with Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        typer.echo("Stopped. The same command goes on where it was.", err=True)
        return WRONG


def _exit_code(settings: "Settings", order: "Order", flower: bool) -> int:
    from pipeline import resume
    from pipeline.resume import FolderTaken

    while True:
        try:
            # The run itself checks it, too; but who is refused need not wait for a stack.
            resume.check(order.out, order.keys)
            return 0 if _run(settings, order, flower) else WRONG
        except OwnerGone:
            typer.echo("The stack that this run used has ended; going on with another.", err=True)
        except FolderTaken as error:
            typer.echo(f"Error: {error}", err=True)
            return USAGE


def _check(paths: list[str], out: Path) -> None:
    for path in paths:
        found = Path(path)
        if not found.exists() and not found.is_symlink():
            raise typer.BadParameter(f"there is no {path}", param_hint="PATH")
        if found.resolve() == out.resolve():
            raise typer.BadParameter(f"{path} is where the results go", param_hint="PATH")


def _run(settings: "Settings", order: "Order", flower: bool) -> bool:
    """Run on a stack; returns whether every image has its final answer."""
    from rich.console import Console

    from pipeline import tracing
    from pipeline.commands.progress import Display
    from pipeline.context import Context
    from pipeline.screen import Interrupted, screen

    console = Console(stderr=True)
    with for_one_run(settings, console, flower=flower) as reached:
        tracing.set_up(reached.settings, "screen")
        context = Context.open(reached.settings)
        context.store.ensure_bucket()
        try:
            with Display(console, reached.check) as display:
                summary = screen(context, order, display.tell)
        except Interrupted as stopped:
            _print(stopped.summary, order.out)
            raise KeyboardInterrupt from None
        _print(summary, order.out)
    return summary.unfinished == 0


def _print(summary: "Summary", out: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(summary))
    if summary.heatmaps_missing:
        console.print(f"{summary.heatmaps_missing} heatmaps could not be read from the storage.")
    console.print(f"Report:  {out / 'report.html'}", soft_wrap=True, highlight=False)
    console.print(f"Table:   {out / 'results.csv'}", soft_wrap=True, highlight=False)


def _table(summary: "Summary") -> "Table":
    from rich.table import Table

    from pipeline.reports.summary import ordered

    noun = "image" if summary.images == 1 else "images"
    table = Table(title=f"{summary.images:,} {noun}", title_justify="left")
    table.add_column("")
    table.add_column("what")
    table.add_column("images", justify="right")
    examined = {"abnormal": summary.abnormal, "not abnormal": summary.judged - summary.abnormal}
    for heading, rows in (
        ("status", ordered(summary.statuses)),
        ("refused or kept for", ordered(summary.reasons)),
        ("body part", ordered(summary.types)),
        ("examined", examined if summary.judged else {}),
        ("findings", ordered(summary.findings)),
    ):
        for index, (name, count) in enumerate(rows.items()):
            is_last = index == len(rows) - 1
            table.add_row("" if index else heading, name, f"{count:,}", end_section=is_last)
    return table
