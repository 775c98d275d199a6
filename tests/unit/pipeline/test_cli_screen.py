"""What `xraytriage screen` shows and exits with; the run itself is tested in test_screen.py."""

import io
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline import cli, context, resume
from pipeline import screen as screening
from pipeline.commands import progress
from pipeline.commands import screen as command
from pipeline.commands.running import OwnerGone, Reached
from pipeline.pace import Progress
from pipeline.reports.summary import Summary
from pipeline.resume import FolderTaken
from pipeline.screen import Interrupted, Order
from pipeline.settings import Settings
from pipeline.states import Priority, State

Run = Callable[..., Summary]


@pytest.fixture(autouse=True)
def _keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def summary(**counts: int) -> Summary:
    return Summary(images=sum(counts.values()), statuses=Counter(counts))


def screened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: Run, *arguments: str
) -> tuple[Any, list[Order]]:
    """The command with `run` in the place of the use case, on a stack that is there."""
    orders: list[Order] = []

    @contextmanager
    def stack(settings: Settings, *_: object, **__: object) -> Iterator[Reached]:
        yield Reached(settings, lambda: None)

    def use_case(_: object, order: Order, tell: Callable[[Progress], None]) -> Summary:
        orders.append(order)
        tell(Progress("sending", {State.DONE: 1}, 2, 1.0))
        return run()

    store = SimpleNamespace(ensure_bucket=lambda: None)
    monkeypatch.setattr(command, "for_one_run", stack)
    monkeypatch.setattr(context.Context, "open", lambda _: SimpleNamespace(store=store))
    monkeypatch.setattr(screening, "screen", use_case)
    (tmp_path / "in").mkdir()
    given = ["screen", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *arguments]
    return CliRunner().invoke(cli.app, given), orders


def test_all_ended_is_exit_code_0(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown, orders = screened(
        monkeypatch,
        tmp_path,
        lambda: summary(done=2, rejected=1),
        "--priority",
        "stat",
        "--limit",
        "5",
    )
    assert shown.exit_code == 0
    assert "3 images" in shown.output
    assert "report.html" in shown.output
    (order,) = orders
    assert (order.priority, order.limit) == (Priority.STAT, 5)
    assert order.paths == (str(tmp_path / "in"),)


def test_something_unfinished_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, _ = screened(monkeypatch, tmp_path, lambda: summary(done=2, gated=1))
    assert shown.exit_code == 1


def test_stopped_it_shows_what_is_there_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, _ = screened(monkeypatch, tmp_path, _raising(Interrupted(summary(done=2, received=1))))
    assert shown.exit_code == 1
    assert "received" in shown.output
    assert "The same command goes on where it was." in shown.output


def test_stopped_while_it_starts_it_says_so_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, _ = screened(monkeypatch, tmp_path, _raising(KeyboardInterrupt()))
    assert shown.exit_code == 1
    assert "goes on where it was" in shown.output


def test_a_folder_of_another_run_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, _ = screened(monkeypatch, tmp_path, _raising(FolderTaken("taken")))
    assert shown.exit_code == 2
    assert "Error: taken" in shown.output


def test_a_folder_of_other_paths_is_refused_before_any_server_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    resume.begin(tmp_path / "out", ("/elsewhere",))
    shown, orders = screened(monkeypatch, tmp_path, summary)
    assert shown.exit_code == 2
    assert "other paths (/elsewhere)" in shown.output
    assert orders == []


def test_it_goes_on_with_another_stack_when_the_one_it_borrowed_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends = [OwnerGone()]

    def run() -> Summary:
        if ends:
            raise ends.pop()
        return summary(done=1)

    shown, orders = screened(monkeypatch, tmp_path, run)
    assert shown.exit_code == 0
    assert "going on with another" in shown.output
    assert len(orders) == 2


def test_a_link_to_nowhere_is_a_path_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    shown, orders = screened(
        monkeypatch, tmp_path, lambda: summary(rejected=1), str(tmp_path / "link")
    )
    assert shown.exit_code == 0
    assert orders[0].paths[1] == str(tmp_path / "link")


LOOK = Progress("waiting", {State.REJECTED: 5, State.DONE: 1995}, 4000, 12.5, "slow")


def test_a_log_gets_a_line_now_and_then() -> None:
    out = io.StringIO()
    with progress.Display(Console(file=out), lambda: None) as display:
        for _ in range(3):
            display.tell(LOOK)
    assert out.getvalue() == (
        "waiting: 2000 of 4000 · 12.5 images/s, 0:02:40 left · done 1,995  rejected 5 · slow\n"
    )


def test_a_terminal_gets_a_bar_counts_and_the_note() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with progress.Display(console, lambda: None) as display:
        display.tell(LOOK)
    assert "2000/4000" in out.getvalue()
    assert "done 1,995  rejected 5" in out.getvalue()
    assert "slow" in out.getvalue()


def test_a_stack_that_fell_over_ends_the_run() -> None:
    with (
        pytest.raises(OSError, match="fell over"),
        progress.Display(Console(file=io.StringIO()), _raising(OSError("fell over"))) as display,
    ):
        display.tell(LOOK)


def test_before_anything_is_known_the_line_says_little() -> None:
    assert progress.line(Progress("sending")) == "sending: 0 of ?"


def _raising(error: BaseException) -> Callable[[], Any]:
    def run() -> Any:
        raise error

    return run
