"""What docs/operations.md says of backups and of files to be written, tried."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pipeline import db
from pipeline.settings import Settings
from tests.faults.servers import Postgres
from tests.integration.infra.compose import ROOT
from tests.integration.infra.conftest import Config
from tests.integration.infra.containers import Image
from tests.integration.infra.runbook import commands, follow, section
from tests.stand_in.databases import open_folder

NAME = "xraytriage"
OLDER = [
    script.revision
    for script in ScriptDirectory.from_config(db.migrations(Settings())).walk_revisions()
][1:]
MARK = "CREATE TABLE mark AS SELECT 'of the backup' AS said"


class DatabaseOnly:
    """The database of compose, without a container."""

    def __init__(self, server: Postgres, programs: Path) -> None:
        """`server` runs."""
        self.settings = Settings(database_url=server.address(NAME))
        self._env = ["env", f"PATH={programs}", "PGHOST=127.0.0.1", f"PGPORT={server.port}"]

    def beside(self, service: str) -> list[str]:
        """Its programs, at its port."""
        assert service == "database"
        return self._env

    def anew(self, service: str, command: Sequence[str]) -> list[str]:
        """Not here."""
        raise NotImplementedError

    def stop(self, service: str) -> int:
        """Not here."""
        raise NotImplementedError

    def up(self, *services: str) -> None:
        """Not here."""
        raise NotImplementedError

    def tell(self, *statements: str) -> list[str]:
        """The first column of the answer to the last one."""
        engine = create_engine(self.settings.database, poolclass=NullPool)
        with engine.begin() as connection:
            *before, last = statements
            for statement in before:
                connection.execute(text(statement))
            found = connection.execute(text(last))
            return [str(row[0]) for row in found] if found.returns_rows else []

    def follow(self, heading: str, folder: Path) -> None:
        """Do what a section says of the database."""
        for line in commands(heading):
            if " exec -T database " in line:
                follow(line, self, folder)


@pytest.fixture(scope="module")
def database(images: dict[str, Image]) -> Iterator[DatabaseOnly]:
    programs = images["postgres"].path[0]
    with open_folder() as folder:
        server = Postgres(folder / "postgres")
        server.start()
        place = DatabaseOnly(server, programs)
        owner = [
            *place.beside("database"),
            "createuser",
            "--username=postgres",
            "--superuser",
            NAME,
        ]
        subprocess.run(owner, check=True)
        server.database(NAME)
        yield place
        db.engine(place.settings).dispose()
        server.crash()


@pytest.mark.parametrize("revision", OLDER)
def test_a_backup_of_an_older_version_is_restored_over_a_newer_one(
    database: DatabaseOnly, revision: str, tmp_path: Path
) -> None:
    database.tell("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    command.upgrade(db.migrations(database.settings), revision)
    database.tell(MARK)
    database.follow("Back up", tmp_path)
    db.upgrade(database.settings)
    database.tell("DROP TABLE mark", "CREATE TABLE newer (id int)")
    database.follow("Restore", tmp_path)
    assert db.revisions(database.settings)[0] == revision
    db.upgrade(database.settings)
    current, head = db.revisions(database.settings)
    assert current == head
    assert database.tell("SELECT said FROM mark") == ["of the backup"]
    assert database.tell("SELECT to_regclass('newer')") == ["None"]


def test_a_restore_stops_everything_that_writes(config: Config) -> None:
    (stopped, *_) = commands("Restore")
    ours = {
        name
        for name, service in config("--profile", "*")["services"].items()
        if service["restart"] != "no"
        and "XRAYTRIAGE_DATABASE_URL" in service.get("environment", {})
    }
    assert set(stopped.split()[3:]) == ours


def written(heading: str) -> str:
    """The file that a section tells to write."""
    (found,) = re.findall(r"```yaml\n(.+?)```", section(heading), re.DOTALL)
    return str(found)


def with_file_of(config: Config, heading: str, folder: Path, **variables: str) -> dict[str, Any]:
    """The services when the file of a section lies on top of docker-compose.yml."""
    main, own = ROOT / "docker-compose.yml", folder / "own.yml"
    own.write_text(written(heading).replace(main.name, str(main)))
    files = ("--file", str(main), "--file", str(own), "--profile", "*")
    services: dict[str, Any] = config(*files, **variables)["services"]
    return services


def test_the_collector_stands_where_the_services_reach_it(config: Config, tmp_path: Path) -> None:
    services = with_file_of(config, "Traces", tmp_path)
    (name,) = re.findall(r"echo XRAYTRIAGE_OTLP_ENDPOINT=http://(\w+):4318", section("Traces"))
    assert "back" in services[name]["networks"]
    assert re.search(r":\d+\.\d+\.\d+$", services[name]["image"])


def test_a_further_stage_is_known_to_every_service(config: Config, tmp_path: Path) -> None:
    at = "/site/site.toml"
    services = with_file_of(config, "A further stage", tmp_path, XRAYTRIAGE_CATALOGUE=at)
    for name, service in services.items():
        if service.get("environment", {}).get("XRAYTRIAGE_CATALOGUE") and name != "migrate":
            assert "/site" in {volume["target"] for volume in service["volumes"]}, name
    hand, chest = services["worker-hand"], services["worker-chest"]
    assert hand["command"] == ["python", "-m", "workers", "hand"]
    assert hand["depends_on"] == chest["depends_on"]
    assert hand["hostname"] == "worker-hand"
    assert hand["healthcheck"]["test"][-1] == "hand"
