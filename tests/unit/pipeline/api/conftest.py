"""The application over a real SQLite file, with a storage and a broker that live in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipeline.context import Context
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import Broker, Store, opened_app, opened_context


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Small limits, so that tests can go over them."""
    return Settings(
        data_dir=tmp_path,
        max_file_bytes=100_000,
        max_request_files=20,
        disk_watermark_bytes=0,
    )


@pytest.fixture
def store() -> Store:
    """The storage."""
    return Store()


@pytest.fixture
def broker() -> Broker:
    """The broker."""
    return Broker()


@pytest.fixture
def context(settings: Settings, store: Store, broker: Broker) -> Iterator[Context]:
    """What the application works with."""
    context = opened_context(settings, store, broker)
    yield context
    context.engine.dispose()


@pytest.fixture
def app(context: Context, settings: Settings) -> Iterator[FastAPI]:
    """The application, opened without its lifespan."""
    app = opened_app(context)
    yield app
    app.state.readiness.close()
    app.state.gauges.close()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """A caller; errors of the application come as responses, as they do to real callers."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def job(context: Context, store: Store) -> FinishedJob:
    """A closed job; add images to it."""
    job_id = open_job(context.engine, "api", Priority.ROUTINE)
    close_job(context.engine, job_id)
    return FinishedJob(context.engine, store, job_id)
