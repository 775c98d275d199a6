"""Marks of progress: who makes them, and who is still there to have made them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.pulse import Pulse, marks
from pipeline.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(pulse_dir=tmp_path / "pulse")


def aged(folder: Path, role: str, seconds: float) -> None:
    """Let the marks of this process look that old."""
    then = time.time() - seconds
    os.utime(folder / f"{role}.{os.getpid()}", (then, then))


def test_off_unless_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pulse = Pulse(Settings(), "gate")
    pulse.move()
    with pulse.chunk():
        pulse.move()
    assert not list(tmp_path.iterdir())


def test_a_chunk_counts_while_it_is_in_hand(settings: Settings) -> None:
    assert settings.pulse_dir is not None
    pulse = Pulse(settings, "gate")
    assert marks(settings.pulse_dir, "gate") == []
    with pulse.chunk(), pulse.chunk():
        (mark,) = marks(settings.pulse_dir, "gate")
        assert (mark.pid, mark.in_hand) == (os.getpid(), 2)
    (mark,) = marks(settings.pulse_dir, "gate")
    assert mark.in_hand == 0


def test_a_chunk_that_fails_is_out_of_hand(settings: Settings) -> None:
    assert settings.pulse_dir is not None
    pulse = Pulse(settings, "gate")
    with pytest.raises(ZeroDivisionError), pulse.chunk():
        raise ZeroDivisionError
    assert marks(settings.pulse_dir, "gate")[0].in_hand == 0


def test_a_move_makes_the_mark_young_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.pulse_dir is not None
    monkeypatch.setattr("pipeline.pulse.REST_S", 0.0)
    pulse = Pulse(settings, "chest")
    with pulse.chunk():
        aged(settings.pulse_dir, "chest", 1000)
        assert marks(settings.pulse_dir, "chest")[0].age_s > 900
        pulse.move()
        (mark,) = marks(settings.pulse_dir, "chest")
        assert (mark.in_hand, mark.age_s < 900) == (1, True)


def test_the_dead_leave_no_marks(settings: Settings) -> None:
    assert settings.pulse_dir is not None
    settings.pulse_dir.mkdir()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (settings.pulse_dir / f"gate.{dead.pid}").write_text("1")
    assert marks(settings.pulse_dir, "gate") == []
    assert not list(settings.pulse_dir.iterdir())


def test_roles_do_not_see_each_other(settings: Settings) -> None:
    assert settings.pulse_dir is not None
    Pulse(settings, "gate").move()
    Pulse(settings, "gate-type-chest").move()
    assert len(marks(settings.pulse_dir, "gate")) == 1
