"""A real Chromium before a real server; the storage lives in memory and a test is the worker."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from pipeline.context import Context
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from tests.browser.worker import Worker
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import Broker, Store, opened_app, opened_context

CHROMIUM = os.environ.get("CHROMIUM", "chromium")


@dataclass(frozen=True)
class Site:
    """A running server and what is behind it."""

    address: str
    context: Context
    store: Store
    worker: Worker

    def job(self) -> FinishedJob:
        """A closed job; add images to it."""
        job_id = open_job(self.context.engine, "api", Priority.ROUTINE)
        close_job(self.context.engine, job_id)
        return FinishedJob(self.context.engine, self.store, job_id)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The application on a free port of loopback."""
    settings = Settings(data_dir=tmp_path, max_file_bytes=200_000, disk_watermark_bytes=0)
    store = Store()
    context = opened_context(settings, store, Broker())
    app = opened_app(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        port = listener.getsockname()[1]
        yield Site(f"http://127.0.0.1:{port}", context, store, Worker(context))
        server.should_exit = True
        serving.join(30)
    app.state.readiness.close()
    context.engine.dispose()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian packs it."""
    path = shutil.which(CHROMIUM)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no {CHROMIUM}; install Debian's package chromium")
        pytest.skip(f"there is no {CHROMIUM}")
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root, which test machines often are.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def _errors(message: ConsoleMessage) -> list[str]:
    # Chromium notes refused and cut requests by itself; whether the page copes is for tests.
    by_itself = message.text.startswith("Failed to load resource")
    return [message.text] if message.type == "error" and not by_itself else []


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """A callable (path, **options) -> the page there; an error in its console fails the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(path: str, **options: object) -> Page:
        context = browser.new_context(base_url=site.address, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.extend(_errors(message)))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
