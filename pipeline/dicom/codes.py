"""The codes of our structured reports: those of PS3.16 where it has one, else our own.

SNOMED CT codes are taken from PS3.16 only, where anybody may use them in DICOM. Everything under
`99XRAYTRIAGE` is defined in this file; a label that nobody coded here is its own code.
"""

from collections.abc import Mapping
from typing import Final

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from models.card import UNKNOWN

SCHEME: Final = "99XRAYTRIAGE"  # PS3.16, 8: designators of private schemes begin with 99


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


PROCEDURE: Final = _sct("168537006", "Plain radiography")  # CID 10005
FINDING_CERTAINTY: Final = Code("111012", "DCM", "Certainty of Finding")
"""PS3.16 Annex D: 0 is no certainty, 100 is certainty; carries our score in percent."""
TARGET_REGION: Final = Code("123014", "DCM", "Target Region")
COMMENT: Final = Code("121106", "DCM", "Comment")
SOURCE_OF_PROCESSING: Final = Code(
    "121322", "DCM", "Source image for image processing operation"
)  # CID 7202
PERCENT: Final = Code("%", "UCUM", "Percent")

POSITIVE: Final = _sct("10828004", "Positive")  # CID 250
NEGATIVE: Final = _sct("260385009", "Negative")
YES: Final = _sct("373066001", "Yes")  # CID 230
NO: Final = _sct("373067005", "No")
UNDETERMINED: Final = _sct("373068000", "Undetermined")

IS_RADIOGRAPH: Final = _own("is_xray", "Is a radiograph")
AT_OPERATING_POINT: Final = _own("at_threshold", "Result at the operating point")
THRESHOLD: Final = _own("threshold", "Threshold of the operating point")
STANDING: Final = _own("standing", "Standing of this label")
EXPERIMENTAL: Final = _own("experimental", "Experimental: too few cases to rely on")
HEADER_AGREEMENT: Final = _own("header_agreement", "Agreement of header and image")
DISAGREES: Final = _own("disagrees", "Header and image disagree")

_LABELS: Final[Mapping[str, Code]] = {
    "abnormal": _sct("263654008", "Abnormal"),  # CID 242
    "Atelectasis": _own("atelectasis", "Atelectasis"),
    "Cardiomegaly": _own("cardiomegaly", "Cardiomegaly"),
    "Effusion": _sct("60046008", "Pleural effusion"),  # CID 645
    "Infiltration": Code("112121", "DCM", "Infiltrate"),  # CID 6104
    "Mass": _sct("4147007", "Mass"),  # CID 6104
    "Nodule": _sct("27925004", "Nodule"),  # CID 6104
    "Pneumonia": _own("pneumonia", "Pneumonia"),
    "Pneumothorax": _sct("36118008", "Pneumothorax"),  # CID 6105
    "Consolidation": _own("consolidation", "Consolidation"),
    "Edema": _sct("19242006", "Pulmonary edema"),  # CID 3700
    "Emphysema": _own("emphysema", "Emphysema"),
    "Fibrosis": _own("fibrosis", "Pulmonary fibrosis"),
    "Pleural_Thickening": _own("pleural_thick", "Pleural thickening"),
    "Hernia": _own("hernia", "Hernia"),
}
# CID 4031, and CID 4 where a joint or a tooth is meant.
_REGIONS: Final[Mapping[str, Code]] = {
    "chest": _sct("816094009", "Chest"),
    "hand": _sct("85562004", "Hand"),
    "wrist": _sct("74670003", "Wrist joint"),
    "finger": _sct("7569003", "Finger"),
    "forearm": _sct("14975008", "Forearm"),
    "elbow": _sct("16953009", "Elbow joint"),
    "humerus": _sct("85050009", "Humerus"),
    "shoulder": _sct("16982005", "Shoulder"),
    "spine": _sct("421060004", "Spine"),
    "hip": _sct("29836001", "Hip"),
    "femur": _sct("71341001", "Femur"),
    "knee": _sct("72696002", "Knee"),
    "leg": _sct("30021000", "Lower leg"),
    "ankle": _sct("70258002", "Ankle joint"),
    "foot": _sct("56459004", "Foot"),
    "skull": _sct("89546000", "Skull"),
    "dental": _sct("661005", "Jaw region"),
    "mammography": _sct("76752008", "Breast"),
    UNKNOWN: UNDETERMINED,
}


def of_label(label: str) -> Code:
    """The code of a finding."""
    return _LABELS.get(label) or _own(label, label.replace("_", " "))


def of_region(answer: str) -> Code:
    """The code of a body part that the type stage names, or `Undetermined`."""
    return _REGIONS.get(answer) or _own(answer, answer.replace("_", " "))


def of_stage(stage: str) -> Code:
    """The code of the question that a stage with one answer asks."""
    return _own(stage, f"Answer of stage {stage}")


def scheme() -> CodingSchemeIdentificationItem:
    """What `99XRAYTRIAGE` is, for (0008,0110)."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Codes of xraytriage", responsible_organization="xraytriage"
    )
