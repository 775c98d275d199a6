"""What became of the parts of a store transaction: the answer of PS3.18 10.5.3."""

from dataclasses import dataclass, field
from enum import IntEnum

from pydicom.dataset import Dataset

from pipeline.dicom.instance import Instance


class Failure(IntEnum):
    """Values of Failure Reason (0008,1197), PS3.18 table I.2-2."""

    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    SYNTAX_NOT_SUPPORTED = 0xC122
    CLASS_NOT_SUPPORTED = 0x0122
    PROCESSING = 0x0110


@dataclass(slots=True)
class Stored:
    """Instances taken in and instances that were not, in the order in which they came."""

    referenced: list[Instance] = field(default_factory=list)
    failed: list[tuple[Instance, Failure]] = field(default_factory=list)
    others: list[Failure] = field(default_factory=list)
    """Parts of which nobody can say which instance they are."""
    too_large: int = 0
    """How many of the failures are files over the limit."""

    @property
    def status(self) -> int:
        """200: all, 202: some, and for none 409, 413 (all too large) or 503 (servers fail)."""
        failures = [*(reason for _, reason in self.failed), *self.others]
        if not failures:
            return 200
        if self.referenced:
            return 202
        if self.too_large == len(failures):
            return 413
        return 503 if set(failures) == {Failure.OUT_OF_RESOURCES} and not self.too_large else 409

    def dataset(self, study_url: str | None) -> Dataset:
        """The response (PS3.18 table 10.5.3-1); sequences that would be empty are left out.

        The address of an instance stays empty: what we give out is our results in that study,
        not what was sent to us.
        """
        answer = Dataset()
        if study_url is not None and self.referenced:
            answer.RetrieveURL = study_url  # (0008,1190)
        if self.referenced:
            answer.ReferencedSOPSequence = [_reference(found) for found in self.referenced]
        if self.failed:
            answer.FailedSOPSequence = [_failure(found, why) for found, why in self.failed]
        if self.others:
            answer.OtherFailuresSequence = [_reason(why) for why in self.others]
        return answer


def _named(instance: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class  # (0008,1150)
    item.ReferencedSOPInstanceUID = instance.sop_instance  # (0008,1155)
    return item


def _reference(instance: Instance) -> Dataset:
    item = _named(instance)
    item.RetrieveURL = ""  # type 2
    return item


def _failure(instance: Instance, why: Failure) -> Dataset:
    item = _named(instance)
    item.FailureReason = int(why)  # (0008,1197)
    return item


def _reason(why: Failure) -> Dataset:
    item = Dataset()
    item.FailureReason = int(why)
    return item
