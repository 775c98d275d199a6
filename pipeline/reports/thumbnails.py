"""Small pictures inside the page, as data addresses: one file to send, nothing to load."""

import base64
import io

from PIL import Image, UnidentifiedImageError

from pipeline.prepared import decode_prepared

SIDE_PX = 224
QUALITY = 70


def data_address(blob: bytes | Exception) -> str | None:
    """A prepared array or a PNG, at most `SIDE_PX` a side, as `data:` address.

    None where there is no picture in it, or an error in its place.
    """
    if isinstance(blob, Exception):
        return None
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
