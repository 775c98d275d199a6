"""Requests of many threads share batches; answers find their way back."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from workers.batcher import Batcher

DEADLINE_S = 30.0


class Doubling:
    """Doubles numbers and remembers the batches it saw; waits for `go` before the first."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.go = Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        assert self.go.wait(DEADLINE_S)
        self.seen.append(list(items))
        return [2 * item for item in items]


def test_answers_come_back_to_whoever_asked() -> None:
    model = Doubling()
    model.go.set()
    batcher = Batcher(model, max_batch=4)
    with ThreadPoolExecutor(8) as threads:
        asked = [list(range(n, n + 5)) for n in range(0, 100, 5)]
        futures = list(threads.map(batcher.submit, asked))
    told = [future.result(DEADLINE_S) for future in futures]
    assert told == [[2 * item for item in some] for some in asked]


def test_no_batch_is_larger_than_allowed_and_what_waits_is_batched() -> None:
    model = Doubling()
    batcher = Batcher(model, max_batch=4)
    future = batcher.submit(range(12))
    model.go.set()
    assert future.result(DEADLINE_S) == [2 * n for n in range(12)]
    assert [len(batch) for batch in model.seen] == [4, 4, 4]
    assert batcher.batches >= 2


def test_an_error_reaches_everybody_in_the_batch_and_the_thread_goes_on() -> None:
    calls = []

    def fail_once(items: Sequence[int]) -> list[int]:
        calls.append(items)
        if len(calls) == 1:
            raise RuntimeError("device lost")
        return list(items)

    batcher = Batcher(fail_once, max_batch=8, window_s=0.2)
    with pytest.raises(RuntimeError, match="device lost"):
        batcher.submit([1, 2]).result(DEADLINE_S)
    assert batcher.submit([3]).result(DEADLINE_S) == [3]


def test_a_wrong_number_of_answers_is_an_error_not_a_hang() -> None:
    batcher = Batcher(lambda _: [], max_batch=8)  # type: ignore[var-annotated]
    with pytest.raises(ValueError, match="0 answers to 1 items"):
        batcher.submit([1]).result(DEADLINE_S)


def test_requests_that_wait_share_batches_and_each_gets_its_own_answers() -> None:
    model = Doubling()
    batcher = Batcher(model, max_batch=4)
    futures = [batcher.submit(some) for some in ([0], [1, 2, 3, 4, 5], [6, 7], [8])]
    model.go.set()
    told = [future.result(DEADLINE_S) for future in futures]
    assert told == [[0], [2, 4, 6, 8, 10], [12, 14], [16]]
    # The window may close between any two of them; what waits behind the model is shared.
    assert max(len(batch) for batch in model.seen) == 4
    assert [item for batch in model.seen for item in batch] == list(range(9))


def test_what_is_urgent_goes_into_the_next_batch_and_the_oldest_keeps_a_place() -> None:
    model = Doubling()
    batcher = Batcher(model, max_batch=3, window_s=0.0)
    bulk = batcher.submit(range(7), urgency=9)
    late = batcher.submit([10, 11], urgency=9)
    stat = batcher.submit([20, 21, 22, 23], urgency=0)
    model.go.set()
    told = [future.result(DEADLINE_S) for future in (bulk, late, stat)]
    assert told == [[0, 2, 4, 6, 8, 10, 12], [20, 22], [40, 42, 44, 46]]
    # The model may have had the first batch in hand before the others came.
    begun = model.seen.index([0, 1, 2]) + 1 if [0, 1, 2] in model.seen else 0
    first = 3 * begun
    assert model.seen[begun : begun + 2] == [[first, 20, 21], [first + 1, 22, 23]]
    assert [item for batch in model.seen[begun + 2 :] for item in batch] == [
        *range(first + 2, 7),
        10,
        11,
    ]


def test_an_error_in_one_batch_is_that_of_the_whole_request_and_of_no_other() -> None:
    def fail_at_five(items: Sequence[int]) -> list[int]:
        if 5 in items:
            raise RuntimeError("device lost")
        return list(items)

    batcher = Batcher(fail_at_five, max_batch=2)
    bad, good = batcher.submit([1, 2, 3, 5, 7, 8]), batcher.submit([9, 10])
    with pytest.raises(RuntimeError, match="device lost"):
        bad.result(DEADLINE_S)
    assert good.result(DEADLINE_S) == [9, 10]


def test_nothing_asked_is_answered_at_once() -> None:
    assert Batcher(Doubling(), max_batch=2).submit([]).result(DEADLINE_S) == []
