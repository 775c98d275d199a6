"""Log lines: one an event, readable on a terminal, JSON where a machine collects them.

The fields have fixed names: `job_id`, `image_id` (or `job_ids`, `image_ids` where one event is of
several), `stage`, and `root_id`, which all messages of one walk share. Nothing about a patient is
ever logged: no file names, no header values; ids, codes and counts only.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_bound: ContextVar[dict[str, object] | None] = ContextVar("bound", default=None)

FEW = 3
"""More values than that are counted instead of shown to a person."""
SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
"""Loggers that bring handlers of their own; theirs would be a second format in one log."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra` fields stand beside the usual ones."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, event, then `extra` fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The record for a person."""
        fields = "".join(f" {key}={_short(value)}" for key, value in _extra(record).items())
        return super().format(record) + fields


def set_up(*, as_json: bool) -> None:
    """Send everything to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if as_json else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    handler.addFilter(_add_bound)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for logger in map(logging.getLogger, SERVERS):
        if logger.handlers:  # one without is switched off: paths of requests may name patients
            logger.handlers.clear()
            logger.propagate = True


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Every line that this thread or task writes in the block carries `fields`, None left out."""
    token = _bound.set((_bound.get() or {}) | fields)
    try:
        yield
    finally:
        _bound.reset(token)


def _add_bound(record: logging.LogRecord) -> bool:
    for key, value in (_bound.get() or {}).items():
        if value is not None and key not in vars(record):
            setattr(record, key, value)
    return True


def _extra(record: logging.LogRecord) -> dict[str, object]:
    # Celery adds its whole event as `data` to what it says in words already; uvicorn its message
    # a second time, in colour.
    left_out = _STANDARD | {"color_message"}
    if record.name.startswith("celery"):
        left_out |= {"data"}
    return {key: value for key, value in vars(record).items() if key not in left_out}


def _short(value: object) -> object:
    if isinstance(value, list):
        return f"<{len(value)}>" if len(value) > FEW else ",".join(map(str, value))
    return value
