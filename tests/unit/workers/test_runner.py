"""Which images of a message a worker takes on, and with whom."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.context import Context
from pipeline.flow import PREPARE, Step
from pipeline.records import claims, intake
from pipeline.records.claims import Claim, Outcome
from pipeline.records.intake import Arrival
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.uid import new_id
from tests.unit.pipeline.api.memory import Broker, Store, opened_context
from workers import runner
from workers.runner import Failure, Hold, run_chunk

ATTEMPTS = 3


class Recorder:
    """Finishes every image, and remembers which came together and how many were at work."""

    stage = PREPARE

    def __init__(self) -> None:
        self.seen: list[set[str]] = []
        self.company: list[int] = []

    def __call__(self, held: Sequence[Claim], hold: Hold) -> list[Outcome | Failure]:
        self.seen.append({claim.image_id for claim in held})
        self.company.append(runner.COMPANY.present)
        return [Outcome(claim, Step(State.DONE, None)) for claim in held]


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(data_dir=tmp_path, attempts=ATTEMPTS)
    context = opened_context(settings, Store(), Broker())
    yield context
    context.engine.dispose()


@pytest.fixture
def ids(context: Context) -> list[str]:
    """Three images that wait for the prepare stage; the first was tried once."""
    names = [new_id() for _ in range(3)]
    job_id = intake.open_job(context.engine, "api", Priority.ROUTINE)
    intake.admit(context.engine, job_id, [Arrival(n, n) for n in names], PREPARE, 32, 60.0)
    _dies(context, names[0])
    return names


def _dies(context: Context, image_id: str) -> None:
    assert claims.claim(context.engine, PREPARE, [image_id], 60.0, "dead", ATTEMPTS)
    claims.forsake(context.engine, ["dead"])


def test_a_suspect_is_not_taken_on_with_others(context: Context, ids: list[str]) -> None:
    work = Recorder()
    assert run_chunk(context, work, ids, None) == 2
    assert (work.seen, work.company) == ([set(ids[1:])], [1])


def test_a_suspect_that_was_sent_alone_is_taken_on_alone(context: Context, ids: list[str]) -> None:
    work = Recorder()
    assert run_chunk(context, work, ids[:1], None) == 1
    assert (work.seen, work.company) == ([{ids[0]}], [0])


def test_a_suspect_of_too_many_attempts_is_left_to_the_reconciler(
    context: Context, ids: list[str]
) -> None:
    for _ in range(ATTEMPTS - 1):
        _dies(context, ids[0])
    work = Recorder()
    assert run_chunk(context, work, ids[:1], None) == 0
    assert work.seen == []


def test_a_message_that_came_twice_finds_nothing(context: Context, ids: list[str]) -> None:
    work = Recorder()
    assert run_chunk(context, work, ids[1:2], None) == 1
    assert run_chunk(context, work, ids[1:2], None) == 0
