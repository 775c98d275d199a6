"""What Flower hears of a worker: each task as it is received, started and finished."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import db
from pipeline.dispatch import Dispatcher, make_app
from pipeline.embedded.part import environment
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.uid import new_id

MESSAGES = 30
DEADLINE_S = 300.0


@contextmanager
def gate_worker(settings: Settings, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker process with a stand-in model."""
    command = [sys.executable, "-m", "tests.stand_in.worker", "gate"]
    with (folder / "gate.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment(settings), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def test_flower_hears_of_each_task_and_of_its_end(settings: Settings, tmp_path: Path) -> None:
    db.upgrade(settings)
    heard: Counter[str] = Counter()
    # Nobody waits for these ids: what is told of a task does not depend on what it finds.
    nudges = [Nudge(new_id(), "gate", 9, [new_id()]) for _ in range(MESSAGES)]
    app = make_app(settings)
    dispatcher = Dispatcher(settings.model_copy(update={"publish_timeout_s": DEADLINE_S}))

    def note(event: dict[str, str]) -> None:
        heard[event["type"]] += 1
        if event["type"] == "worker-online":
            assert len(dispatcher.publish(nudges)) == MESSAGES

    with app.connection_for_read() as connection, gate_worker(settings, tmp_path) as worker:
        receiver = app.events.Receiver(connection, handlers={"*": note})
        for _ in receiver.itercapture(timeout=DEADLINE_S, wakeup=False):
            if heard["task-succeeded"] >= MESSAGES:
                break
            assert worker.poll() is None, (tmp_path / "gate.log").read_text()
    app.close()
    assert {name: heard[f"task-{name}"] for name in ("received", "started", "succeeded")} == {
        "received": MESSAGES,
        "started": MESSAGES,
        "succeeded": MESSAGES,
    }
