"""Servers, plants and the table at the end."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.storage import ObjectStore
from tests.conftest import NewDatabase
from tests.faults import ledger
from tests.faults.plant import Plant
from tests.faults.servers import Valkey, Weed

NewPlant = Callable[..., Plant]
PLANTS = pytest.StashKey[list[Plant]]()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """The storage, one for all tests: objects are named by their content, so they share well."""
    server = Weed(tmp_path_factory.mktemp("weed"))
    server.start()
    # The gateway answers before the volume server has joined: wait for a first object.
    store = ObjectStore(server.settings(s3_patience_s=60.0, s3_attempts=100))
    store.ensure_bucket()
    store.put_pack("warm-up", [b"first"])
    yield server
    server.kill()


def _plants(
    request: pytest.FixtureRequest,
    weed: Weed,
    folders: pytest.TempPathFactory,
    new_database: NewDatabase,
    databases: ExitStack,
) -> Iterator[NewPlant]:
    made: list[Plant] = []

    def new(*, durable: bool = False, broker: bool = True, **overrides: Any) -> Plant:
        folder: Path = folders.mktemp("plant")
        if "database_url" not in overrides:
            url = databases.enter_context(new_database(migrated=True))
            overrides |= {} if url is None else {"database_url": url}
        valkey = Valkey(folder / "valkey", durable=durable)
        if broker:
            valkey.start()
        plant = Plant(folder, valkey, weed, overrides)
        made.append(plant)
        return plant

    request.node.stash[PLANTS] = made
    yield new
    for plant in made:
        plant.close()


@pytest.fixture
def new_plant(
    request: pytest.FixtureRequest,
    weed: Weed,
    tmp_path_factory: pytest.TempPathFactory,
    new_database: NewDatabase,
) -> Iterator[NewPlant]:
    """A callable (**settings) -> a plant without workers, which ends with the test."""
    with ExitStack() as databases:
        yield from _plants(request, weed, tmp_path_factory, new_database, databases)


@pytest.fixture
def plant(new_plant: NewPlant) -> Plant:
    """A plant with its usual workers, all consuming."""
    made = new_plant()
    made.staff()
    made.ready()
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the workers' last words with a test that failed."""
    report = yield
    if report.failed:
        for plant in item.stash.get(PLANTS, []):
            report.sections.append(("workers", plant.logs()))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what became of the images under each fault."""
    if ledger.ROWS:
        terminalreporter.section("faults")
        for line in (*ledger.table(), *ledger.NOTES):
            terminalreporter.write_line(line)
