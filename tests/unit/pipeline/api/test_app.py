"""How the application is made and started."""

import logging

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from pipeline.api import app as module
from pipeline.api.app import create_app
from pipeline.context import Context
from pipeline.settings import Settings
from tests.unit.pipeline.api.memory import problem


def test_the_context_is_opened_at_the_start(
    settings: Settings, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_context(given: Settings) -> Context:
        opened.append(given)
        return context

    monkeypatch.setattr(Context, "open", open_context)
    app = create_app(settings)
    assert opened == []
    with TestClient(app) as client:
        assert opened == [settings]
        assert client.get("/readyz").status_code == 200


def test_without_settings_those_of_the_process_are_used(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = []
    monkeypatch.setattr(module, "settings_of_process", lambda: settings)
    monkeypatch.setattr(module.log, "set_up", lambda *, as_json: logs.append(as_json))
    assert create_app().title == "xraytriage"
    assert logs == [False]


def test_a_fault_is_logged_by_name_without_its_words(
    client: TestClient, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with context.engine.begin() as connection:
        connection.execute(text("DROP TABLE job"))
    caplog.set_level(logging.WARNING, "pipeline.api")
    problem(client.get(f"/v1/jobs/{'0' * 32}"), 503, "database-unavailable")
    (record,) = caplog.records
    assert (record.problem, record.error) == (  # type: ignore[attr-defined]
        "database-unavailable",
        "OperationalError from OperationalError",
    )
    assert "0" * 32 not in caplog.text
