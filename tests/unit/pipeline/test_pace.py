"""Speed, time left and standstill, by a clock that the test turns."""

import pytest

from pipeline.pace import RATE_OVER_S, STALLED_AFTER_S, Pace, Progress
from pipeline.states import State


class Clock:
    """A clock that stands still until it is turned."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.look({}) == 0.0
    clock.now += 10
    assert pace.look({State.DONE: 50}) == 5.0
    clock.now += RATE_OVER_S + 1
    pace.look({State.DONE: 50})
    clock.now += 10
    assert pace.look({State.DONE: 70}) == 2.0


def test_a_resumed_run_counts_what_ended_during_itself() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.look({State.DONE: 900, State.RECEIVED: 100})
    clock.now += 4
    pace.look({State.DONE: 910, State.REJECTED: 10, State.RECEIVED: 80})
    assert pace.finished == 20
    assert pace.seconds == 4


def test_it_stands_still_when_no_count_has_changed_for_a_while() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.look({State.RECEIVED: 5})
    clock.now += STALLED_AFTER_S + 1
    assert pace.is_stalled
    pace.look({State.RECEIVED: 4, State.GATED: 1})
    assert not pace.is_stalled


@pytest.mark.parametrize(
    ("total", "per_s", "left_s"), [(100, 2.0, 45.0), (None, 2.0, None), (100, 0.0, None), (5, 1, 0)]
)
def test_time_left(total: int | None, per_s: float, left_s: float | None) -> None:
    counts = {State.DONE: 8, State.REJECTED: 2, State.GATED: 5}
    assert Progress("sending", counts, total, per_s).left_s == left_s
