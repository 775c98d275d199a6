"""The prepare stage: untrusted bytes become one small grayscale array, in a sandboxed child."""

import ctypes
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import psutil

from pipeline.context import Context
from pipeline.dicom.patient import identifiers
from pipeline.flow import PREPARE, after_prepare, refuse
from pipeline.identity import seal
from pipeline.image import Decoded, decode, encode_prepared
from pipeline.limits import Limits
from pipeline.reasons import Unreadable
from pipeline.records.claims import Claim, Outcome
from pipeline.settings import Identifiers, Settings
from pipeline.storage import ObjectRef, StorageError
from workers.runner import SERVERS_AT_FAULT, Failure, Hold


class Prepare:
    """Decodes originals; what can't be decoded is rejected with the decoder's reason."""

    stage = PREPARE

    def __init__(self, context: Context) -> None:
        """Take limits from the settings."""
        self._context = context
        self._limits = Limits(max_bytes=context.settings.max_file_bytes)

    def __call__(self, held: Sequence[Claim], hold: Hold) -> list[Outcome | Failure]:
        """Decode each original and store the arrays as one object."""
        answers: list[_Answer] = []
        for original in self._originals(held):
            answers.append(self._decode(original))
            hold.keep()
        blobs = [encode_prepared(a.decoded.pixels) for a in answers if isinstance(a, _Read)]
        refs = iter(self._context.store.put_pack("prepared", blobs) if blobs else [])
        return [self._outcome(c, answer, refs) for c, answer in zip(held, answers, strict=True)]

    def _originals(self, held: Sequence[Claim]) -> Iterator[bytes | StorageError]:
        # Small files share an object and come in one request; a large one is its own object, and
        # no more than one of those is in memory.
        refs = [ObjectRef.parse(claim.original or "") for claim in held]
        for _, alike in groupby(refs, lambda ref: ref.key):
            yield from self._context.store.get_many(list(alike))

    def _decode(self, original: bytes | StorageError) -> "_Answer":
        if isinstance(original, SERVERS_AT_FAULT):
            raise original
        if isinstance(original, StorageError):
            return Failure(f"the original can't be read back: {original}")
        try:
            with timed(self._context.settings.prepare_image_s):
                decoded = decode(original, self._limits)
                return _Read(decoded, self._sealed(original, decoded))
        except Unreadable as refusal:
            return refusal
        except MemoryError:
            return Failure("decoding needs more memory than is allowed")
        except Exception as error:  # a decoder's own fault on untrusted bytes, whatever it is
            # Its words may quote the header, so they are not kept.
            return Failure(f"the decoder failed with {type(error).__name__}")

    def _sealed(self, original: bytes, decoded: Decoded) -> bytes | None:
        # Names are in no object that lives longer than this call.
        config = self._context.settings
        if config.identifiers is Identifiers.DROP or decoded.format != "DICOM":
            return None
        found = identifiers(original, self._limits)
        return seal(found, config.identifiers_key or "") if found else None

    def _outcome(
        self, claim: Claim, answer: "_Answer", refs: Iterator[ObjectRef]
    ) -> Outcome | Failure:
        if isinstance(answer, Failure):
            return answer
        if isinstance(answer, Unreadable):
            return Outcome(claim, refuse(answer))
        decoded = answer.decoded
        facts = {
            "prepared": str(next(refs)),
            "format": decoded.format,
            "width_px": decoded.width_px,
            "height_px": decoded.height_px,
            "header": dict(decoded.header),
        }
        following = after_prepare(self._context.stages)
        return Outcome(claim, following, facts, sealed=answer.sealed)


@dataclass(frozen=True, slots=True)
class _Read:
    """An image that was decoded, and whose it is, where the settings keep that."""

    decoded: Decoded
    sealed: bytes | None


_Answer = _Read | Unreadable | Failure


@contextmanager
def timed(limit_s: float) -> Iterator[None]:
    """End this process by SIGALRM when the block runs longer than `limit_s` seconds.

    A decoder that loops in C answers no Python exception; the default action of the signal is
    carried out by the kernel. The child dies, the pool replaces it, the reconciler goes on.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies (linux/prctl.h)."""


def confine(settings: Settings) -> None:
    """Bound what this child may allocate on top of what it has now, and tie it to its parent."""
    # A pool child would outlive a parent killed with kill -9 and wait for work for ever.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    present = psutil.Process().memory_info().vms
    limit = present + settings.prepare_memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
