"""The states of an image, the priorities of a job, and what each means."""

from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where an image is on its walk; the last three are terminal."""

    RECEIVED = "received"
    """Bytes are stored and the row is committed; nothing has looked inside yet."""
    PREPARED = "prepared"
    """Decoded to one small grayscale array."""
    GATED = "gated"
    """The gate says: an X-ray."""
    TYPED = "typed"
    """The body part is known and a stage for it follows."""
    DONE = "done"
    """Every stage that applies has answered."""
    REJECTED = "rejected"
    """Final, with a typed reason: not an X-ray, undecodable, unsupported …"""
    QUARANTINED = "quarantined"
    """Kept for a person after too many failed attempts, with the last error."""


TERMINAL = frozenset({State.DONE, State.REJECTED, State.QUARANTINED})


class Priority(IntEnum):
    """Urgency of a job; the number is the broker's priority, 0 the most urgent."""

    STAT = 0
    ROUTINE = 3
    BULK = 9

    @classmethod
    def parse(cls, word: str) -> "Priority":
        """Priority of a word; raises `ValueError` naming the words that exist."""
        try:
            return cls[word.upper()]
        except KeyError:
            words = ", ".join(p.name.lower() for p in cls)
            raise ValueError(f"priority {word!r} is unknown; use one of {words}") from None

    @property
    def word(self) -> str:
        """The name people write: stat, routine or bulk."""
        return self.name.lower()
