"""Claims, leases, fences and what they end in, on a real SQLite database."""

import pytest
from sqlalchemy import Engine, select, update

from pipeline import db
from pipeline.flow import PREPARE, Step
from pipeline.reasons import ReasonCode
from pipeline.records import claims, intake, overdue, results
from pipeline.records.claims import Claim, Outcome
from pipeline.states import Priority, State
from pipeline.tables import findings, images, outbox, stage_runs
from pipeline.uid import new_id

LEASE_S = 60.0
CAP = 3
NEXT = Step(State.PREPARED, "gate")


def admit(engine: Engine, count: int = 1, priority: Priority = Priority.ROUTINE) -> list[str]:
    job = intake.open_job(engine, "api", priority)
    arrivals = [intake.Arrival(new_id(), f"{n}.png", sha256="0" * 64) for n in range(count)]
    intake.admit(engine, job, arrivals, PREPARE, 16, LEASE_S)
    return [arrival.id for arrival in arrivals]


def claim(engine: Engine, ids: list[str], stage: str = PREPARE) -> list[Claim]:
    return claims.claim(engine, stage, ids, LEASE_S, "tester", CAP)


def expire(engine: Engine) -> None:
    """As if a lease's time had passed."""
    past = {"lease_until": db.now_s() - 1, "due_at": db.now_s() - 1}
    db.write(engine, lambda c: c.execute(update(images).values(**past)))


def run_of(version: str = "gate-1") -> dict[str, object]:
    return {
        "model_version": version,
        "answer": "xray",
        "scores": {"xray": 0.9},
        "operating_point": "balanced",
        "wait_ms": 1.0,
        "compute_ms": 1.0,
        "worker": "tester",
    }


def row(engine: Engine, image_id: str):  # type: ignore[no-untyped-def]
    view = results.image(engine, image_id)
    assert view is not None
    return view.row


def test_an_image_is_claimed_once(engine: Engine) -> None:
    ids = admit(engine, 3)
    assert len(claim(engine, ids)) == 3
    assert claim(engine, ids) == []


def test_an_image_of_another_stage_is_not_claimed(engine: Engine) -> None:
    assert claim(engine, admit(engine), "gate") == []


def test_an_attempt_counts_before_work_starts(engine: Engine) -> None:
    (image_id,) = admit(engine)
    (held,) = claim(engine, [image_id])
    assert held.attempts == 1
    assert row(engine, image_id)["attempts"] == 1


def test_an_expired_claim_is_taken_over_and_the_sleeper_writes_nothing(engine: Engine) -> None:
    (image_id,) = admit(engine)
    (sleeper,) = claim(engine, [image_id])
    expire(engine)
    (heir,) = claim(engine, [image_id])
    refused = Step(State.REJECTED, reason_code="corrupt", reason="from the sleeper")
    assert claims.complete(engine, PREPARE, [Outcome(sleeper, refused)], 16, LEASE_S) == []
    assert row(engine, image_id)["state"] == State.RECEIVED
    claims.complete(engine, PREPARE, [Outcome(heir, NEXT)], 16, LEASE_S)
    assert row(engine, image_id)["state"] == State.PREPARED


def test_a_sleeper_writes_nothing_even_if_nobody_took_over_yet_but_the_row_was_quarantined(
    engine: Engine,
) -> None:
    (image_id,) = admit(engine)
    (sleeper,) = claim(engine, [image_id])
    past = {"due_at": db.now_s() - 1, "lease_until": db.now_s() - 1, "attempts": CAP}
    db.write(engine, lambda c: c.execute(update(images).values(**past)))
    assert scan(engine).quarantined == 1
    assert claims.complete(engine, PREPARE, [Outcome(sleeper, NEXT)], 16, LEASE_S) == []
    assert row(engine, image_id)["state"] == State.QUARANTINED


def test_a_renewed_claim_holds_and_a_lost_one_stays_lost(engine: Engine) -> None:
    (image_id,) = admit(engine)
    (first,) = claim(engine, [image_id])
    expire(engine)
    (second,) = claim(engine, [image_id])
    expire(engine)
    claims.renew(engine, [first], LEASE_S)
    assert len(claim(engine, [image_id])) == 1, "the first holder must not renew for the second"
    assert second.token == 2


def test_completing_moves_on_and_announces_the_next_stage_in_one_commit(engine: Engine) -> None:
    ids = admit(engine, 3)
    nudges = claims.complete(
        engine, PREPARE, [Outcome(held, NEXT) for held in claim(engine, ids)], 2, LEASE_S
    )
    assert [len(nudge.image_ids) for nudge in nudges] == [2, 1]
    assert {nudge.stage for nudge in nudges} == {"gate"}
    with engine.connect() as connection:
        waiting = set(connection.execute(select(outbox.c.id)).scalars())
    assert {nudge.id for nudge in nudges} < waiting
    intake.sent(engine, waiting)
    assert results.unsent(engine) == 0


def test_a_result_is_written_once_and_a_new_version_adds_its_own(engine: Engine) -> None:
    (image_id,) = admit(engine)
    for stage_version in ("gate-1", "gate-1", "gate-2"):
        step = Step(State.RECEIVED, PREPARE)
        (held,) = claim(engine, [image_id])
        finding = {
            "label": "xray",
            "score": 0.9,
            "threshold": 0.5,
            "positive": True,
            "experimental": False,
        }
        outcome = Outcome(held, step, run=run_of(stage_version), findings=[finding])
        claims.complete(engine, PREPARE, [outcome], 16, LEASE_S)
    view = results.image(engine, image_id)
    assert view is not None
    assert [run.model_version for run in view.runs] == ["gate-1", "gate-2"]
    assert [len(run.findings) for run in view.runs] == [1, 1]


def test_the_database_itself_refuses_a_second_result(engine: Engine) -> None:
    assert {column.name for column in stage_runs.primary_key} == {
        "image_id",
        "stage",
        "model_version",
    }
    assert {column.name for column in findings.primary_key} > {"image_id", "stage", "label"}


def test_released_claims_cost_no_attempt(engine: Engine) -> None:
    (image_id,) = admit(engine)
    for _ in range(CAP + 2):
        held = claim(engine, [image_id])
        assert held[0].attempts == 1
        claims.release(engine, held, 0.0, "StorageUnavailable: gone")


def test_a_failed_image_is_sent_alone_and_quarantined_after_the_cap(engine: Engine) -> None:
    ids = admit(engine, 3)
    bad = ids[1]
    for attempt in range(1, CAP + 1):
        (held,) = claim(engine, [bad])
        assert held.attempts == attempt
        claims.fail(engine, PREPARE, [(held, "broken")], CAP, -1.0)
        if attempt < CAP:
            assert [nudge.image_ids for nudge in scan(engine).nudges] == [[bad]]
    end = row(engine, bad)
    assert end["state"] == State.QUARANTINED
    assert end["reason_code"] == ReasonCode.INTERNAL
    assert end["reason"] == "3 attempts failed: broken"
    assert end["stopped_at"] == PREPARE
    assert claim(engine, [bad]) == []


def scan(engine: Engine, *, drained: bool = True) -> overdue.Scan:
    return overdue.scan(engine, LEASE_S, CAP, 16, lambda *_: drained)


def test_a_scan_leaves_what_is_not_overdue(engine: Engine) -> None:
    admit(engine, 3)
    assert scan(engine).nudges == []


@pytest.mark.parametrize("drained", [True, False])
def test_lost_nudges_are_sent_again_once_their_line_is_empty(
    engine: Engine, *, drained: bool
) -> None:
    ids = admit(engine, 20)
    expire(engine)
    found = scan(engine, drained=drained)
    sent = [image_id for nudge in found.nudges for image_id in nudge.image_ids]
    assert sent == (ids if drained else [])
    assert scan(engine).nudges == [], "what was sent, or left, is not overdue any more"


def test_a_dead_workers_chunk_is_sent_one_by_one(engine: Engine) -> None:
    ids = admit(engine, 3)
    claim(engine, ids)
    expire(engine)
    assert sorted(n.image_ids for n in scan(engine, drained=False).nudges) == sorted(
        [i] for i in ids
    )


def test_a_worker_that_dies_each_time_leads_to_quarantine_with_that_reason(engine: Engine) -> None:
    (image_id,) = admit(engine)
    for _ in range(CAP):
        assert len(claim(engine, [image_id])) == 1
        expire(engine)
    assert claim(engine, [image_id]) == [], "attempts are capped"
    assert scan(engine).quarantined == 1
    assert row(engine, image_id)["reason_code"] == ReasonCode.WORKER_LOST


def test_a_key_is_taken_in_once_a_job(engine: Engine) -> None:
    job = intake.open_job(engine, "cli", Priority.BULK)
    for _ in range(2):
        arrival = intake.Arrival(new_id(), "a.png", once_key="a.png", sha256="0" * 64)
        intake.admit(engine, job, [arrival], PREPARE, 16, LEASE_S)
    view = results.job(engine, job)
    assert view is not None
    assert view.total == 1


def test_an_outbox_row_is_given_to_one_sender_at_a_time(engine: Engine) -> None:
    admit(engine)
    assert len(overdue.unsent(engine, -1.0, 30.0)) == 1
    assert overdue.unsent(engine, -1.0, 30.0) == []


def test_the_urgent_comes_first_out_of_the_outbox(engine: Engine) -> None:
    admit(engine, priority=Priority.BULK)
    admit(engine, priority=Priority.STAT)
    assert [nudge.priority for nudge in overdue.unsent(engine, -1.0, 30.0)] == [0, 9]
