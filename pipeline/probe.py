"""Whether a service of this host makes progress: not merely whether its process exists.

What is wrong with a server that the service needs is no fault of the service: restarting a worker
because the broker is down would only add to the trouble.

Asked every few seconds of every service: the client of the broker is loaded only where an idle
worker has to be told from a stuck one.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.pulse import Mark, marks
from pipeline.reach import answers, reachable
from pipeline.settings import Settings
from pipeline.states import Priority

if TYPE_CHECKING:
    from redis import Redis

FRONTS = {"api": "/healthz", "flower": "/healthcheck"}
"""Services that answer HTTP, and what they are asked."""
LOOPS = ("reconcile", "dicom-listen", "dicom-send")
"""Services that look for something to do again and again, and mark each look."""

BUSY_S = 300.0
"""A chunk in hand may stand still for so long: waits for a database and a storage included."""
LOOK_S = 300.0
"""A look may take so long on top of the pause between two, for the same reason."""
QUIET_S = 20.0
"""A worker that moved within that time needs no further look."""
TAKE_S = 10.0
"""An idle worker takes a message that waits within milliseconds; it is given this long."""


def trouble(settings: Settings, role: str) -> str | None:
    """Why the service `role` counts as standing still; None when it does not.

    `role`: api, flower, one of `LOOPS`, prepare, or a stage of the catalogue; several stages in
    one process are joined by `-`, in the order of its command line.
    """
    if role in FRONTS:
        return _front(settings, role)
    if settings.pulse_dir is None:
        return "it makes no marks: set XRAYTRIAGE_PULSE_DIR to a folder, for the service as well"
    folder = settings.pulse_dir

    def look() -> list[Mark]:
        return marks(folder, role)

    if not (found := look()):
        return "it has not started"
    if role in LOOPS:
        return _silent(found, settings.scan_s + LOOK_S)
    busy = [mark for mark in found if mark.in_hand]
    if busy:
        return _silent(busy, max(BUSY_S, 3 * settings.lease_s))
    if min(mark.age_s for mark in found) < QUIET_S:
        return None
    return _idle(settings, role.split("-"), look)


def _front(settings: Settings, role: str) -> str | None:
    port = settings.port if role == "api" else settings.flower_port
    host = reachable(settings.host) if role == "api" else "127.0.0.1"
    return None if answers(host, port, FRONTS[role]) else f"no answer on port {port}"


def _silent(found: Sequence[Mark], limit_s: float) -> str | None:
    """Any process that stood still for too long is one too many: its siblings hide it."""
    worst = max(mark.age_s for mark in found)
    return f"it has not moved for {worst:.0f} s" if worst > limit_s else None


def _idle(settings: Settings, stages: Sequence[str], look: Callable[[], list[Mark]]) -> str | None:
    """Nothing is in hand. Is that because nothing waits?"""
    from redis import Redis
    from redis.exceptions import RedisError

    ends = time.monotonic() + TAKE_S
    try:
        with Redis.from_url(settings.broker_url or "", socket_timeout=2.0) as client:
            while waiting := _waiting(client, stages):
                if any(mark.in_hand or mark.age_s < TAKE_S for mark in look()):
                    return None
                if time.monotonic() > ends:
                    return f"{waiting} messages wait and it takes none"
                time.sleep(0.5)
    except (RedisError, ValueError):
        return None  # nobody can take a message from a broker that does not answer
    return None


def _waiting(client: "Redis", stages: Sequence[str]) -> int:
    from pipeline.dispatch import line_of

    lines = [line_of(stage, priority) for stage in stages for priority in Priority]
    with client.pipeline(transaction=False) as asked:
        for line in lines:
            asked.llen(line)
        return sum(asked.execute())
