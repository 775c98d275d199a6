"""Whether the servers behind the API answer, each asked at the same time and with a deadline."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from pipeline.api.schemas import CheckPublic
from pipeline.context import Context
from pipeline.dispatch import BrokerUnavailable
from pipeline.records import results
from pipeline.storage import StorageError

DEADLINE_S = 3.0
"""An orchestrator asks every few seconds; a server that is slower than this is not ready."""


class Readiness:
    """The checks of one process. A check that hangs is not started a second time."""

    def __init__(self, checks: Mapping[str, Callable[[], object]]) -> None:
        self._checks = checks
        self._threads = ThreadPoolExecutor(len(checks), thread_name_prefix="ready")
        self._running: dict[str, Future[object]] = {}

    def ask(self) -> dict[str, CheckPublic]:
        """Every server by name, with the reason where it does not answer."""
        for name, check in self._checks.items():
            running = self._running.get(name)
            if running is None or running.done():
                self._running[name] = self._threads.submit(check)
        end = monotonic() + DEADLINE_S
        return {name: _result(future, end) for name, future in self._running.items()}

    def close(self) -> None:
        """Start no further check; do not wait for one that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def readiness_of(context: Context) -> Readiness:
    """The checks of an open context."""
    return Readiness(
        {
            "database": lambda: results.ping(context.engine),
            "storage": context.store.ensure_bucket,
            "broker": context.dispatcher.ping,
        }
    )


def _result(future: Future[object], end: float) -> CheckPublic:
    try:
        future.result(max(0.0, end - monotonic()))
    except FutureTimeout:
        return CheckPublic(ok=False, why=f"no answer within {DEADLINE_S:g} s")
    except (SQLAlchemyError, StorageError, BrokerUnavailable) as error:
        # The words of the error may hold addresses and credentials; its name does not.
        return CheckPublic(ok=False, why=_words(error))
    return CheckPublic(ok=True, why=None)


def _words(error: Exception) -> str:
    return {
        "StorageRefused": "the storage refuses the bucket or the credentials",
        "StorageUnavailable": "the storage does not answer",
        "BrokerUnavailable": "the broker does not answer",
        "OperationalError": "the database does not answer, or its tables are missing",
    }.get(type(error).__name__, f"failed ({type(error).__name__})")
