"""What orchestrators ask."""

from threading import Event
from time import monotonic

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import text

from pipeline.api import readiness
from pipeline.api.readiness import Readiness
from pipeline.context import Context
from pipeline.dispatch import BrokerUnavailable
from pipeline.storage import StorageRefused
from tests.unit.pipeline.api.memory import Broker, Store, problem


def test_a_process_is_alive(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "alive"


def test_ready_names_every_server(client: TestClient) -> None:
    body = client.get("/readyz").json()
    assert body["status"] == "ready"
    assert {name: check["ok"] for name, check in body["checks"].items()} == {
        "database": True,
        "storage": True,
        "broker": True,
    }


@pytest.mark.parametrize("silent", ["database", "storage", "broker"])
def test_the_server_that_does_not_answer_is_named(
    client: TestClient, context: Context, store: Store, broker: Broker, silent: str
) -> None:
    if silent == "database":
        with context.engine.begin() as connection:
            connection.execute(text("DROP TABLE outbox"))
    store.broken = StorageRefused("key s3cret") if silent == "storage" else None
    broker.broken = BrokerUnavailable("redis://:pw@host") if silent == "broker" else None
    response = client.get("/readyz")
    checks = problem(response, 503, "not-ready")["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == [silent]
    assert silent in response.json()["detail"]
    assert "s3cret" not in response.text
    assert "pw@host" not in response.text


def test_a_check_that_hangs_is_given_up_and_not_started_twice(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.05)
    release, started = Event(), []

    def hang() -> None:
        started.append(monotonic())
        release.wait(30)

    app.state.readiness.close()
    app.state.readiness = Readiness({"storage": hang})
    for _ in range(3):
        checks = problem(client.get("/readyz"), 503, "not-ready")["checks"]
        assert checks["storage"]["why"] == "no answer within 0.05 s"
    release.set()
    assert len(started) == 1
