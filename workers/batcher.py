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
    future: Future[list[Answer]] = field(default_factory=Future)
    answers: list[Answer] = field(default_factory=list)
    """Of the first items; more come with each batch."""

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

    def submit(self, items: Sequence[Item]) -> Future[list[Answer]]:
        """Ask for the answers to these items, in their order; an error is that of all of them."""
        request = _Request[Item, Answer](items)
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
        while self._left() < self._max_batch:
            try:
                more = self._waiting.get(timeout=max(0.0, closes - time.monotonic()))
            except queue.Empty:
                break
            self._begun.append(more)

    def _left(self) -> int:
        return sum(len(request.items) - len(request.answers) for request in self._begun)

    def _answer(self) -> None:
        """Predict one batch, and give their answers to the requests that have them all now."""
        batch: list[Item] = []
        shares: list[tuple[_Request[Item, Answer], int]] = []
        for request in self._begun:
            items = request.next(self._max_batch - len(batch))
            shares.append((request, len(items)))
            batch += items
        try:
            answers = iter(self._predicted(batch))
        except Exception as error:  # handed to whoever asked, whatever it is
            for request, share in shares:
                if share:
                    self._begun.remove(request)
                    request.future.set_exception(error)
            return
        for request, share in shares:
            request.answers += islice(answers, share)
            if len(request.answers) == len(request.items):
                self._begun.remove(request)
                request.future.set_result(request.answers)

    def _predicted(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = self._predict(items)
        if len(answers) != len(items):
            raise ValueError(f"{len(answers)} answers to {len(items)} items")
        return answers
