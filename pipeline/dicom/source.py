"""The images that results are about: which study each is of, and whose it is.

An image that came as a complete DICOM instance keeps its study, series and instance; results go
into a new series of that study. Any other image (PNG, JPEG, DICOM without UIDs) is a study of its
own under 2.25, in which the prepared image stands for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, SecondaryCaptureImageStorage
from pydicom.valuerep import DA, TM

from pipeline.dicom.uids import named, study_of_image
from pipeline.records.results import ImageView, RunView

PRODUCT: Final = "xraytriage"
NOTICE: Final = "AI result, not for primary diagnosis"

_UIDS: Final = ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "sop_class_uid")

# PS3.3 C.7.1.1, C.7.2.1: type 2, so they stand in every instance, empty when not known.
PATIENT: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_OPTIONAL: Final = ("IssuerOfPatientID",)  # type 3: absent when not known


@dataclass(frozen=True, slots=True)
class Source:
    """One image with its place among the DICOM levels."""

    view: ImageView
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    is_dicom: bool
    """Whether the sender has this instance; if not, our own picture stands for it."""
    identity: Mapping[str, str]
    """DICOM keyword -> value, where the settings keep whose image it is."""
    seal: str
    """Checksum of the sealed identity, "" where it is not open: tells contents apart in a UID."""

    @property
    def id(self) -> str:
        """Id of the image."""
        return str(self.view.row["id"])

    @property
    def header(self) -> Mapping[str, Any]:
        """The kept facts of the DICOM header."""
        return self.view.row["header"] or {}

    @property
    def newest(self) -> list[RunView]:
        """The newest run of each stage, in the order in which the stages ran."""
        return list({run.stage: run for run in self.view.runs}.values())


@dataclass(frozen=True, slots=True)
class Place:
    """Where an instance stands: its UIDs and numbers."""

    series_uid: str
    series_number: int
    series_description: str
    sop_uid: str
    instance_number: int


def source_of(view: ImageView, identity: Mapping[str, str], seal: str) -> Source:
    """The place of an image: as its header has it, or one of our own making."""
    header = view.row["header"] or {}
    uids = [str(header.get(name, "")) for name in _UIDS]
    if all(UID(uid).is_valid for uid in uids):
        study, series, sop, sop_class = uids
        return Source(view, study, series, sop, sop_class, True, identity, seal)
    image_id = str(view.row["id"])
    return Source(
        view,
        study_of_image(image_id),
        named("picture-series", image_id),
        named("picture", image_id, str(view.row["prepared"]), seal),
        SecondaryCaptureImageStorage,
        False,
        identity,
        seal,
    )


def referenced(source: Source) -> Dataset:
    """The image as others refer to it: UIDs and size, and patient and study left empty.

    highdicom quotes names in its warnings, so names are written last, by `stamp`.
    """
    dataset = Dataset()
    dataset.SOPClassUID = source.sop_class_uid
    dataset.SOPInstanceUID = source.sop_uid
    dataset.SeriesInstanceUID = source.series_uid
    dataset.StudyInstanceUID = source.study_uid
    for keyword in PATIENT:
        setattr(dataset, keyword, "")
    return dataset


def describe(source: Source) -> dict[str, str]:
    """Keyword -> value of `PATIENT`, "" where nobody knows; our own studies have a date."""
    own_date = {} if source.is_dicom else _date_of_own_study(source)
    known = {name: source.identity.get(name) or own_date.get(name, "") for name in PATIENT}
    return known | {name: source.identity[name] for name in _OPTIONAL if name in source.identity}


def stamp(dataset: Dataset, source: Source, seconds: float) -> None:
    """Write into an instance whose it is, and when and by what it was made: nothing else varies.

    `seconds` since 1970. Values of the identity are written as they came, unchecked: a check's
    warning would quote them.
    """
    dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    for keyword, value in describe(source).items():
        tag = tag_for_keyword(keyword) or 0
        dataset.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE))
    date, time = moment(seconds)
    for place in ("InstanceCreation", "Content"):
        setattr(dataset, f"{place}Date", date)
        setattr(dataset, f"{place}Time", time)
    dataset.TimezoneOffsetFromUTC = "+0000"
    # It holds the library's version and the time of day, which would tell equal instances apart.
    del dataset.ContributingEquipmentSequence
    dataset.Manufacturer = dataset.ManufacturerModelName = PRODUCT
    dataset.SoftwareVersions = sorted(run.model_version for run in source.newest)
    dataset.InstanceCreatorUID = named("product")
    dataset.file_meta.ImplementationClassUID = UID(named("product"))
    dataset.file_meta.ImplementationVersionName = PRODUCT.upper()


def moment(seconds: float) -> tuple[DA, TM]:
    """Date and time, UTC; instances say so in (0008,0201)."""
    when = datetime.fromtimestamp(seconds, UTC)
    return DA(when.date()), TM(when.time().replace(microsecond=0))


def _date_of_own_study(source: Source) -> dict[str, str]:
    date, time = moment(source.view.row["created_at"])
    return {"StudyDate": str(date), "StudyTime": str(time)}
