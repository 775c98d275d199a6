"""What a use case works with: settings, database, storage, broker and catalogue of one process."""

from dataclasses import dataclass

from sqlalchemy import Engine

from models.catalogue import load_catalogue
from models.spec import StageSpec
from pipeline import db
from pipeline.dispatch import Dispatcher
from pipeline.settings import Settings
from pipeline.storage import ObjectStore


@dataclass(frozen=True, slots=True)
class Context:
    """Made once a process, after fork."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    dispatcher: Dispatcher
    stages: tuple[StageSpec, ...]

    @classmethod
    def open(cls, settings: Settings) -> "Context":
        """Connect lazily to everything that `settings` names."""
        stages = load_catalogue(settings.catalogue)
        return cls(
            settings, db.engine(settings), ObjectStore(settings), Dispatcher(settings), stages
        )
