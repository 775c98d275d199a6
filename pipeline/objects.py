"""What a row names in the object storage, and how the storage may fail."""
# ruff: noqa: N818 - the errors are named for what happened

import inspect
import re
from dataclasses import dataclass
from typing import Self


class StorageError(Exception):
    """The object storage could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        """Use `message`, or the docstring of the class when there is none."""
        super().__init__(message or inspect.getdoc(type(self)))


class StorageUnavailable(StorageError):
    """The object storage does not answer; all tries are used up, try again later."""


class ObjectMissing(StorageError):
    """There is no such object in the storage; `xraytriage verify` lists what is missing."""


class StorageCorrupt(StorageError):
    """The bytes read are not those stored; restore the object or send the image again."""


class StorageRefused(StorageError):
    """The object storage refused the call; check bucket, credentials and rights."""


class StorageFull(StorageError):
    """The object storage is full; free space or raise the quota, work goes on by itself."""


_REF = re.compile(r"(?P<key>.+)#(?P<offset>\d+)\+(?P<length>\d+)@(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What a row names: one blob, alone in its object or a slice of a pack."""

    key: str
    offset: int
    """First byte within the object."""
    length: int
    """In bytes."""
    sha256: str
    """Of the blob itself, hexadecimal."""

    def __str__(self) -> str:
        """`key#offset+length@sha256`, the form kept in database columns."""
        return f"{self.key}#{self.offset}+{self.length}@{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reference written by `str`. Raises ValueError for anything else."""
        match = _REF.fullmatch(text)
        if match is None:
            raise ValueError(f"not an object reference: {text!r}")
        return cls(match["key"], int(match["offset"]), int(match["length"]), match["sha256"])


def object_key(prefix: str, sha256: str) -> str:
    """The key of bytes with this checksum; two digits of it keep folders small."""
    return f"{prefix}/{sha256[:2]}/{sha256}"
