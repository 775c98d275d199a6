"""The Celery application of a worker: one task a stage, nothing but a call behind it."""

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celery import Celery, Task
from celery.bootsteps import StartStopStep
from celery.signals import celeryd_init, worker_init

from pipeline.dispatch import make_app, queue_of
from pipeline.settings import Settings

Handler = Callable[[list[str], str | None], int]
"""Takes image ids and the root id of the chain; returns how many images it finished."""

EVENTS_S = 0.25
"""Between two messages to Flower. Each costs a worker as much as the claim of a chunk."""


class EventsTogether(StartStopStep):  # type: ignore[misc] # Celery has no types
    """Sends what tasks tell Flower a few times a second, not at each turn of the worker's loop.

    Celery has its own limit for what may wait meanwhile; then it sends at once.
    """

    requires = ("celery.worker.consumer.events:Events",)
    _timer: Any = None

    def start(self, parent: Any) -> None:
        """The consumer has a connection for events, maybe a new one."""
        if parent.hub is not None:  # else nothing is gathered
            parent.event_dispatcher.on_send_buffered = None
            self._timer = parent.hub.call_repeatedly(EVENTS_S, self._flush, parent)

    def stop(self, parent: Any) -> None:
        """The worker ends, or the connection is lost and nothing can be sent."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            if parent.connection is not None:
                self._flush(parent)

    @staticmethod
    def _flush(consumer: Any) -> None:
        if consumer.event_dispatcher is not None:
            consumer.event_dispatcher.flush()


def settle(**_: object) -> None:
    """Tell the garbage collector that what is loaded now stays.

    Looking through all libraries takes it 0.15 s, in which no thread works. Before a pool forks,
    this also keeps its children from copying their parent's pages.
    """
    gc.collect()
    gc.freeze()


def make_worker_app(settings: Settings, handlers: Iterable[tuple[str, Handler]]) -> Celery:
    """An application with a task `stage.<name>` for each (name, handler)."""
    app = make_app(settings)
    app.conf.update(
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=500,
        worker_max_memory_per_child=1_500_000,  # KiB; a child that kept more is replaced
    )
    app.steps["consumer"].add(EventsTogether)
    for stage, handler in handlers:
        _register(app, stage, handler)
    return app


def be_worker(app: Celery, command: Sequence[str]) -> int:
    """Run until SIGTERM; returns the exit code, which Celery's own `worker_main` drops."""
    worker_init.connect(settle)
    workers: list[Any] = []
    celeryd_init.connect(lambda instance, **_: workers.append(instance), weak=False)
    app.worker_main(list(command))
    return int(workers[0].exitcode or 0)


def _register(app: Celery, stage: str, handler: Handler) -> None:
    @app.task(name=queue_of(stage), bind=True)  # type: ignore[untyped-decorator]
    def run(self: Task, image_ids: list[str]) -> int:
        return handler(image_ids, self.request.root_id)
