"""What Prometheus finds at the API."""

from threading import Event

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from pipeline.api import gauges
from pipeline.api.app import create_app
from pipeline.api.problems import Kind
from pipeline.context import Context
from pipeline.records import backlog, intake
from pipeline.records.backlog import Backlog
from pipeline.records.intake import Arrival
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.uid import new_id


def scraped(client: TestClient) -> dict[tuple[str, ...], float]:
    """Every sample by its name and its label values, in the order of the labels' names."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (
            sample.name.removeprefix("xraytriage_"),
            *(word for _, word in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_waits_is_there_for_every_stage_and_priority(
    client: TestClient, context: Context
) -> None:
    job = intake.open_job(context.engine, "tests", Priority.STAT)
    arrivals = [Arrival(new_id(), "Doe^Jane.dcm", original="x") for _ in range(4)]
    intake.admit(context.engine, job, arrivals, "prepare", 2, 60.0)
    found = scraped(client)
    assert found["queue_images", "stat", "prepare"] == 4
    assert found["queue_images", "bulk", "chest"] == 0
    assert found["queue_oldest_age_seconds", "stat", "prepare"] >= 0
    assert found["overdue_images", "stat", "prepare"] == 0
    assert found["outbox_rows",] == 2
    assert found["database_up",] == 1
    assert found["disk_free_bytes",] > 0


def test_nothing_of_a_patient_is_there(client: TestClient, context: Context) -> None:
    job = intake.open_job(context.engine, "tests", Priority.STAT)
    intake.admit(
        context.engine, job, [Arrival(new_id(), "Doe^Jane.dcm", original="x")], "prepare", 2, 60.0
    )
    body = client.get("/metrics").text
    assert "Doe" not in body
    assert job not in body


def test_a_request_that_fails_is_counted_by_its_problem(client: TestClient) -> None:
    def count() -> float:
        return scraped(client).get(("http_problems_total", "not-found"), 0.0)

    before = count()
    client.get("/v1/jobs/nothing")
    assert count() == before + 1


def test_every_problem_is_there_before_it_happens(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        found = scraped(client)
    assert {kind.slug for kind in Kind} <= {
        key[1] for key in found if key[0] == "http_problems_total"
    }


def test_without_its_database_the_rest_is_still_told(client: TestClient, context: Context) -> None:
    with context.engine.begin() as connection:
        connection.execute(text("DROP TABLE outbox"))
    found = scraped(client)
    assert found["database_up",] == 0
    assert found["disk_free_bytes",] > 0
    assert not [name for name, *_ in found if name == "queue_images"], "no number is a guess"


def test_a_database_that_hangs_is_asked_once_and_holds_up_no_scrape(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked = Event(), []

    def hang(_: object) -> Backlog:
        asked.append(1)
        release.wait(30)
        return Backlog({}, 0, 0, 0.0)

    monkeypatch.setattr(backlog, "look", hang)
    monkeypatch.setattr(gauges, "DEADLINE_S", 0.05)
    for _ in range(3):
        assert scraped(client)["database_up",] == 0
    assert len(asked) == 1
    release.set()
    monkeypatch.setattr(gauges, "DEADLINE_S", 30.0)
    assert scraped(client)["database_up",] == 1


def test_scrapes_in_a_row_ask_the_database_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = backlog.look, []

    def look(engine: object) -> Backlog:
        asked.append(1)
        return real(engine)  # type: ignore[arg-type]

    monkeypatch.setattr(backlog, "look", look)
    monkeypatch.setattr(gauges, "KEPT_S", 3600.0)
    for _ in range(5):
        scraped(client)
    assert len(asked) == 1
