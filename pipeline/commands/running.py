"""Which servers a command talks to: configured ones, a running stack, or one for this run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline.commands.options import WRONG

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.context import Context
    from pipeline.settings import Settings


def reachable(settings: "Settings") -> "Settings":
    """The addresses of the stack on this data directory, where one runs; else `settings`."""
    from pipeline.embedded import connect

    return connect(settings) or settings


def is_configured(settings: "Settings") -> bool:
    """Whether the servers are somebody else's and only have to be spoken to."""
    return settings.broker_url is not None and settings.s3_endpoint is not None


def open_context(settings: "Settings") -> "Context":
    """A context on a database that is there; ends the command where there is none."""
    from pipeline.context import Context

    require_database(settings)
    return Context.open(reachable(settings))


def require_database(settings: "Settings") -> None:
    """End the command where nothing was ever screened on this data directory."""
    # A stack that runs here may have been told of a database that this shell knows nothing of.
    if reachable(settings).database_url is None and not settings.sqlite_path.exists():
        typer.echo(
            f"There is no database below {settings.data_dir} yet: start the stack with "
            "`xraytriage up`, or point --data-dir at the one that you mean.",
            err=True,
        )
        raise typer.Exit(WRONG)


@dataclass(frozen=True, slots=True)
class Reached:
    """Servers and workers that answer."""

    settings: "Settings"
    check: Callable[[], object]
    """Raises StackError when a part that was started for this run could not be kept alive."""


@contextmanager
def for_one_run(
    settings: "Settings", console: "Console", *, flower: bool = False, workers: bool = True
) -> Iterator[Reached]:
    """A running or configured stack, else one that ends with the block.

    Raises StackError and MissingServerError where one cannot be started.
    """
    from pipeline import db
    from pipeline.embedded import Stack, connect
    from pipeline.embedded.view import View

    if (running := connect(settings)) is not None:
        yield Reached(running, lambda: None)
        return
    if is_configured(settings):
        db.upgrade(settings)
        yield Reached(settings, lambda: None)
        return
    view = View(console)
    parts = {"flower": flower, "workers": workers, "api": False}
    stack = Stack(settings, **parts, on_change=view.change)
    try:
        with view:
            stack.start()
        for name, address in stack.addresses.items():
            console.print(f"{name}: {address}", highlight=False)
        yield Reached(stack.settings, lambda: stack.wait(0))
    finally:
        stack.stop()
