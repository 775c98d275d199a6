"""Overlays: what a person sees of a finding, made of two stored objects when somebody looks.

Stored are the image once and each heatmap as a transparent layer. A picture of both would be seven
times as large as its layer, and most are never looked at (decision 14).
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from models import heatmap
from models.cores import usable_cores
from pipeline.objects import ObjectRef, StorageCorrupt, StorageError
from pipeline.prepared import decode_prepared

Seen = tuple[str | None, str]
"""References of a prepared image and of a heatmap on it, as a row and its finding name them."""
Blobs = Mapping[str | None, bytes | StorageError]


class Store(Protocol):
    """What is needed of `pipeline.storage.ObjectStore`."""

    def get_many(self, refs: Sequence[ObjectRef]) -> list[bytes | StorageError]:
        """The blobs in the order of `refs`; an error stands in its own place."""


def overlays(store: Store, seen: Sequence[Seen]) -> list[bytes | StorageError]:
    """A PNG for each of `seen`, in their order; an error stands in its own place."""
    return drawn(seen, read(store, [ref for pair in seen for ref in pair]))


def read(store: Store, refs: Iterable[str | None]) -> Blobs:
    """What is stored under these references, each read once; those of one pack in one request."""
    wanted = sorted({ref for ref in refs if ref is not None})
    found = store.get_many([ObjectRef.parse(ref) for ref in wanted])
    return dict(zip(wanted, found, strict=True))


def drawn(seen: Sequence[Seen], blobs: Blobs) -> list[bytes | StorageError]:
    """As `overlays`, of what `read` gave."""
    # Pixels are worked on outside of the interpreter's lock.
    with ThreadPoolExecutor(usable_cores()) as threads:
        return list(threads.map(lambda pair: _drawn(pair[0], pair[1], blobs), seen))


def _drawn(image: str | None, layer: str, blobs: Blobs) -> bytes | StorageError:
    prepared, stored = blobs.get(image), blobs[layer]
    if isinstance(stored, StorageError) or heatmap.has_image(stored):
        return stored  # as it is: earlier versions stored the picture
    if prepared is None or isinstance(prepared, StorageError):
        return prepared or StorageError("the heatmap's image is not stored")
    try:
        return heatmap.overlay(decode_prepared(prepared), stored)
    except ValueError as error:
        return StorageCorrupt(f"a heatmap and its image don't fit: {error}")
