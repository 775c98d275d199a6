"""Overlays: what a person sees of a finding, made of two stored objects when somebody looks.

Stored are the image once and each heatmap as a transparent layer. A picture of both would be ten
times as large as its layer, and most are never looked at (decision 14).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from models import heatmap
from pipeline.objects import ObjectRef, StorageCorrupt, StorageError
from pipeline.prepared import decode_prepared

Seen = tuple[str | None, str]
"""References of a prepared image and of a heatmap on it, as a row and its finding name them."""


class Store(Protocol):
    """What is needed of `pipeline.storage.ObjectStore`."""

    def get_many(self, refs: Sequence[ObjectRef]) -> list[bytes | StorageError]:
        """The blobs in the order of `refs`; an error stands in its own place."""


def overlays(store: Store, seen: Sequence[Seen]) -> list[bytes | StorageError]:
    """A PNG for each of `seen`, in their order; an error stands in its own place.

    Each object is read once, and those of one pack in one request.
    """
    refs = sorted({ref for pair in seen for ref in pair if ref is not None})
    found = store.get_many([ObjectRef.parse(ref) for ref in refs])
    blobs: dict[str | None, bytes | StorageError] = dict(zip(refs, found, strict=True))
    return list(_drawn(seen, blobs))


def _drawn(
    seen: Sequence[Seen], blobs: dict[str | None, bytes | StorageError]
) -> Iterator[bytes | StorageError]:
    for image, layer in seen:
        prepared, stored = blobs.get(image), blobs[layer]
        if isinstance(stored, StorageError) or heatmap.has_image(stored):
            yield stored  # as it is: earlier versions stored the picture
        elif prepared is None or isinstance(prepared, StorageError):
            yield prepared or StorageError("the heatmap's image is not stored")
        else:
            yield _overlay(prepared, stored)


def _overlay(prepared: bytes, layer: bytes) -> bytes | StorageError:
    try:
        return heatmap.overlay(decode_prepared(prepared), layer)
    except ValueError as error:
        return StorageCorrupt(f"a heatmap and its image don't fit: {error}")
