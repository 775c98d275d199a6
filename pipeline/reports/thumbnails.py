"""Small pictures inside the page, as data addresses: one file to send, nothing to load."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image, UnidentifiedImageError

from pipeline.prepared import decode_prepared
from pipeline.reports.heatmaps import Store
from pipeline.storage import ObjectRef

SIDE_PX = 224
QUALITY = 70
AT_ONCE = 32


def thumbnails(store: Store, refs: Sequence[str]) -> Iterator[str | None]:
    """The data address of each object: a prepared array or a PNG; None where it can't be had."""
    for start in range(0, len(refs), AT_ONCE):
        some = [ObjectRef.parse(ref) for ref in refs[start : start + AT_ONCE]]
        yield from _addresses(store.get_many(some))


def _addresses(blobs: Iterable[bytes | Exception]) -> Iterator[str | None]:
    for blob in blobs:
        yield None if isinstance(blob, Exception) else data_address(blob)


def data_address(blob: bytes) -> str | None:
    """A picture of at most `SIDE_PX` a side as `data:` address."""
    try:
        picture = _picture(blob)
    except (ValueError, UnidentifiedImageError):
        return None
    picture.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _picture(blob: bytes) -> Image.Image:
    if blob.startswith(b"\x93NUMPY"):
        return Image.fromarray(decode_prepared(blob))
    return Image.open(io.BytesIO(blob)).convert("RGB")
