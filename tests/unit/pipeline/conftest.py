"""A migrated database of its own for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline import db
from pipeline.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Settings:
    """Settings with all state below `tmp_path` and a broker that nobody answers at."""
    return Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0", lease_s=60.0, scan_s=0.1)


@pytest.fixture
def engine(config: Settings) -> Iterator[Engine]:
    """The database, at the newest migration."""
    db.upgrade(config)
    engine = db.engine(config)
    yield engine
    engine.dispose()
