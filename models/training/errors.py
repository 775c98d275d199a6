"""What can go wrong in training, each with words that say what to do next."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of all errors of ``python -m models.training``; its text is shown to the user."""


class ManifestError(TrainingError):
    """A manifest or a public data layout can't be read as it is."""


class ConfigError(TrainingError):
    """A configuration file has an unknown key, a wrong type or an impossible value."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or belongs to another configuration."""


class CardError(TrainingError):
    """A model card is missing, doesn't fit its weights, or can't be refitted."""


class TeacherMissingError(TrainingError):
    """The training-only teacher package is not installed."""
