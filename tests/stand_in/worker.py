"""A real worker process with stand-in stages and, where asked for, a way to die at a chosen point.

`python -m tests.stand_in.worker STAGE …` takes the arguments of `python -m workers`. Variables:
STAND_IN_DIE_AT   after_put, after_commit, before_send or before_ack: kill -9 to itself there …
STAND_IN_DIE_ONCE … the first time only: this file is made on the way
STAND_IN_VERSION  model version of the stand-ins
STAND_IN_MODELS   "real" keeps the real models
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models.stage
import workers.__main__
import workers.runner
from pipeline.dispatch import Dispatcher
from pipeline.records import claims
from pipeline.storage import ObjectStore
from tests.stand_in.stages import VERSION, StandIn


def die() -> None:
    """kill -9 to this process, once if so asked."""
    mark = os.environ.get("STAND_IN_DIE_ONCE")
    if mark is not None:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def then_die(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        die()
        return result

    setattr(owner, name, then_die)


def _before(owner: Any, name: str) -> None:
    real = getattr(owner, name)

    def first_die(*args: Any, **kwargs: Any) -> Any:
        die()
        return real(*args, **kwargs)

    setattr(owner, name, first_die)


POINTS: dict[str, Callable[[], None]] = {
    "after_put": lambda: _after(ObjectStore, "put_pack"),
    "after_commit": lambda: _after(claims, "complete"),
    "before_send": lambda: _before(Dispatcher, "publish"),
    "before_ack": lambda: _after(workers.__main__, "run_chunk"),
}


def main() -> int:
    """Patch, then be a worker."""
    if os.environ.get("STAND_IN_MODELS") != "real":
        version = os.environ.get("STAND_IN_VERSION", VERSION)
        models.stage.load = lambda spec, **_: StandIn(spec.name, version)  # type: ignore[assignment]
    point = os.environ.get("STAND_IN_DIE_AT")
    if point is not None:
        POINTS[point]()
    return workers.__main__.main()


if __name__ == "__main__":
    sys.exit(main())
