"""Three hosts: one with the servers, the API and the reconciler, two with workers."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.hosts.crew import Crew
from tests.integration.infra.conftest import Config, config, docker_compose, images, namespaces
from tests.integration.infra.containers import Image

__all__ = ["config", "docker_compose", "images", "namespaces"]
CREW = pytest.StashKey[Crew]()


@pytest.fixture(scope="module")
def hosts(
    namespaces: None,
    config: Config,
    images: dict[str, Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Crew]:
    """The hosts, all of them at work."""
    crew = Crew(config()["services"], images, tmp_path_factory.mktemp("hosts"))
    with crew:
        crew.start()
        yield crew


@pytest.fixture
def crew(request: pytest.FixtureRequest, hosts: Crew) -> Iterator[Crew]:
    """The same hosts, on a whole network; their last words are shown with a test that failed."""
    request.node.stash[CREW] = hosts
    yield hosts
    hosts.net.heal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show what the workers said last with a test that failed."""
    report = yield
    if report.failed and CREW in item.stash:
        report.sections.append(("hosts", item.stash[CREW].last_words()))
    return report
