"""`xraytriage up`: the stack in the foreground, until somebody stops it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from pipeline.embedded.crew import StackError
from pipeline.embedded.servers import MissingServerError
from pipeline.embedded.stack import AlreadyRunning, Stack
from pipeline.embedded.view import View, addresses_table
from pipeline.settings import Settings

STOPPED = 0
FAILED = 1
ALREADY_RUNNING = 2

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    settings: Settings,
    *,
    flower: bool = True,
    workers: bool = True,
    api: bool = True,
    console: Console | None = None,
) -> int:
    """Run the stack until Ctrl-C or SIGTERM; returns the exit code. Call it in the main thread.

    0: stopped as asked. 1: a part could not be started or kept alive. 2: a stack already runs
    on this data folder.
    """
    console = console or Console(stderr=True)
    view = View(console)
    stack = Stack(settings, flower=flower, workers=workers, api=api, on_change=view.change)
    with _signals_stop(stack):
        try:
            with view:
                stack.start()
            if not stack.stopping:
                console.print(addresses_table(stack.addresses))
                console.print(f"state and logs: {stack.settings.data_dir}", highlight=False)
            stack.wait()
        except AlreadyRunning as error:
            say_running(console, error)
            return ALREADY_RUNNING
        except (StackError, MissingServerError) as error:
            console.print(f"error: {error}", style="red", markup=False, highlight=False)
            return FAILED
        finally:
            stack.stop()
    return STOPPED


def say_running(console: Console, error: AlreadyRunning) -> None:
    """Tell who asked for a second stack what runs already, and where."""
    console.print(str(error), markup=False, highlight=False)
    console.print(addresses_table(error.addresses))


@contextmanager
def interrupting(stack: Stack) -> Iterator[None]:
    """The first signal raises KeyboardInterrupt, further ones only tell the stack to hurry.

    For a command that does something of its own with the stack before it stops it; leaving the
    `with` must not be cut short by the second Ctrl-C of an impatient person.
    """
    heard = False

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal heard
        if heard or stack.stopping:
            stack.request_stop()
            return
        heard = True
        raise KeyboardInterrupt

    with _handling(handle):
        yield


@contextmanager
def _signals_stop(stack: Stack) -> Iterator[None]:
    """The first signal drains, a second one does not wait."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stack.request_stop()

    with _handling(handle):
        yield


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
