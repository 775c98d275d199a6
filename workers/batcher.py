"""Many threads ask, one thread predicts: requests that come close together share a batch."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Request(Generic[Item, Answer]):
    items: Sequence[Item]
    urgency: int = 0
    future: Future[list[Answer]] = field(default_factory=Future)
    answers: list[Answer] = field(default_factory=list)
    """Of the first items; more come with each batch."""

    @property
    def left(self) -> int:
        """How many items have no answer yet."""
        return len(self.items) - len(self.answers)

    def next(self, count: int) -> Sequence[Item]:
        """Up to `count` of the items that have no answer yet."""
        begin = len(self.answers)
        return self.items[begin : begin + count]


class Batcher(Generic[Item, Answer]):
    """Feeds `predict`, which need not be thread safe, with batches of up to `max_batch` items."""

    def __init__(
        self,
        predict: Callable[[Sequence[Item]], Sequence[Answer]],
        max_batch: int,
        window_s: float = 0.005,
    ) -> None:
        """Start the predicting thread. A batch is closed `window_s` after its first item."""
        self._predict = predict
        self._max_batch = max_batch
        self._window_s = window_s
        self._waiting: queue.SimpleQueue[_Request[Item, Answer]] = queue.SimpleQueue()
        self._begun: deque[_Request[Item, Answer]] = deque()
        self.batches = 0
        """Batches answered so far: as long as this grows, the model is alive."""
        threading.Thread(target=self._serve, name="model", daemon=True).start()

    def submit(self, items: Sequence[Item], urgency: int = 0) -> Future[list[Answer]]:
        """Ask for the answers to these items, in their order; an error is that of all of them.

        A lower `urgency` goes first from the next batch on. The request that has waited longest
        has a place in every batch, so that it ends, too.
        """
        request = _Request[Item, Answer](items, urgency)
        if items:
            self._waiting.put(request)
        else:
            request.future.set_result([])
        return request.future

    def _serve(self) -> None:
        while True:
            self._collect()
            self._answer()
            self.batches += 1

    def _collect(self) -> None:
        """Wait until there is a batch to predict."""
        if not self._begun:
            self._begun.append(self._waiting.get())
        closes = time.monotonic() + self._window_s
        while True:
            # Where the batch is full already, only what is there: it may be more urgent.
            rest_s = closes - time.monotonic() if self._left() < self._max_batch else 0.0
            try:
                self._begun.append(self._waiting.get(timeout=max(0.0, rest_s)))
            except queue.Empty:
                return

    def _left(self) -> int:
        return sum(request.left for request in self._begun)

    def _shares(self) -> dict[_Request[Item, Answer], int]:
        """How many items of each request go into the next batch."""
        oldest, left = self._begun[0], self._max_batch - 1
        shares = {oldest: 1}
        for request in sorted(self._begun, key=lambda request: request.urgency):
            more = min(left, request.left - shares.get(request, 0))
            if more:
                shares[request] = shares.get(request, 0) + more
                left -= more
        return shares

    def _answer(self) -> None:
        """Predict one batch, and give their answers to the requests that have them all now."""
        shares = self._shares()
        batch = [item for request, share in shares.items() for item in request.next(share)]
        try:
            answers = iter(self._predicted(batch))
        except Exception as error:  # handed to whoever asked, whatever it is
            for request in shares:
                self._begun.remove(request)
                request.future.set_exception(error)
            return
        for request, share in shares.items():
            request.answers += islice(answers, share)
            if not request.left:
                self._begun.remove(request)
                request.future.set_result(request.answers)

    def _predicted(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = self._predict(items)
        if len(answers) != len(items):
            raise ValueError(f"{len(answers)} answers to {len(items)} items")
        return answers
