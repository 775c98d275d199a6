"""Real servers for the integration tests, started once; every test gets a place of its own."""

import os
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from pipeline import db
from pipeline.context import Context
from pipeline.embedded import servers
from pipeline.embedded.part import Part
from pipeline.embedded.ports import PortBook
from pipeline.embedded.private import Secrets, secrets_of
from pipeline.settings import Settings
from tests.faults.servers import Server

DATABASES = 1000
"""Of one broker: more than there are tests."""
_turns = count()


class RealServer(Server):
    """A server as the embedded stack runs it, which a test may kill, stop, pause and restart."""

    def __init__(self, folder: Path, make: Callable[[Path, PortBook, Secrets], Part]) -> None:
        """Write its configuration; nothing is started yet."""
        super().__init__(folder)
        self.secrets = secrets_of(folder)
        self.part = make(folder, PortBook(folder / "ports.json"), self.secrets)

    def command(self) -> list[str]:
        """The command line of the stack."""
        return list(self.part.argv)

    def answers(self) -> bool:
        """The look of the stack."""
        return self.part.ready()


def need(binary: Callable[[], Path]) -> None:
    """Skip where a server is not installed; on CI that is a failure."""
    try:
        binary()
    except servers.MissingServerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def _valkey(folder: Path, book: PortBook, secrets: Secrets) -> Part:
    return servers.valkey(folder, book.port("valkey"), secrets.broker_password, DATABASES)


def _weed(folder: Path, book: PortBook, secrets: Secrets) -> Part:
    ports = book.ports("seaweedfs", *servers.SEAWEED_PORTS)
    return servers.seaweed(folder, ports, secrets, keep_free_bytes=0)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A broker; it keeps its messages over a restart."""
    need(servers.valkey_binary)
    server = RealServer(tmp_path_factory.mktemp("valkey"), _valkey)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """An object storage."""
    need(servers.weed_binary)
    server = RealServer(tmp_path_factory.mktemp("weed"), _weed)
    server.start()
    yield server
    server.kill()
    for path in server.part.litter:
        path.unlink(missing_ok=True)


@pytest.fixture
def s3_settings(weed: RealServer, tmp_path: Path) -> Settings:
    """Settings with a bucket that nobody used before; there is no broker."""
    return Settings(
        data_dir=tmp_path / "data",
        s3_endpoint=weed.part.address,
        s3_bucket=f"test-{uuid.uuid4().hex[:12]}",
        s3_access_key=weed.secrets.s3_access_key,
        s3_secret_key=weed.secrets.s3_secret_key,
        s3_timeout_s=2.0,
    )


@pytest.fixture
def settings(
    s3_settings: Settings, valkey: RealServer, migrated_url: str | None
) -> Iterator[Settings]:
    """Settings with bucket, database and queues that nobody used before; the tables are there."""
    port = int(valkey.part.address.rpartition(":")[2])
    address = servers.broker_url(port, valkey.secrets.broker_password)
    database = next(_turns) % DATABASES
    broker_url = f"{address.removesuffix('0')}{database}"
    made = s3_settings.model_copy(update={"broker_url": broker_url, "database_url": migrated_url})
    db.upgrade(made)
    yield made
    engine = db.engine(made)
    db.engine_of.cache_clear()
    engine.dispose()


@pytest.fixture
def context(settings: Settings) -> Context:
    """The same servers, as a worker sees them."""
    context = Context.open(settings)
    context.store.ensure_bucket()
    return context


@pytest.fixture
def needs_servers() -> None:
    """For tests that start a stack, which starts the servers."""
    need(servers.valkey_binary)
    need(servers.weed_binary)
