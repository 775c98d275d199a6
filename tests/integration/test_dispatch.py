"""Messages in a real broker: their order, their lines, and a broker that is not there."""

import time

import pytest
from kombu import Connection, Queue

from pipeline.dispatch import BrokerUnavailable, Dispatcher, make_app, queue_of
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.integration.conftest import RealServer


def received(settings: Settings, count: int) -> list[int]:
    """Priorities of the next messages of the gate's queue, as a worker gets them."""
    seen: list[int] = []
    app = make_app(settings)
    options = app.conf.broker_transport_options
    with Connection(settings.broker_url, transport_options=options) as connection:
        queue = Queue(queue_of("gate"), routing_key=queue_of("gate"))

        def note(_body: object, message: object) -> None:
            seen.append(message.properties["priority"])  # type: ignore[attr-defined]
            message.ack()  # type: ignore[attr-defined]

        with connection.Consumer(queue, callbacks=[note], prefetch_count=1):
            while len(seen) < count:
                connection.drain_events(timeout=10)
    return seen


def test_stat_overtakes_routine_and_routine_overtakes_bulk(settings: Settings) -> None:
    order = [Priority.BULK, Priority.ROUTINE, Priority.BULK, Priority.STAT, Priority.ROUTINE]
    nudges = [Nudge(str(n), "gate", int(p), ["x"]) for n, p in enumerate(order)]
    assert len(Dispatcher(settings).publish(nudges)) == len(nudges)
    assert received(settings, len(order)) == sorted(order)


def test_each_priority_has_its_line(settings: Settings) -> None:
    dispatcher = Dispatcher(settings)
    dispatcher.publish([Nudge("a", "gate", 9, ["x"]), Nudge("b", "gate", 9, ["x"])])
    assert dispatcher.depth("gate", 9) == 2
    assert dispatcher.depth("gate", 0) == 0


def test_a_paused_broker_costs_one_deadline_and_then_nothing(
    settings: Settings, valkey: RealServer
) -> None:
    dispatcher = Dispatcher(settings.model_copy(update={"publish_timeout_s": 0.5}))
    dispatcher.ping()
    valkey.pause()
    try:
        begun = time.monotonic()
        assert dispatcher.publish([Nudge("a", "gate", 3, ["x"])]) == []
        first_s = time.monotonic() - begun
        assert dispatcher.publish([Nudge("b", "gate", 3, ["x"])]) == []
        assert first_s >= 0.5, "it waited for its deadline, no less"
    finally:
        valkey.resume()


def test_an_absent_broker_is_an_error_in_words_not_a_hang(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with pytest.raises(BrokerUnavailable, match="refused"):
        Dispatcher(nowhere).ping()
