"""Whether a failed call is tried again, after how long, and as what it is given up.

The decision is a pure function of the kind of error and the number of tries, so that one table
of tests covers storage and database alike; `call` is the loop around it.
"""

import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import sqlalchemy.exc

from pipeline import metrics

T = TypeVar("T")


class ErrorKind(StrEnum):
    """What went wrong, seen by somebody who must decide whether to try again."""

    UNAVAILABLE = "unavailable"
    """The server cannot be reached, timed out, broke off, throttles or answers 5xx."""
    LOCKED = "locked"
    """The database is held by another writer, or chose this transaction as a victim."""
    MISSING = "missing"
    """No such object; right after a put that may be a lag, so it is asked again."""
    CORRUPT = "corrupt"
    """The bytes read are not the bytes stored."""
    FULL = "full"
    """The disk or the quota behind the server is used up."""
    REFUSED = "refused"
    """The server understood and said no: credentials, rights, no such bucket, bad request."""
    PERMANENT = "permanent"
    """Anything else; an error of the program, most likely."""


_TRIES: dict[ErrorKind, int | None] = {  # None: as many as the policy allows
    ErrorKind.UNAVAILABLE: None,
    ErrorKind.LOCKED: None,
    ErrorKind.MISSING: 3,
    ErrorKind.CORRUPT: 3,
    ErrorKind.FULL: 2,  # a volume server that grows a volume looks full for a moment
    ErrorKind.REFUSED: 1,
    ErrorKind.PERMANENT: 1,
}


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a caller is."""

    attempts: int = 7
    """Tries in all, the first included."""
    base_s: float = 0.2
    """Upper bound of the pause after the first try; it doubles with each further try."""
    cap_s: float = 10.0
    """Longest pause."""
    total_s: float = 30.0
    """No further try is begun when that much time has passed since the first."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay_s` seconds."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop; report the error as `kind`."""

    kind: ErrorKind


def decide(
    kind: ErrorKind, attempt: int, policy: Policy, *, jitter: float = 1.0, elapsed_s: float = 0.0
) -> Retry | GiveUp:
    """What to do after try number `attempt` (counted from 1) failed with `kind`.

    `jitter` in [0, 1] scales the pause; drawn evenly it gives "full jitter", which keeps many
    workers from knocking in step at a server that has just come back.
    """
    tries = _TRIES[kind]
    allowed = policy.attempts if tries is None else min(tries, policy.attempts)
    delay_s = jitter * min(policy.cap_s, policy.base_s * 2.0 ** (attempt - 1))
    if attempt >= allowed or elapsed_s + delay_s > policy.total_s:
        return GiveUp(kind)
    return Retry(delay_s)


def call(
    work: Callable[[], T],
    classify: Callable[[Exception], ErrorKind],
    policy: Policy,
    *,
    server: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Run `work` until it succeeds or `decide` gives up; then its last exception is raised.

    Failed tries are counted under the name of the `server`, where it is given.
    """
    begun = clock()
    attempt = 1
    while True:
        try:
            return work()
        except Exception as error:
            kind = classify(error)
            step = decide(kind, attempt, policy, jitter=random.random(), elapsed_s=clock() - begun)
            if server is not None:
                metrics.server_failed(server, kind, retried=isinstance(step, Retry))
            if isinstance(step, GiveUp):
                raise
        sleep(step.delay_s)
        attempt += 1


# https://www.sqlite.org/rescode.html: primary codes, in the low byte of an extended code.
_SQLITE_KINDS = {
    sqlite3.SQLITE_BUSY: ErrorKind.LOCKED,
    sqlite3.SQLITE_LOCKED: ErrorKind.LOCKED,
    sqlite3.SQLITE_FULL: ErrorKind.FULL,
    sqlite3.SQLITE_CANTOPEN: ErrorKind.UNAVAILABLE,
    sqlite3.SQLITE_IOERR: ErrorKind.UNAVAILABLE,
    sqlite3.SQLITE_CORRUPT: ErrorKind.CORRUPT,
    sqlite3.SQLITE_NOTADB: ErrorKind.CORRUPT,
    sqlite3.SQLITE_READONLY: ErrorKind.REFUSED,
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html: classes, then single codes.
_POSTGRES_CLASSES = {
    "08": ErrorKind.UNAVAILABLE,  # connection exception
    "40": ErrorKind.LOCKED,  # transaction rollback: serialization failure, deadlock
    "55": ErrorKind.LOCKED,  # object not in prerequisite state: lock not available
    "57": ErrorKind.UNAVAILABLE,  # operator intervention: shutdown, cannot connect now
    "53": ErrorKind.UNAVAILABLE,  # insufficient resources: too many connections
    "28": ErrorKind.REFUSED,  # invalid authorization
    "3D": ErrorKind.REFUSED,  # no such database
}
_POSTGRES_DISK_FULL = "53100"


def classify_database(error: Exception) -> ErrorKind:
    """The kind of an error that SQLAlchemy raised for SQLite or PostgreSQL."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # no free connection in the pool
        return ErrorKind.UNAVAILABLE
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return ErrorKind.PERMANENT
    if error.connection_invalidated:
        return ErrorKind.UNAVAILABLE
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0)
        return _SQLITE_KINDS.get(code & 0xFF, ErrorKind.PERMANENT)
    return _classify_postgres(error)


def _classify_postgres(error: sqlalchemy.exc.DBAPIError) -> ErrorKind:
    state = getattr(error.orig, "sqlstate", None)
    if state == _POSTGRES_DISK_FULL:
        return ErrorKind.FULL
    if state:
        return _POSTGRES_CLASSES.get(state[:2], ErrorKind.PERMANENT)
    # No SQLSTATE: the server could not even be asked.
    gone = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    return ErrorKind.UNAVAILABLE if gone else ErrorKind.PERMANENT
