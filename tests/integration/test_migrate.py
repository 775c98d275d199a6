"""`xraytriage migrate` on both databases, alone and two at a time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import db
from pipeline.cli import app
from pipeline.settings import Settings
from tests.stand_in.databases import Databases

MIGRATE = (str(Path(sys.executable).with_name("xraytriage")), "migrate")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(
    request: pytest.FixtureRequest, s3_settings: Settings, tmp_path: Path
) -> Iterator[Settings]:
    """Settings with a database that has no tables yet."""
    if request.param == "postgresql":
        databases: Databases = request.getfixturevalue("postgres_databases")
        with databases.fresh() as address:
            yield s3_settings.model_copy(update={"database_url": address})
        return
    address = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    yield s3_settings.model_copy(update={"database_url": address})
    db.engine_of(address).dispose()


def start(settings: Settings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        MIGRATE,
        env={**os.environ, **variables(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    said = CliRunner().invoke(app, ["migrate", *arguments], env=variables(settings))
    return said.exit_code, said.output


def variables(settings: Settings) -> dict[str, str]:
    return {f"XRAYTRIAGE_{name.upper()}": str(value) for name, value in settings if value}


def test_it_brings_the_tables_up_to_date_once(empty: Settings) -> None:
    code, said = run(empty, "--check")
    assert (code, "tables at None" in said) == (1, True), said
    for _ in range(2):
        code, said = run(empty)
        assert code == 0, said
    code, said = run(empty, "--check")
    assert code == 0, said
    current, head = db.revisions(empty)
    assert current == head


def test_two_at_a_time_wait_for_each_other(empty: Settings) -> None:
    both = [start(empty), start(empty)]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said


def test_a_placeholder_is_refused_in_words_and_not_repeated(empty: Settings) -> None:
    wrong = empty.model_copy(update={"s3_secret_key": "Change-Me-please"})
    code, said = run(wrong)
    assert code == 2
    assert "XRAYTRIAGE_S3_SECRET_KEY" in said
    assert "change-me" in said
    assert "please" not in said
