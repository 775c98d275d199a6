"""What a person sees of the stack: parts as they come up, addresses, later what happens to them."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pipeline.embedded.keeper import State

STYLES = {
    State.STARTING: "yellow",
    State.READY: "green",
    State.RESTING: "yellow",
    State.FAILED: "bold red",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
}


class View:
    """Inside its `with` a live list of all parts; afterwards one line for each event."""

    def __init__(self, console: Console) -> None:
        """Show everything on `console`."""
        self._console = console
        self._parts: dict[str, tuple[State, str]] = {}
        self._stopping = False
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=8)

    def change(self, name: str, state: State, detail: str) -> None:
        """A part is in another state; any thread may say so."""
        if state is State.STOPPING and not self._stopping:
            self._stopping = True
            self._console.print("stopping; what runs is finished first (once more: now)")
        self._parts[name] = (state, detail)
        if not self._live.is_started and (detail or state is State.FAILED):
            self._console.print(Text.assemble(f"{name}: ", _words(state, detail)))

    def __enter__(self) -> Self:
        """Show the list."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave it on the screen as it is."""
        self._live.stop()
        if not self._console.is_terminal:
            self._console.line()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, (state, detail) in list(self._parts.items()):
            waiting = state is State.STARTING and self._live.is_started
            words = _words(state, detail)
            table.add_row(name, Spinner("dots", words) if waiting else words)
        return table


def addresses_table(addresses: Mapping[str, str]) -> Table:
    """Where a person finds what runs."""
    table = Table.grid(padding=(0, 2))
    if "api" in addresses:
        table.add_row("web page", f"{addresses['api']}/")
        table.add_row("API docs", f"{addresses['api']}/docs")
    if "flower" in addresses:
        table.add_row("Flower", f"{addresses['flower']}/")
    return table


def _words(state: State, detail: str) -> Text:
    return Text(f"{state} ({detail})" if detail else str(state), STYLES[state])
