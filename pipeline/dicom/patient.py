"""Whose image a DICOM file says it is: read in the prepare sandbox only, to be sealed at once."""

from collections.abc import Mapping
from typing import Final

from pipeline.dicom.read import read_header, values
from pipeline.limits import Limits
from pipeline.reasons import Unreadable

# PS3.3 C.7.1.1, C.7.2.1, C.7.3.1.
IDENTIFIERS: Final = (
    "StudyDate",  # (0008,0020)
    "StudyTime",  # (0008,0030)
    "AccessionNumber",  # (0008,0050)
    "ReferringPhysicianName",  # (0008,0090)
    "PatientName",  # (0010,0010)
    "PatientID",  # (0010,0020)
    "IssuerOfPatientID",  # (0010,0021)
    "PatientBirthDate",  # (0010,0030)
    "PatientSex",  # (0010,0040)
    "StudyID",  # (0020,0010)
)
_MOST_CHARACTERS: Final = 400
"""More than any of these values may have (PS3.5 6.2: a name has three groups of 64)."""


def identifiers(data: bytes, limits: Limits) -> Mapping[str, str]:
    """DICOM keyword -> value of the identifiers in ``data``, a DICOM file; none where unreadable.

    Values are text, decoded by the file's character set; absent and empty ones are left out.
    """
    try:
        dataset = read_header(data, limits, IDENTIFIERS)
    except Unreadable:
        return {}
    found = {
        keyword: "\\".join(str(part) for part in values(dataset, keyword)).strip()
        for keyword in IDENTIFIERS
    }
    return {keyword: text[:_MOST_CHARACTERS] for keyword, text in found.items() if text}
