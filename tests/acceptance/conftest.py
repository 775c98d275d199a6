"""The whole stack with the shipped models, started once; nothing in it is a stand-in."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.embedded.ports import RANGE, is_free
from pipeline.settings import Settings
from tests.conftest import NewDatabase
from tests.faults.servers import PATIENCE
from tests.stand_in.collector import Collector, collecting

DEADLINE_S = 240.0
METERED = 5
"""Processes that serve metrics on a port of their own: four pools and the reconciler."""
POLL_S = 0.2


def until(done: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Come back when `done`; fail when it takes too long."""
    give_up = monotonic() + deadline_s * PATIENCE
    while not done():
        assert monotonic() < give_up, f"not within {deadline_s * PATIENCE:g} s: {what}"
        sleep(POLL_S)


def row_of_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    return next(
        first
        for first in iter(lambda: random.choice(RANGE), None)
        if all(is_free(port) for port in range(first, first + count))
    )


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the stack sends its traces."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector, new_database: NewDatabase
) -> Iterator[Stack]:
    """Servers, API, four worker pools, reconciler and Flower; watched, as in earnest."""
    with new_database() as database_url:
        settings = Settings(
            data_dir=tmp_path_factory.mktemp("stack"),
            database_url=database_url,
            scan_s=1.0,
            metrics_port=row_of_ports(METERED),
            otlp_endpoint=collector.endpoint,
        )
        with Stack(settings) as running:
            yield running


@pytest.fixture(scope="session")
def context(stack: Stack) -> Context:
    """The same servers, from here."""
    return Context.open(stack.settings)


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """Speaks to the API."""
    with httpx.Client(base_url=stack.addresses["api"], timeout=60.0) as client:
        yield client


@pytest.fixture
def samples() -> Path:
    """The images that come with the project."""
    return Path(__file__).parents[2] / "samples"
