"""Images that a decoder or a model can't stand.

A PNG with the text `stand-in` = segfault, loop, memory or exit does that to the decoder.
A plain white image is refused by the model, a plain black one makes the whole batch fail, and one
of gray level 60 ends the process that the model lives in.
"""

import ctypes
import os
import time
from collections.abc import Callable, Sequence

from models.stage import Prediction
from pipeline.image import Decoded, decode
from pipeline.limits import Limits
from tests.stand_in.stages import Pixels

MARK = b"stand-in\0"
HOARD_BYTES = 2**24
CRASH = 60
"""The gray level that a model's process doesn't survive."""


def _segfault() -> None:
    ctypes.string_at(0)


def _loop() -> None:
    while True:
        pass


def _memory() -> None:
    hoard = []
    while True:
        hoard.append(bytes(HOARD_BYTES))


def _exit() -> None:
    os._exit(3)


MISCHIEF: dict[bytes, Callable[[], None]] = {
    b"segfault": _segfault,
    b"loop": _loop,
    b"memory": _memory,
    b"exit": _exit,
}


def moody_decode(slow_s: float) -> Callable[[bytes, Limits | None], Decoded]:
    """Takes the place of `pipeline.image.decode` in the prepare stage."""

    def decoded(data: bytes, limits: Limits | None = None) -> Decoded:
        time.sleep(slow_s)
        _, found, rest = data[:4096].partition(MARK)
        if found:
            for word, act in MISCHIEF.items():
                if rest.startswith(word):
                    act()
        return decode(data, limits)

    return decoded


def moody_predict(
    predict: Callable[[Sequence[Pixels]], list[Prediction]], images: Sequence[Pixels]
) -> list[Prediction]:
    """The answers, but for the images that this module is about."""
    plain = [_plain(image) for image in images]
    if CRASH in plain:
        _segfault()
    if 0 in plain:
        raise RuntimeError("a batch with a black image")
    return [
        Prediction(error="a white image") if gray == 255 else answer
        for gray, answer in zip(plain, predict(images), strict=True)
    ]


def _plain(image: Pixels) -> int | None:
    """The gray level of an image that has but one; most are told by a look at two pixels."""
    first = int(image[0, 0])
    return first if first == image[-1, -1] and image.min() == first == image.max() else None
