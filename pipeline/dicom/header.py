"""The facts of a DICOM header that are kept, and the refusal of what is no radiograph."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from pipeline.dicom.read import items, number, value, values
from pipeline.prepared import HeaderValue
from pipeline.reasons import ReasonCode, Unreadable

# (0008,0060): projection radiography by PS3.3 C.7.3.1.1.1 (DR and XR are not in the standard but
# in the field), and OT and SC for secondary captures of it.
_PROJECTION_MODALITIES: Final = frozenset(
    ("CR", "DX", "RG", "MG", "IO", "PX", "DR", "XR", "OT", "SC")
)
# (0008,0016), asked where the modality is missing, and what the listener takes; PS3.4 B.5.
PROJECTION_CLASSES: Final = tuple(
    f"1.2.840.10008.5.1.4.1.1.{tail}"
    for tail in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1"),  # CR, DX, MG, IO
        *("7", "7.1", "7.2", "7.3", "7.4"),  # secondary captures
    )
)

# The value representations of PS3.5 6.2, narrowed: text that does not fit is dropped, since free
# text in a coded element is where names end up.
_CODE: Final = re.compile(r"[A-Z0-9][A-Z0-9_ ]{0,15}")
_UID: Final = re.compile(r"[0-9.]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,_()/&+-]{0,63}")
_ORIENTATION: Final = re.compile(r"[A-Z]{0,3}")
_MOST_VALUES: Final = 4


def refuse_other_modalities(dataset: Dataset) -> None:
    """Raise Unreadable (not_a_projection_radiograph) for CT, MR, US, SR, PDF and the like."""
    modality = str(value(dataset, "Modality") or "").strip().upper()
    if modality in _PROJECTION_MODALITIES:
        return
    if modality:
        what = f"modality {modality}" if _CODE.fullmatch(modality) else "the modality"
    else:
        sop_class = UID(str(value(dataset, "SOPClassUID") or "").strip())
        if sop_class in PROJECTION_CLASSES or not sop_class.is_valid or sop_class.is_private:
            return
        what = f"{sop_class.name}" if sop_class.name != sop_class else "the SOP class"
    raise Unreadable(
        ReasonCode.NOT_A_PROJECTION_RADIOGRAPH, f"{what} is not a projection radiograph"
    )


def facts(dataset: Dataset) -> Mapping[str, HeaderValue]:
    """Return the allow-listed facts, each under the snake_case of its DICOM keyword.

    Values that are absent or do not have the form of their kind are left out.
    """
    found = {name: read(dataset, keyword) for name, (keyword, read) in _FACTS.items()}
    return {name: fact for name, fact in found.items() if fact is not None}


def _matching(pattern: re.Pattern[str]) -> Callable[[Dataset, str], str | None]:
    def read(dataset: Dataset, keyword: str) -> str | None:
        text = [str(part).strip() for part in values(dataset, keyword)]
        if not text or len(text) > _MOST_VALUES or not all(map(pattern.fullmatch, text)):
            return None
        return "\\".join(text) if any(text) else None

    return read


def _numbers(dataset: Dataset, keyword: str) -> tuple[float, ...] | None:
    try:
        found = tuple(float(part) for part in values(dataset, keyword)[:_MOST_VALUES])
    except (TypeError, ValueError, OverflowError):
        return None
    # JSON, and so PostgreSQL and whoever reads the API, knows no infinity and no "not a number".
    return found if found and all(map(math.isfinite, found)) else None


def _whole_number(dataset: Dataset, keyword: str) -> int | None:
    found = number(dataset, keyword)
    return None if found is None else int(found)


def _code_of_first_item(dataset: Dataset, keyword: str) -> str | None:
    """Return "scheme:value" of a code sequence's first item, for example SCT:51185008 (thorax)."""
    for item in items(dataset, keyword)[:1]:
        scheme: Any = value(item, "CodingSchemeDesignator")  # (0008,0102)
        code: Any = value(item, "CodeValue")  # (0008,0100)
        if isinstance(scheme, str) and isinstance(code, str):
            text = f"{scheme.strip()}:{code.strip()}"
            return text if re.fullmatch(r"[A-Z0-9]{1,16}:[A-Z0-9.-]{1,16}", text) else None
    return None


_code, _uid, _name = _matching(_CODE), _matching(_UID), _matching(_NAME)

_FACTS: Final[Mapping[str, tuple[str, Callable[[Dataset, str], HeaderValue | None]]]] = {
    "sop_class_uid": ("SOPClassUID", _uid),
    "sop_instance_uid": ("SOPInstanceUID", _uid),
    "modality": ("Modality", _code),
    "conversion_type": ("ConversionType", _code),
    "presentation_intent_type": ("PresentationIntentType", _code),
    "manufacturer": ("Manufacturer", _name),
    "manufacturer_model_name": ("ManufacturerModelName", _name),
    "anatomic_region_code": ("AnatomicRegionSequence", _code_of_first_item),
    "body_part_examined": ("BodyPartExamined", _code),
    "imager_pixel_spacing": ("ImagerPixelSpacing", _numbers),
    "view_position": ("ViewPosition", _code),
    "study_instance_uid": ("StudyInstanceUID", _uid),
    "series_instance_uid": ("SeriesInstanceUID", _uid),
    "patient_orientation": ("PatientOrientation", _matching(_ORIENTATION)),
    "laterality": ("Laterality", _code),
    "image_laterality": ("ImageLaterality", _code),
    "photometric_interpretation": ("PhotometricInterpretation", _code),
    "number_of_frames": ("NumberOfFrames", _whole_number),
    "rows": ("Rows", _whole_number),
    "columns": ("Columns", _whole_number),
    "pixel_spacing": ("PixelSpacing", _numbers),
    "bits_allocated": ("BitsAllocated", _whole_number),
    "bits_stored": ("BitsStored", _whole_number),
    "pixel_representation": ("PixelRepresentation", _whole_number),
    "burned_in_annotation": ("BurnedInAnnotation", _code),
    "lossy_image_compression": ("LossyImageCompression", _code),
    "view_code": ("ViewCodeSequence", _code_of_first_item),
}
