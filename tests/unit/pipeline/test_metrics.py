"""What is counted where it is committed, and that counting never stops the work."""

import socket
import urllib.request
from collections.abc import Callable

import pytest
import sqlalchemy.exc
from sqlalchemy import Engine

from pipeline import flow, foreseen, metrics
from pipeline.flow import Step
from pipeline.reasons import ReasonCode
from pipeline.records import claims, intake, overdue
from pipeline.records.claims import Outcome
from pipeline.records.intake import Arrival
from pipeline.retry import ErrorKind, Policy, call
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.uid import new_id

LEASE_S = 60.0


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"xraytriage_{name}", labels) or 0.0


def growth(name: str, **labels: str) -> Callable[[], float]:
    before = value(name, **labels)
    return lambda: value(name, **labels) - before


def admitted(engine: Engine, *arrivals: Arrival) -> list[str]:
    job = intake.open_job(engine, "tests", Priority.ROUTINE)
    intake.admit(engine, job, arrivals, "prepare", 8, LEASE_S)
    return [arrival.id for arrival in arrivals]


def stored(reason: str | None = None) -> Arrival:
    return Arrival(new_id(), "name", original="x", reason_code=reason)


def test_what_is_refused_at_the_door_has_ended_and_what_is_stored_has_not(engine: Engine) -> None:
    taken = growth("admitted_images_total")
    refused = growth("images_ended_total", state="rejected", reason_code="empty_file")
    admitted(engine, stored(), stored("empty_file"), stored("empty_file"))
    assert (taken(), refused()) == (3, 2)


def test_an_end_counts_once_and_only_for_whoever_holds_the_claim(engine: Engine) -> None:
    done = growth("images_ended_total", state="done", reason_code="")
    ids = admitted(engine, stored(), stored())
    first = claims.claim(engine, "prepare", ids, -1.0, "w1", 3)  # a lease that is over already
    second = claims.claim(engine, "prepare", ids, LEASE_S, "w2", 3)
    for held in (first, second, second):
        outcomes = [Outcome(claim, Step(State.DONE)) for claim in held]
        claims.complete(engine, "prepare", outcomes, 8, LEASE_S)
    assert done() == 2


def test_images_that_go_on_have_not_ended(engine: Engine) -> None:
    before = metrics.REGISTRY.get_sample_value
    ended = growth("images_ended_total", state="prepared", reason_code="")
    held = claims.claim(engine, "prepare", admitted(engine, stored()), LEASE_S, "w", 3)
    claims.complete(engine, "prepare", [Outcome(held[0], Step(State.PREPARED, "gate"))], 8, 60.0)
    assert ended() == 0
    assert before("xraytriage_images_ended_total", {"state": "prepared", "reason_code": ""}) is None


def test_both_ways_into_quarantine_count(engine: Engine) -> None:
    failed = growth("images_ended_total", state="quarantined", reason_code="internal")
    silent = growth("images_ended_total", state="quarantined", reason_code="worker_lost")
    one, two = admitted(engine, stored(), stored())
    (held,) = claims.claim(engine, "prepare", [one], LEASE_S, "w", 1)
    claims.fail(engine, "prepare", [(held, "the decoder failed")], 1, 0.0)
    claims.claim(engine, "prepare", [two], -1.0, "w", 1)
    assert overdue.scan(engine, LEASE_S, 1, 8, lambda *_: True).quarantined == 1
    assert (failed(), silent()) == (1, 1)


def test_failed_calls_are_counted_by_server_kind_and_what_followed() -> None:
    labels = {"server": "storage", "kind": "unavailable"}
    retried = growth("server_errors_total", then="retried", **labels)
    given_up = growth("server_errors_total", then="given_up", **labels)

    def fail() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        call(
            fail,
            lambda _: ErrorKind.UNAVAILABLE,
            Policy(attempts=3),
            server="storage",
            sleep=lambda _: None,
        )
    assert (retried(), given_up()) == (2, 1)


def test_errors_of_the_real_database_are_counted(engine: Engine) -> None:
    failed = growth("server_errors_total", server="database", kind="permanent", then="given_up")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE outbox")
    with pytest.raises(sqlalchemy.exc.OperationalError):
        overdue.is_congested(engine, 1.0)
    assert failed() == 1


def test_a_counter_is_at_0_before_its_first_event() -> None:
    foreseen.anywhere()
    foreseen.stage("t3", ("hand",), ("no_hand",))
    metrics.model("t3", "t3-1.0.0+00000000", "onnx", "balanced")
    foreseen.scans()
    shown = metrics.REGISTRY.get_sample_value
    ends = {(State.REJECTED, code) for code in ReasonCode} | {(State.DONE, "")}
    steps = {flow.quarantine(3, error) for error in ("it failed", None)}
    kept = {(step.state, step.reason_code or "") for step in steps}
    for state, code in (ends - {(State.REJECTED, code) for _, code in kept}) | kept:
        assert (
            shown("xraytriage_images_ended_total", {"state": state, "reason_code": code})
            is not None
        )
    for name, labels in (
        *(
            ("server_errors", {"server": "broker", "kind": k, "then": "given_up"})
            for k in ErrorKind
        ),
        ("images_ended", {"state": "rejected", "reason_code": "no_hand"}),
        ("positives", {"stage": "t3", "label": "hand"}),
        ("answered_images", {"stage": "t3"}),
        ("scans", {"end": "failed"}),
    ):
        assert shown(f"xraytriage_{name}_total", labels) is not None, (name, labels)


def test_what_a_model_said_of_a_chunk() -> None:
    foreseen.stage("t1", ("chest", "hand"))
    assert value("positives_total", stage="t1", label="hand") == 0
    answers = [({"chest": 0.97, "hand": 0.03}, ("chest",))] * 3
    metrics.answered("t1", [*answers, ({"chest": 0.2, "hand": 0.8}, ("hand",))])
    assert value("answered_images_total", stage="t1") == 4
    assert value("positives_total", stage="t1", label="chest") == 3
    assert value("score_bucket", stage="t1", label="chest", le="0.95") == 1
    assert value("score_count", stage="t1", label="hand") == 4
    metrics.answered("t2", [])
    assert value("answered_images_total", stage="t2") == 0


def test_what_a_card_leads_to_expect() -> None:
    metrics.expected("t4", {"hand": 0.25}, {"hand": {0.1: 0.02, 0.9: 0.75}})
    assert value("expected_positive_share", stage="t4", label="hand") == 0.25
    assert value("card_score_quantile", stage="t4", label="hand", quantile="0.1") == 0.02
    assert value("card_score_quantile", stage="t4", label="hand", quantile="0.9") == 0.75


def test_it_is_served_where_a_port_is_named_and_only_there() -> None:
    assert not metrics.serve(Settings())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not metrics.serve(Settings(metrics_port=port)), "a taken port stops nobody"
    assert metrics.serve(Settings(metrics_port=port))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert b"process_resident_memory_bytes" in answer.read()
