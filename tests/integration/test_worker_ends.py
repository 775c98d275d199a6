"""A worker that can't work ends as one that failed: it takes no message, and says why."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from pipeline import db
from pipeline.dispatch import Dispatcher, line_of
from pipeline.embedded.part import environment
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.uid import new_id
from tests.faults.servers import PATIENCE

DEADLINE_S = 60.0 * PATIENCE


def broken_catalogue(env: dict[str, str], folder: Path) -> None:
    """A catalogue that is no TOML."""
    path = folder / "site.toml"
    path.write_text("[[stage")
    env["XRAYTRIAGE_CATALOGUE"] = str(path)


def no_opentelemetry(env: dict[str, str], folder: Path) -> None:
    """Traces are wanted, and the packages are not there."""
    (folder / "opentelemetry.py").write_text("raise ModuleNotFoundError(name=__name__)")
    env["PYTHONPATH"] = f"{folder}:{env['PYTHONPATH']}"
    env["XRAYTRIAGE_OTLP_ENDPOINT"] = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(broken_catalogue, "site.toml"), (no_opentelemetry, "OpenTelemetry is not installed")],
)
def test_a_worker_whose_children_cannot_be_set_up_ends_and_leaves_the_messages(
    settings: Settings,
    tmp_path: Path,
    spoil: Callable[[dict[str, str], Path], None],
    why: str,
) -> None:
    db.upgrade(settings)
    nudge = Nudge(new_id(), "prepare", Priority.ROUTINE, [new_id()])
    assert Dispatcher(settings).publish([nudge]) == [nudge.id]
    env = environment(settings)
    spoil(env, tmp_path)
    command = [sys.executable, "-m", "workers", "prepare", "--concurrency=2"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert why in done.stderr
    with Redis.from_url(settings.broker_url or "") as broker:
        assert broker.llen(line_of("prepare", Priority.ROUTINE)) == 1


NO_BROKER = """
import sys
from pipeline.settings import settings
from workers.app import be_worker, make_worker_app

app = make_worker_app(settings(), [("gate", lambda ids, _: len(ids))])
app.conf.broker_connection_retry_on_startup = False
sys.exit(be_worker(app, ["worker", "--pool=solo", "--loglevel=INFO"]))
"""


def test_an_error_that_ends_a_worker_is_in_its_exit_code(tmp_path: Path) -> None:
    env = environment(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    command = [sys.executable, "-c", NO_BROKER]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "Shutting down" in done.stderr
