"""Log lines, for machines and for people."""

import json
import logging
import threading
import warnings
from collections.abc import Iterator

import pytest

from pipeline.log import JsonFormatter, TextFormatter, bound, set_up


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


def test_many_values_are_counted_for_people_and_kept_for_machines() -> None:
    told = record(image_ids=["a", "b", "c", "d"], job_ids=["x", "y"])
    assert TextFormatter("%(message)s").format(told) == "healed image_ids=<4> job_ids=x,y"
    assert json.loads(JsonFormatter().format(told))["image_ids"] == ["a", "b", "c", "d"]


@pytest.fixture
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.usefixtures("_own_logging")
def test_bound_fields_are_on_every_line_of_the_block_and_on_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up(as_json=True)
    with bound(stage="gate", root_id=None), bound(root_id="r"):
        logging.getLogger("anybody").info("inside", extra={"stage": "own"})
        other = threading.Thread(target=logging.getLogger("elsewhere").info, args=["thread"])
        other.start()
        other.join()
    logging.getLogger("anybody").info("outside")
    lines = {line["event"]: line for line in map(json.loads, capsys.readouterr().err.splitlines())}
    assert (lines["inside"]["stage"], lines["inside"]["root_id"]) == ("own", "r")
    assert not {"stage", "root_id"} & (lines["outside"].keys() | lines["thread"].keys())


@pytest.mark.usefixtures("_own_logging")
def test_the_web_server_writes_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    server = logging.getLogger("uvicorn.error")
    server.addHandler(logging.StreamHandler())
    set_up(as_json=True)
    server.warning("a %s", "word", extra={"color_message": "coloured"})
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "a word"
    assert "coloured" not in line


@pytest.mark.usefixtures("_own_logging")
def test_an_access_log_that_is_switched_off_stays_off(capsys: pytest.CaptureFixture[str]) -> None:
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False  # as `uvicorn --no-access-log` does
    set_up(as_json=True)
    access.info("GET /dicom-web/studies?PatientName=Somebody")
    assert not capsys.readouterr().err
    access.propagate = True


@pytest.mark.usefixtures("_own_logging")
def test_a_warning_is_a_line_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(as_json=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("beware", stacklevel=1)
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["logger"], "beware" in line["event"]) == ("py.warnings", True)
