"""The worker's application: what it tells Flower is gathered, and sent before it ends."""

import gc
from types import SimpleNamespace
from typing import Any

from pipeline.settings import Settings
from workers.app import EVENTS_S, EventsTogether, make_worker_app, settle


class Consumer:
    """The parts of Celery's consumer that the step touches."""

    def __init__(self) -> None:
        self.flushed = 0
        self.cancelled = 0
        self.connection: object | None = object()
        self.event_dispatcher = SimpleNamespace(on_send_buffered=print, flush=self._flush)
        self.hub = SimpleNamespace(call_repeatedly=self._call_repeatedly)
        self.timers: list[tuple[float, Any, tuple[Any, ...]]] = []

    def _flush(self) -> None:
        self.flushed += 1

    def _cancel(self) -> None:
        self.cancelled += 1

    def _call_repeatedly(self, seconds: float, call: Any, *args: Any) -> Any:
        self.timers.append((seconds, call, args))
        return SimpleNamespace(cancel=self._cancel)


def started() -> tuple[EventsTogether, Consumer]:
    consumer = Consumer()
    step = EventsTogether(consumer)
    step.start(consumer)
    return step, consumer


def test_events_are_sent_by_a_timer_and_not_at_each_turn() -> None:
    _, consumer = started()
    assert consumer.event_dispatcher.on_send_buffered is None
    ((seconds, call, args),) = consumer.timers
    assert seconds == EVENTS_S
    call(*args)
    assert consumer.flushed == 1


def test_a_worker_that_ends_sends_what_is_left() -> None:
    step, consumer = started()
    step.stop(consumer)
    step.stop(consumer)
    assert (consumer.flushed, consumer.cancelled) == (1, 1)


def test_a_lost_connection_is_not_written_to() -> None:
    step, consumer = started()
    consumer.connection = None
    step.stop(consumer)
    assert (consumer.flushed, consumer.cancelled) == (0, 1)
    step.start(consumer)
    assert len(consumer.timers) == 2, "once connected again it goes on"


def test_workers_have_the_step_and_only_tasks_of_their_stages(tmp_path: Any) -> None:
    settings = Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0")
    app = make_worker_app(settings, [("gate", lambda ids, _: len(ids))])
    assert EventsTogether in app.steps["consumer"]
    assert {name for name in app.tasks if name.startswith("stage.")} == {"stage.gate"}


def test_what_a_worker_has_loaded_is_not_collected_again_and_again() -> None:
    try:
        settle()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
