"""A part is started, watched, started again and given up; with real, tiny processes."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.embedded import keeper as subject
from pipeline.embedded import procfs
from pipeline.embedded.keeper import DEATHS, FIRST_START_TRIES, Keeper, State, pause_after
from pipeline.embedded.part import Part, Tier

FOR_EVER = "import time; time.sleep(600)"
DEADLINE_S = 60.0


def part(code: str, ready: Callable[[], bool] = lambda: True, **options: float) -> Part:
    python = [sys.executable, "-S", "-c", code]
    return Part("it", python, ready, Tier.WORKER, env={"PATH": ""}, **options)  # type: ignore[arg-type]


class Kept:
    """A keeper and what it said."""

    def __init__(self, folder: Path, made: Part) -> None:
        self.said: list[tuple[State, str]] = []
        self.keeper = Keeper(
            made, folder, lambda _, state, detail: self.said.append((state, detail))
        )
        self.keeper.start()

    def tick_until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < end, self.said
            self.keeper.tick()
            time.sleep(0.01)

    def until(self, state: State) -> None:
        self.tick_until(lambda: self.keeper.state is state)

    @property
    def pid(self) -> int:
        assert self.keeper.child is not None
        return self.keeper.child.pid


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Kept]:
    def make(code: str, ready: Callable[[], bool] = lambda: True, **options: float) -> Kept:
        made = Kept(tmp_path, part(code, ready, **options))
        request.addfinalizer(made.keeper.end)
        return made

    return make


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LONGEST_PAUSE_S", 0.05)


@pytest.mark.parametrize(
    ("deaths", "was_ready", "pause_s"),
    [
        ([0.0], False, 0.05),
        ([0.0] * (FIRST_START_TRIES - 1), False, 0.05),
        ([0.0] * FIRST_START_TRIES, False, None),
        ([0.0] * FIRST_START_TRIES, True, 0.05),
        ([0.0] * DEATHS, True, None),
        ([0.0, 1000.0, 2000.0, 3000.0, 4000.0, 5000.0], True, 0.05),  # long ago is forgotten
    ],
)
def test_when_to_start_again(deaths: list[float], was_ready: bool, pause_s: float | None) -> None:
    assert pause_after(deaths, was_ready=was_ready) == pause_s


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LONGEST_PAUSE_S", 15.0)
    pauses = [pause_after([0.0] * count, was_ready=True) for count in range(1, DEATHS)]
    assert pauses == [0.5, 1.0, 2.0, 4.0]


def test_a_part_is_ready_when_it_says_so(kept: Callable[..., Kept]) -> None:
    serves: list[bool] = []
    it = kept(FOR_EVER, ready=lambda: bool(serves))
    it.keeper.tick()
    assert it.keeper.state is State.STARTING
    serves.append(True)
    it.until(State.READY)


def test_a_part_that_dies_comes_back(kept: Callable[..., Kept]) -> None:
    it = kept(FOR_EVER)
    it.until(State.READY)
    first = it.pid
    procfs.kill_session(first)
    it.until(State.RESTING)
    assert "killed by signal 9" in it.said[-1][1]
    it.until(State.READY)
    assert it.pid != first


def test_a_part_that_never_starts_is_given_up_with_its_last_words(
    kept: Callable[..., Kept],
) -> None:
    it = kept("import sys; print('no such weights'); sys.exit(3)", ready=lambda: False)
    it.until(State.FAILED)
    assert sum(state is State.STARTING for state, _ in it.said) == FIRST_START_TRIES
    assert "ended with code 3" in it.said[-1][1]
    assert "no such weights" in it.keeper.failure()
    assert str(it.keeper.log) in it.keeper.failure()


def test_a_part_that_is_never_ready_is_started_again(kept: Callable[..., Kept]) -> None:
    it = kept(FOR_EVER, ready=lambda: False, ready_s=0.0)
    it.until(State.RESTING)
    assert "not ready" in it.said[-1][1]


def test_descendants_end_with_their_part(kept: Callable[..., Kept]) -> None:
    spawn = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[0]])"
    it = kept(f"{spawn.replace('sys.argv[0]', repr(FOR_EVER))}; {FOR_EVER}")
    it.tick_until(lambda: len(list(procfs.session_members(it.pid))) == 2)
    it.keeper.terminate()
    it.keeper.end()
    assert not list(procfs.session_members(it.pid))
    assert it.keeper.state is State.STOPPED


def test_a_part_may_finish_before_it_is_killed(kept: Callable[..., Kept], tmp_path: Path) -> None:
    polite = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('finished', flush=True), sys.exit(0)))\n"
        "print('working', flush=True)\n"
        "time.sleep(600)\n"
    )
    it = kept(polite, grace_s=DEADLINE_S)
    it.tick_until(lambda: it.keeper.log.exists() and "working" in it.keeper.log.read_text())
    asked_at = time.monotonic()
    it.keeper.terminate()
    it.tick_until(lambda: not it.keeper.may_go_on(asked_at))
    it.keeper.end()
    assert "finished" in it.keeper.log.read_text()
    assert it.said[-1] == (State.STOPPED, "")


def test_a_part_that_ignores_sigterm_is_killed_after_its_grace(kept: Callable[..., Kept]) -> None:
    deaf = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(600)\n"
    )
    it = kept(deaf, grace_s=0.2)
    it.tick_until(lambda: it.keeper.log.exists() and "deaf" in it.keeper.log.read_text())
    asked_at = time.monotonic()
    it.keeper.terminate()
    it.tick_until(lambda: not it.keeper.may_go_on(asked_at))
    it.keeper.end()
    assert it.said[-1] == (State.STOPPED, "killed, its grace was over")
