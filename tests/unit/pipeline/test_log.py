"""Log lines, for machines and for people."""

import json
import logging

from pipeline.log import JsonFormatter, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "workers", "levelno": logging.INFO, "msg": "healed"})
    made.levelname = "INFO"
    made.__dict__.update(extra)
    return made


def test_a_json_line_carries_the_fields_beside_the_event() -> None:
    line = json.loads(JsonFormatter().format(record(stage="gate", images=3)))
    assert (line["event"], line["level"], line["stage"], line["images"]) == (
        "healed",
        "info",
        "gate",
        3,
    )


def test_an_exception_stays_on_one_line() -> None:
    error = ValueError("broken")
    told = record(exc_info=(ValueError, error, None))
    line = JsonFormatter().format(told)
    assert "\n" not in line
    assert "broken" in json.loads(line)["exception"]


def test_a_line_for_people_ends_with_the_fields() -> None:
    assert TextFormatter("%(message)s").format(record(stage="gate")) == "healed stage=gate"
