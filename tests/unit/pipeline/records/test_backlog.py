"""What waits, as the database knows it."""

import pytest
from sqlalchemy import Engine, update

from pipeline.db import now_s
from pipeline.flow import Step
from pipeline.records import backlog, claims, intake
from pipeline.records.backlog import Line
from pipeline.records.claims import Outcome
from pipeline.records.intake import Arrival
from pipeline.states import Priority, State
from pipeline.tables import images, outbox
from pipeline.uid import new_id


def admit(engine: Engine, count: int, priority: Priority = Priority.ROUTINE) -> list[str]:
    job = intake.open_job(engine, "tests", priority)
    arrivals = [Arrival(new_id(), "name", original="x") for _ in range(count)]
    _, nudges = intake.admit(engine, job, arrivals, "prepare", 8, 60.0)
    intake.sent(engine, [nudge.id for nudge in nudges])
    return [arrival.id for arrival in arrivals]


def age(engine: Engine, ids: list[str], **seconds: float) -> None:
    with engine.begin() as connection:
        values = {name: now_s() - past for name, past in seconds.items()}
        connection.execute(update(images).where(images.c.id.in_(ids)).values(values))


def test_an_empty_installation(engine: Engine) -> None:
    assert backlog.look(engine) == backlog.Backlog({}, 0, 0, 0.0)


def test_lines_are_told_by_stage_and_priority(engine: Engine) -> None:
    ids = admit(engine, 3)
    stat = admit(engine, 2, Priority.STAT)
    age(engine, ids[:1], queued_at=100.0)
    age(engine, ids[1:2], due_at=5.0)
    held = claims.claim(engine, "prepare", stat, 60.0, "w", 3)
    claims.complete(engine, "prepare", [Outcome(held[0], Step(State.PREPARED, "gate"))], 8, 60.0)
    lines = backlog.look(engine).lines
    assert set(lines) == {
        ("prepare", Priority.STAT),
        ("prepare", Priority.ROUTINE),
        ("gate", Priority.STAT),
    }
    waiting = lines["prepare", Priority.ROUTINE]
    assert waiting == Line(3, pytest.approx(100.0, abs=30.0), 1)
    assert lines["gate", Priority.STAT].images == 1


def test_what_ended_waits_no_more_and_quarantine_is_counted(engine: Engine) -> None:
    held = claims.claim(engine, "prepare", admit(engine, 3), 60.0, "w", 1)
    claims.fail(engine, "prepare", [(held[0], "broken")], 1, 0.0)
    claims.complete(engine, "prepare", [Outcome(c, Step(State.DONE)) for c in held[1:]], 8, 60.0)
    found = backlog.look(engine)
    assert found.lines == {}
    assert found.quarantined == 1


def test_signatures_that_were_not_sent(engine: Engine) -> None:
    job = intake.open_job(engine, "tests", Priority.BULK)
    arrivals = [Arrival(new_id(), "name", original="x") for _ in range(5)]
    intake.admit(engine, job, arrivals, "prepare", 2, 60.0)
    with engine.begin() as connection:
        connection.execute(update(outbox).values(created_at=now_s() - 50.0))
    found = backlog.look(engine)
    assert found.unsent == 3
    assert found.oldest_unsent_s == pytest.approx(50.0, abs=30.0)
