"""A real worker process with stand-in stages and, where asked for, faults at chosen points.

`python -m tests.stand_in.worker STAGE …` takes the arguments of `python -m workers`. Variables:
STAND_IN_DIE_AT   after_put, after_commit, before_send or before_ack: kill -9 to itself there …
STAND_IN_DIE_ONCE … the first time only: this file is made on the way
STAND_IN_STOP_AT  before_commit or in_transaction: SIGSTOP to itself there; see STAND_IN_DIE_ONCE
STAND_IN_LOG      a line with the process id is added to this file after each commit
STAND_IN_READY    this file is made once the worker consumes
STAND_IN_SLOW_S   seconds that each image takes longer
STAND_IN_TWICE    any number, a seed: all messages are sent twice and shuffled
STAND_IN_VERSION  model version of the stand-ins
STAND_IN_MODELS   "real" keeps the real models
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

import models.stage
import workers.__main__
import workers.prepare
from models.stage import Prediction
from pipeline.dispatch import Dispatcher
from pipeline.records import claims
from pipeline.records.intake import Nudge
from pipeline.records.outcomes import Encodings
from pipeline.storage import ObjectStore
from tests.stand_in.poison import moody_decode, moody_predict
from tests.stand_in.stages import VERSION, Pixels, StandIn


def signal_self(number: int) -> None:
    """Send itself a signal, once if so asked."""
    mark = os.environ.get("STAND_IN_DIE_ONCE")
    if mark is not None:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return
    # To this very thread: a signal to the process may take effect some instructions later.
    signal.pthread_kill(threading.get_ident(), number)


def die() -> None:
    """kill -9 to this process."""
    signal_self(signal.SIGKILL)


def stop() -> None:
    """Fall asleep until somebody sends SIGCONT."""
    signal_self(signal.SIGSTOP)


def note_commit() -> None:
    """Say who has committed."""
    with Path(os.environ["STAND_IN_LOG"]).open("a") as log:
        log.write(f"{os.getpid()}\n")


def _after(owner: Any, name: str, then: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        then()
        return result

    setattr(owner, name, wrapped)


def _before(owner: Any, name: str, first: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        first()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


POINTS: dict[str, Callable[[], None]] = {
    "after_put": lambda: _after(ObjectStore, "put_pack", die),
    "before_commit": lambda: _before(claims, "complete", stop),
    "in_transaction": lambda: _before(Encodings, "write", stop),
    "after_commit": lambda: _after(claims, "complete", die),
    "before_send": lambda: _before(Dispatcher, "publish", die),
    "before_ack": lambda: _after(workers.__main__, "run_chunk", die),
}


def send_twice(seed: int) -> None:
    """All that this process publishes goes out twice, in an order of its own."""
    real, shuffle = Dispatcher.publish, random.Random(seed).shuffle

    def publish(self: Dispatcher, nudges: Sequence[Nudge], root_id: str | None = None) -> list[str]:
        doubled = [*nudges, *nudges]
        shuffle(doubled)
        return real(self, doubled, root_id)

    Dispatcher.publish = publish  # type: ignore[method-assign]


class Moody(StandIn):
    """A stand-in that may be slow, and that has its trouble with some images."""

    slow_s = float(os.environ.get("STAND_IN_SLOW_S", "0"))

    def predict(self, images: Sequence[Pixels]) -> list[Prediction]:
        """One answer per image."""
        time.sleep(self.slow_s * len(images))
        return moody_predict(super().predict, images)


def patch() -> None:
    """What the variables ask for."""
    slow_s = float(os.environ.get("STAND_IN_SLOW_S", "0"))
    workers.prepare.decode = moody_decode(slow_s)  # type: ignore[attr-defined, assignment]
    if os.environ.get("STAND_IN_MODELS") != "real":
        version = os.environ.get("STAND_IN_VERSION", VERSION)
        models.stage.load = lambda spec, **_: Moody(spec.name, version)  # type: ignore[assignment]
    for variable in ("STAND_IN_DIE_AT", "STAND_IN_STOP_AT"):
        if point := os.environ.get(variable):
            POINTS[point]()
    if "STAND_IN_LOG" in os.environ:
        _after(claims, "complete", note_commit)
    if seed := os.environ.get("STAND_IN_TWICE"):
        send_twice(int(seed))
    if mark := os.environ.get("STAND_IN_READY"):
        worker_ready.connect(lambda **_: Path(mark).touch(), weak=False)


def main() -> int:
    """Patch, then be a worker."""
    patch()
    return workers.__main__.main()


if __name__ == "__main__":
    sys.exit(main())
