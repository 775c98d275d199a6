"""Signatures to the broker. A message is a nudge: losing or doubling one harms nothing."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Lock
from typing import Any, TypeVar

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from pipeline import metrics
from pipeline.records.intake import Nudge
from pipeline.retry import ErrorKind
from pipeline.settings import Settings
from pipeline.states import Priority

T = TypeVar("T")
log = logging.getLogger(__name__)

VISIBILITY_S = 3600
"""After so long an unacknowledged message is delivered again; far beyond the longest stage."""

SEPARATOR = ":"

BROKER_ERRORS = (OperationalError, RedisError, OSError)


class BrokerUnavailable(Exception):  # noqa: N818 - named for what happened
    """The broker does not answer; what is to be sent stays in the outbox."""


def queue_of(stage: str) -> str:
    """Name of a stage's queue, which is its task's name too."""
    return f"stage.{stage}"


def line_of(stage: str, priority: int) -> str:
    """The Redis list in which messages of a stage and priority wait."""
    return queue_of(stage) if priority == 0 else f"{queue_of(stage)}{SEPARATOR}{priority}"


def make_app(settings: Settings) -> Celery:
    """A Celery application that talks to the broker of `settings`."""
    app = Celery("xraytriage", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_S,
            # One list per urgency; BRPOP looks at all stat lists first.
            "priority_steps": [int(priority) for priority in Priority],
            "sep": SEPARATOR,
            "queue_order_strategy": "priority",
            "socket_connect_timeout": settings.publish_timeout_s,
            "socket_timeout": max(5.0, settings.publish_timeout_s),
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Without these a first publish to a dead broker would try for ever.
            "max_retries": 1,
            "interval_start": 0.0,
            "interval_max": 0.2,
        },
    )
    return app


class Dispatcher:
    """Sends signatures with a deadline, from one thread of its own.

    Once that thread hangs on a dead broker, further calls fail at once instead of queueing up
    behind it; what they would have sent stays in the outbox for the reconciler.
    """

    def __init__(self, settings: Settings) -> None:
        """Remember where the broker is; nothing is contacted yet."""
        self._settings = settings
        self._lock = Lock()
        self._pid = 0
        self._app: Celery
        self._thread: ThreadPoolExecutor
        self._waiting: list[tuple[float, Future[Any]]] = []

    def publish(self, nudges: Sequence[Nudge], root_id: str | None = None) -> list[str]:
        """Send what can be sent within the deadline; returns the ids of what went out."""
        if not nudges:
            return []
        sent: list[str] = []
        ends = time.monotonic() + self._settings.publish_timeout_s

        def send(app: Celery) -> None:
            for nudge in nudges:
                if time.monotonic() > ends:
                    raise BrokerUnavailable(f"slow: {len(sent)} of {len(nudges)} sent in time")
                sent.append(_send(app, nudge, root_id))

        try:
            self._within_deadline(send)
        except BrokerUnavailable as error:
            log.warning("not published, stays in the outbox", extra={"why": str(error)})
            metrics.server_failed("broker", ErrorKind.UNAVAILABLE, retried=False)
        return sent.copy()

    def depth(self, stage: str, priority: int) -> int:
        """Messages that wait in the line of a stage and priority. Raises BrokerUnavailable."""

        def count(app: Celery) -> int:
            with app.connection_for_write() as connection:
                return int(connection.default_channel.client.llen(line_of(stage, priority)))

        return self._within_deadline(count)

    def ping(self) -> None:
        """Ask the broker whether it is there. Raises BrokerUnavailable."""

        def ask(app: Celery) -> None:
            with app.connection_for_write() as connection:
                connection.default_channel.client.ping()

        self._within_deadline(ask)

    def _within_deadline(self, work: Callable[[Celery], T]) -> T:
        limit_s = self._settings.publish_timeout_s
        with self._lock:
            if self._pid != os.getpid():
                self._start()
            self._waiting = [call for call in self._waiting if not call[1].done()]
            # Calls that are merely in front of this one are waited for; one that is past its own
            # deadline hangs.
            if self._waiting and time.monotonic() - self._waiting[0][0] > limit_s:
                raise BrokerUnavailable("an earlier call still hangs")
            future = self._thread.submit(work, self._app)
            self._waiting.append((time.monotonic(), future))
        try:
            return future.result(limit_s)
        except FutureTimeout:
            future.cancel()  # not begun yet: then it need not begin either
            raise BrokerUnavailable(f"no answer within {limit_s:g} s") from None
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(str(error)) from error

    def _start(self) -> None:
        # Threads and connections do not survive a fork.
        self._pid = os.getpid()
        self._app = make_app(self._settings)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._waiting = []


def _send(app: Celery, nudge: Nudge, root_id: str | None) -> str:
    name = queue_of(nudge.stage)
    app.signature(name, args=(nudge.image_ids,)).apply_async(
        queue=name,
        priority=nudge.priority,
        root_id=root_id,
        retry=False,
        ignore_result=True,
        argsrepr=f"<{len(nudge.image_ids)} images>",
        kwargsrepr="{}",
    )
    return nudge.id
