"""A listener that ends with its test, and what it took in: a plugin of the modules about it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.context import Context
from pipeline.settings import Settings
from tests.stand_in.dicom_arrivals import NewListener
from tests.stand_in.dicom_peer import Listener


@pytest.fixture
def new_listener(settings: Settings, context: Context, tmp_path: Path) -> Iterator[NewListener]:
    """A callable (**settings) -> a listener that answers; it ends with the test."""
    made: list[Listener] = []

    def new(**overrides: Any) -> Listener:
        folder = tmp_path / f"listener-{len(made)}"
        listener = Listener(folder, settings.model_copy(update=overrides))
        made.append(listener)
        listener.start()
        return listener

    yield new
    for listener in made:
        listener.kill()


@pytest.fixture
def listener(new_listener: NewListener) -> Listener:
    """A listener with the default settings."""
    return new_listener()
