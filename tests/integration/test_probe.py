"""`xraytriage probe` at a real broker: idle, busy, stuck, and somebody else's trouble."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from pipeline import probe
from pipeline.dispatch import line_of
from pipeline.pulse import Pulse
from pipeline.settings import Settings
from pipeline.states import Priority

LONG_AGO_S = 3600.0


@pytest.fixture
def place(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with marks; an idle worker is given little time."""
    monkeypatch.setattr(probe, "TAKE_S", 1.0)
    return settings.model_copy(update={"pulse_dir": tmp_path / "pulse"})


@pytest.fixture
def broker(place: Settings) -> Iterator[Redis]:
    assert place.broker_url is not None
    with Redis.from_url(place.broker_url) as client:
        yield client


def aged(place: Settings, role: str) -> None:
    assert place.pulse_dir is not None
    then = time.time() - LONG_AGO_S
    os.utime(place.pulse_dir / f"{role}.{os.getpid()}", (then, then))


def test_who_made_no_mark_has_not_started(place: Settings) -> None:
    assert probe.trouble(place, "gate") == "it has not started"


def test_without_a_folder_nobody_can_tell(settings: Settings) -> None:
    assert "XRAYTRIAGE_PULSE_DIR" in (probe.trouble(settings, "gate") or "")


def test_idle_with_nothing_waiting_is_well(place: Settings) -> None:
    Pulse(place, "gate").move()
    aged(place, "gate")
    assert probe.trouble(place, "gate") is None


@pytest.mark.parametrize("priority", list(Priority))
def test_idle_while_messages_wait_is_stuck(
    place: Settings, broker: Redis, priority: Priority
) -> None:
    Pulse(place, "gate-type").move()
    aged(place, "gate-type")
    broker.lpush(line_of("chest", priority), "not for this one")
    assert probe.trouble(place, "gate-type") is None
    broker.lpush(line_of("type", priority), "message")
    assert probe.trouble(place, "gate-type") == "1 messages wait and it takes none"


def test_a_message_that_is_taken_in_time_is_well(place: Settings, broker: Redis) -> None:
    Pulse(place, "gate").move()
    aged(place, "gate")
    broker.lpush(line_of("gate", Priority.STAT), "message")
    taken = threading.Timer(0.2, broker.rpop, [line_of("gate", Priority.STAT)])
    taken.start()
    assert probe.trouble(place, "gate") is None
    taken.join()


def test_a_chunk_that_stands_still_is_stuck_whatever_waits(place: Settings) -> None:
    with Pulse(place, "chest").chunk():
        assert probe.trouble(place, "chest") is None
        aged(place, "chest")
        assert "has not moved" in (probe.trouble(place, "chest") or "")


def test_a_broker_that_does_not_answer_is_not_the_workers_trouble(place: Settings) -> None:
    Pulse(place, "gate").move()
    aged(place, "gate")
    away = place.model_copy(update={"broker_url": "redis://127.0.0.1:9/0"})
    assert probe.trouble(away, "gate") is None


@pytest.mark.parametrize("role", probe.LOOPS)
def test_a_loop_that_no_longer_turns_is_stuck(place: Settings, role: str) -> None:
    Pulse(place, role).move()
    assert probe.trouble(place, role) is None
    aged(place, role)
    assert "has not moved" in (probe.trouble(place, role) or "")


@pytest.mark.parametrize("role", probe.FRONTS)
def test_a_front_that_does_not_answer_is_in_trouble(place: Settings, role: str) -> None:
    nobody = place.model_copy(update={"port": 9, "flower_port": 9})
    assert probe.trouble(nobody, role) == "no answer on port 9"
