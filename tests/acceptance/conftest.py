"""The whole stack with the shipped models, started once; nothing in it is a stand-in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from pipeline.context import Context
from pipeline.embedded import Stack
from pipeline.settings import Settings

DEADLINE_S = 240.0
POLL_S = 0.2


def until(done: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Come back when `done`; fail when it takes too long."""
    give_up = monotonic() + deadline_s
    while not done():
        assert monotonic() < give_up, f"not within {deadline_s:g} s: {what}"
        sleep(POLL_S)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers, API, four worker pools, reconciler and Flower."""
    with Stack(Settings(data_dir=tmp_path_factory.mktemp("stack"), scan_s=1.0)) as running:
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
