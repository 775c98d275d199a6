"""UIDs of the instances that we make, under the root 2.25 of PS3.5 B.2: always the same ones.

A UID of a result is named after its whole content, so one UID never stands for two contents, and
asking twice gives the same instance. The study of an image that came in no study is the image's
own id in the form of a UUID, so that the image is found again from the study.
"""

import re
from typing import Final
from uuid import UUID, uuid5

NAMESPACE: Final = UUID("b1a1bd0f-5d0c-5f0c-9b8e-2f1a3c6f7d11")

_ROOT: Final = "2.25."
_UUID_UID: Final = re.compile(r"2\.25\.(0|[1-9][0-9]{0,38})")

# RFC 9562, 5.8: version 8 leaves 48 + 12 + 62 bits to whoever makes it; an image id has 128.
_CUT_BITS: Final = 6
_LOW_BITS: Final = 62
_LOW: Final = (1 << _LOW_BITS) - 1
_VERSION_8: Final = 8 << 76
_VARIANT: Final = 2 << _LOW_BITS
_FIXED: Final = (15 << 76) | (3 << _LOW_BITS)


def named(kind: str, *parts: str) -> str:
    """The UID of a thing by its kind and what identifies it; UUID version 5, RFC 9562, 5.5."""
    return f"{_ROOT}{uuid5(NAMESPACE, chr(31).join((kind, *parts))).int}"


def study_of_image(image_id: str) -> str:
    """The Study Instance UID of an image that came in no study, from its id of 32 hex digits."""
    bits = int(image_id, 16) >> _CUT_BITS
    high, middle = bits >> (_LOW_BITS + 12), (bits >> _LOW_BITS) & 0xFFF
    return f"{_ROOT}{high << 80 | _VERSION_8 | middle << 64 | _VARIANT | bits & _LOW}"


def image_of_study(study_uid: str) -> tuple[str, str] | None:
    """First and last id that `study_of_image` may have been asked for; None: it made no such UID.

    The last six random bits of an id find no room in a UUID; two images of one microsecond that
    differ in them alone do not occur.
    """
    match = _UUID_UID.fullmatch(study_uid)
    value = int(match[1]) if match else 0
    if value >> 128 or value & _FIXED != _VERSION_8 | _VARIANT:
        return None
    bits = (value >> 80) << (_LOW_BITS + 12) | ((value >> 64) & 0xFFF) << _LOW_BITS | value & _LOW
    first = bits << _CUT_BITS
    return f"{first:032x}", f"{first | (1 << _CUT_BITS) - 1:032x}"
