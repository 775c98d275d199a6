"""Many threads ask, one thread predicts: requests that come close together share a batch."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


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
        self._waiting: queue.SimpleQueue[tuple[Item, Future[Answer]]] = queue.SimpleQueue()
        self.batches = 0
        """Batches answered so far: as long as this grows, the model is alive."""
        threading.Thread(target=self._serve, name="model", daemon=True).start()

    def submit(self, items: Sequence[Item]) -> list[Future[Answer]]:
        """Ask for an answer to each item; the futures come in the same order."""
        asked: list[tuple[Item, Future[Answer]]] = [(item, Future()) for item in items]
        for pair in asked:
            self._waiting.put(pair)
        return [future for _, future in asked]

    def _serve(self) -> None:
        while True:
            self._answer(self._collect())
            self.batches += 1

    def _collect(self) -> list[tuple[Item, Future[Answer]]]:
        batch = [self._waiting.get()]
        closes = time.monotonic() + self._window_s
        while len(batch) < self._max_batch:
            try:
                batch.append(self._waiting.get(timeout=max(0.0, closes - time.monotonic())))
            except queue.Empty:
                break
        return batch

    def _answer(self, batch: list[tuple[Item, Future[Answer]]]) -> None:
        try:
            answers = self._predicted([item for item, _ in batch])
        except Exception as error:  # handed to whoever asked, whatever it is
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            future.set_result(answer)

    def _predicted(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = self._predict(items)
        if len(answers) != len(items):
            raise ValueError(f"{len(answers)} answers to {len(items)} items")
        return answers
