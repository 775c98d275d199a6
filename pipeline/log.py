"""Log lines: one an event, readable on a terminal, JSON where a machine collects them.

Nothing about a patient is ever logged: no file names, no header values; ids and counts only.
"""

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


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
        fields = "".join(f" {key}={value}" for key, value in _extra(record).items())
        return super().format(record) + fields


def set_up(*, as_json: bool) -> None:
    """Send everything to standard error in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter() if as_json else TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    # Celery adds its whole event as `data` to what it says in words already.
    left_out = _STANDARD | {"data"} if record.name.startswith("celery") else _STANDARD
    return {key: value for key, value in vars(record).items() if key not in left_out}
