"""The Celery application of a worker: one task a stage, nothing but a call behind it."""

from collections.abc import Callable, Iterable

from celery import Celery, Task

from pipeline.dispatch import make_app, queue_of
from pipeline.settings import Settings

Handler = Callable[[list[str], str | None], int]
"""Takes image ids and the root id of the chain; returns how many images it finished."""


def make_worker_app(settings: Settings, handlers: Iterable[tuple[str, Handler]]) -> Celery:
    """An application with a task `stage.<name>` for each (name, handler)."""
    app = make_app(settings)
    app.conf.update(
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=500,
        worker_max_memory_per_child=1_500_000,  # KiB; a child that kept more is replaced
    )
    for stage, handler in handlers:
        _register(app, stage, handler)
    return app


def _register(app: Celery, stage: str, handler: Handler) -> None:
    @app.task(name=queue_of(stage), bind=True)  # type: ignore[untyped-decorator]
    def run(self: Task, image_ids: list[str]) -> int:
        return handler(image_ids, self.request.root_id)
