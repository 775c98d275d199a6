"""Which servers a command talks to: configured ones, a running stack, or one for this run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from pipeline.commands.options import WRONG

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.context import Context
    from pipeline.embedded import Stack
    from pipeline.settings import Settings

GONE_S = 10.0
"""A borrowed stack that is away for so long has ended; a service is restarted in less."""
POLL_S = 0.5


class OwnerGone(Exception):  # noqa: N818 - named for what happened
    """The stack that another process lent has ended; there may be another one by now."""


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
    """Raises StackError when a part that was started for this run could not be kept alive, and
    OwnerGone when the stack was somebody else's and has ended."""


@contextmanager
def for_one_run(
    settings: "Settings", console: "Console", *, flower: bool = False, workers: bool = True
) -> Iterator[Reached]:
    """A running or configured stack, else one that ends with the block.

    Where another process is just starting or stopping one, that is waited for. Raises StackError
    and MissingServerError where none can be started.
    """
    from pipeline.embedded import AlreadyRunning, Stack, interrupting
    from pipeline.embedded.view import View

    while (theirs := _theirs(settings)) is None:
        view = View(console)
        stack = Stack(settings, flower=flower, workers=workers, api=False, on_change=view.change)
        with interrupting(stack):
            try:
                with view:
                    stack.start()
            except AlreadyRunning as error:
                console.print(f"{error}; waiting for it", markup=False, highlight=False)
                _wait_for_other(settings)
                continue
            try:
                yield _own(stack, console)
            finally:
                stack.stop()
            return
    yield theirs


def _own(stack: "Stack", console: "Console") -> Reached:
    for name, address in stack.addresses.items():
        console.print(f"{name}: {address}", highlight=False)
    return Reached(stack.settings, lambda: stack.wait(0))


def _theirs(settings: "Settings") -> Reached | None:
    """The stack of another process or configured servers; None where there are none."""
    from pipeline import db
    from pipeline.embedded import connect

    if (running := connect(settings)) is not None:
        return Reached(running, _Borrowed(settings, running).check)
    if is_configured(settings):
        db.upgrade(settings)
        return Reached(settings, lambda: None)
    return None


class _Borrowed:
    """Watches that the stack of another process is still the one that it was."""

    def __init__(self, settings: "Settings", found: "Settings") -> None:
        self._settings = settings
        self._found = found
        self._seen = time.monotonic()

    def check(self) -> None:
        """Raises OwnerGone when it has ended, or another one runs in its place."""
        from pipeline.embedded import connect

        now = connect(self._settings)
        if now == self._found:
            self._seen = time.monotonic()
        elif now is not None or time.monotonic() - self._seen > GONE_S:
            raise OwnerGone


def _wait_for_other(settings: "Settings") -> None:
    """Until the stack that another process starts is ready, or that process lets the folder go.

    No deadline: whoever starts a stack has one, and gives up by itself.
    """
    from pipeline.embedded import connect
    from pipeline.embedded.record import Lock

    lock = Lock(settings.data_dir)
    while connect(settings) is None and not lock.take():
        time.sleep(POLL_S)
    lock.release()
