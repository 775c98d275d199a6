"""Children tell their parent what they count; the parent believes little."""

import json
import os
import select
import threading

import pytest

from pipeline import metrics
from pipeline.states import State
from workers.relay import Relay, take


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"xraytriage_{name}", labels) or 0.0


@pytest.fixture
def relay() -> Relay:
    return Relay()


def until_end(relay: Relay) -> None:
    """Count what is in the pipe, as the listening thread does, to its end."""
    os.close(relay._writer)
    relay._count_all()


def test_what_a_child_counts_is_counted_by_its_parent(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"stage": "prepare"}
    waits, ended = value("queue_wait_seconds_count", **labels), {"state": "done", "reason_code": ""}
    before = value("images_ended_total", **ended)
    monkeypatch.setattr(metrics, "_sink", relay.tell)
    metrics.claimed("prepare", [0.5] * 1000, 1)
    metrics.ended([(State.DONE, None)] * 2)
    assert value("queue_wait_seconds_count", **labels) == waits, "not yet: it is in the pipe"
    until_end(relay)
    assert value("queue_wait_seconds_count", **labels) == waits + 1000
    assert value("images_ended_total", **ended) == before + 2


def test_messages_are_written_in_one_piece(relay: Relay) -> None:
    relay.tell("xraytriage_queue_wait_seconds", ("prepare",), [123456.654321] * 500)
    os.close(relay._writer)
    with os.fdopen(relay._reader, "rb") as pipe:
        lines = pipe.read().splitlines(keepends=True)
    assert len(lines) == 4
    assert max(map(len, lines)) <= select.PIPE_BUF


def test_a_pipe_that_nobody_empties_does_not_hold_up_the_work(relay: Relay) -> None:
    done = threading.Event()

    def fill() -> None:
        for _ in range(3000):
            relay.tell("attempts", ("prepare", "finished"), (1,))
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    assert done.wait(30)
    until_end(relay)


def test_a_parent_that_is_gone_does_not_either(relay: Relay) -> None:
    os.close(relay._reader)
    relay.tell("attempts", ("prepare", "finished"), (1,))
    os.close(relay._writer)


@pytest.mark.parametrize(
    "message",
    [
        ["attempts", ["prepare", "of my own"], [1], 1],
        ["no such counter", ["prepare"], [1], 1],
        ["attempts", ["prepare"], [1], 1],
        ["xraytriage_queue_wait_seconds", ["prepare", "failed"], [1], 1],
        ["attempts", ["prepare", "failed"], [-5], 1],
        ["attempts", ["prepare", "failed"], ["x"], 1],
        ["attempts", ["prepare", "failed"], [1e999], 1],
        ["attempts", [["prepare"], "failed"], [1], 1],
        [["attempts"], ["prepare", "failed"], [1], 1],
        {"attempts": 1},
        7,
    ],
)
def test_a_child_that_was_taken_over_can_count_no_nonsense(message: object) -> None:
    before = value("attempts_total", stage="prepare", outcome="failed")
    assert not take(json.dumps(message).encode() + b"\n")
    assert value("attempts_total", stage="prepare", outcome="failed") == before


@pytest.mark.parametrize("line", [b"\n", b"\xff\xfe\n", b"[" * 5000, b'["attempts"'])
def test_what_is_no_message_is_passed_over(line: bytes) -> None:
    assert not take(line)
