"""Whether a header and the networks agree on what is shown: headers are often wrong.

Body Part Examined (0018,0015) is compared with the answer of the type stage, or, where it says
nothing known, the code of Anatomic Region Sequence (0008,2218). A body part that overlaps another
on the film (a hand shows the wrist) does not disagree with it; one that no answer stands for
(ABDOMEN) disagrees with what cannot be beside it on one film; WHOLEBODY disagrees with nothing.

No network predicts a view or a side, so View Position (0018,5101) and the lateralities (0020,0060),
(0020,0062) have nothing to be compared with. One exception: the views that only a breast has
(CC, MLO …) stand for a breast where the header names no body part.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydicom.sr.coding import Code

Flag = dict[str, str]
"""`code` for programs and `message` for people."""

BODY_PART: Final = "body_part"
VIEW_POSITION: Final = "view_position"

_TRUNK = ("chest", "spine", "hip")
_ARM = ("shoulder", "humerus", "elbow", "forearm", "wrist", "hand", "finger")
_LEG = ("hip", "femur", "knee", "leg", "ankle", "foot")
_HEAD = ("skull", "dental", "spine")
_HAND = ("hand", "finger", "wrist")
_FOOT = ("foot", "ankle")
_SHOULDER = ("shoulder", "humerus", "chest")
_PELVIS = ("hip", "spine", "femur")
_LIMB = tuple(dict.fromkeys((*_ARM, *_LEG)))

_SHOWN: Final[Mapping[str, tuple[str, ...]]] = {
    # PS3.16 Annex L and the enumeration of earlier editions (PS3.3 C.7.3.1), without spaces.
    "ABDOMEN": _TRUNK,
    "ACJOINT": _SHOULDER,
    "ANKLE": ("ankle", "foot", "leg"),
    "ARM": _ARM,
    "BREAST": ("mammography",),
    "CALCANEUS": _FOOT,
    "CHEST": ("chest", "spine"),
    "CHESTABDOMEN": _TRUNK,
    "CHESTABDPELVIS": _TRUNK,
    "CLAVICLE": _SHOULDER,
    "COCCYX": _PELVIS,
    "CSPINE": ("spine", "skull"),
    "CTSPINE": ("spine", "chest"),
    "ELBOW": ("elbow", "forearm", "humerus"),
    "EXTREMITY": _LIMB,
    "FEMUR": ("femur", "hip", "knee"),
    "FINGER": _HAND,
    "FOOT": _FOOT,
    "FOREARM": ("forearm", "elbow", "wrist"),
    "HAND": _HAND,
    "HEAD": _HEAD,
    "HEADNECK": _HEAD,
    "HEART": ("chest",),
    "HIP": ("hip", "femur"),
    "HUMERUS": ("humerus", "shoulder", "elbow"),
    "ILIUM": _PELVIS,
    "JAW": ("dental", "skull"),
    "KNEE": ("knee", "femur", "leg"),
    "LEG": _LEG,
    "LOWERLEG": ("leg", "knee", "ankle"),
    "LOWERLIMB": _LEG,
    "LSPINE": ("spine", "hip"),
    "LSSPINE": ("spine", "hip"),
    "LUNG": ("chest",),
    "MANDIBLE": ("dental", "skull"),
    "MAXILLA": ("dental", "skull"),
    "MEDIASTINUM": ("chest",),
    "NECK": ("spine", "skull"),
    "ORBIT": _HEAD,
    "PATELLA": ("knee",),
    "PELVIS": _PELVIS,
    "RIB": ("chest", "spine", "shoulder"),
    "SACRUM": _PELVIS,
    "SCAPULA": _SHOULDER,
    "SCJOINT": _SHOULDER,
    "SHOULDER": _SHOULDER,
    "SIJOINT": _PELVIS,
    "SINUS": _HEAD,
    "SKULL": _HEAD,
    "SPINE": (*_TRUNK, "skull"),
    "SSPINE": _PELVIS,
    "STERNUM": ("chest",),
    "THIGH": ("femur", "hip", "knee"),
    "THUMB": _HAND,
    "TIBIAFIBULA": ("leg", "knee", "ankle"),
    "TLSPINE": ("spine", "chest", "hip"),
    "TMJ": ("dental", "skull"),
    "TOE": _FOOT,
    "TSPINE": ("spine", "chest"),
    "UPPERARM": ("humerus", "shoulder", "elbow"),
    "UPPERLIMB": _ARM,
    "WRIST": ("wrist", "hand", "forearm"),
    "ZYGOMA": _HEAD,
}
"""Body part -> the answers of the type stage that a film of it may get."""

TYPES: Final = frozenset(answer for answers in _SHOWN.values() for answer in answers)
"""The answers that can be compared: all that the shipped type stage gives but `unknown`."""

_SYNONYMS: Final[Mapping[str, str]] = {
    "CERVICALSPINE": "CSPINE",
    "DENTAL": "JAW",
    "FACE": "HEAD",
    "FACIALBONES": "HEAD",
    "FINGERS": "FINGER",
    "HEEL": "CALCANEUS",
    "HIPS": "HIP",
    "JAWREGION": "JAW",
    "LUMBARSPINE": "LSPINE",
    "LUNGS": "LUNG",
    "MAMMO": "BREAST",
    "NASALBONE": "HEAD",
    "PANOREX": "JAW",
    "PARANASALSINUS": "SINUS",
    "RIBS": "RIB",
    "TEETH": "JAW",
    "THORACICSPINE": "TSPINE",
    "THORAX": "CHEST",
    "TIBFIB": "TIBIAFIBULA",
    "TOES": "TOE",
    "TOOTH": "JAW",
    "UPRARM": "UPPERARM",
}

CODES: Final[Mapping[str, str]] = {
    "818981001": "ABDOMEN",
    "85856004": "ACJOINT",
    "70258002": "ANKLE",
    "76752008": "BREAST",
    "80144004": "CALCANEUS",
    "816094009": "CHEST",
    "51185008": "CHEST",  # what CID 4031 had before
    "416550000": "CHESTABDOMEN",
    "51299004": "CLAVICLE",
    "122494005": "CSPINE",
    "16953009": "ELBOW",
    "66019005": "EXTREMITY",
    "71341001": "FEMUR",
    "7569003": "FINGER",
    "56459004": "FOOT",
    "14975008": "FOREARM",
    "85562004": "HAND",
    "69536005": "HEAD",
    "80891009": "HEART",
    "29836001": "HIP",
    "24136001": "HIP",
    "85050009": "HUMERUS",
    "661005": "JAW",
    "72696002": "KNEE",
    "30021000": "LOWERLEG",
    "61685007": "LOWERLIMB",
    "122496007": "LSPINE",
    "91609006": "MANDIBLE",
    "70925003": "MAXILLA",
    "45048000": "NECK",
    "64234005": "PATELLA",
    "816092008": "PELVIS",
    "113197003": "RIB",
    "54735007": "SACRUM",
    "79601000": "SCAPULA",
    "16982005": "SHOULDER",
    "39723000": "SIJOINT",
    "2095001": "SINUS",
    "89546000": "SKULL",
    "421060004": "SPINE",
    "56873002": "STERNUM",
    "68367000": "THIGH",
    "76505004": "THUMB",
    "53620006": "TMJ",
    "29707007": "TOE",
    "122495006": "TSPINE",
    "40983000": "UPPERARM",
    "53120007": "UPPERLIMB",
    "74670003": "WRIST",
    "13881006": "ZYGOMA",
}
"""SNOMED CT code -> body part: PS3.16 CID 4009 and CID 4031."""

_OLDER_SCHEMES: Final = ("SRT", "SNM3", "99SDM")
"""SNOMED RT under the names that it had (PS3.16, 8)."""
_BREAST_VIEWS: Final = frozenset(("CC", "MLO", "XCC", "XCCL", "XCCM", "FB", "SIO", "CV"))
"""Views of PS3.16 CID 4014 that no other body part has (ML and LM exist of limbs as well)."""


def flags(header: Mapping[str, Any] | None, answer: str | None) -> list[Flag]:
    """What a header says against the type stage's answer; empty where nothing does or can."""
    if not header or answer not in TYPES:
        return []
    part = body_part(header)
    if part is not None:
        return [] if answer in _SHOWN[part] else [_flag(BODY_PART, part, answer)]
    view = str(header.get("view_position", ""))
    if view in _BREAST_VIEWS and answer != "mammography":
        return [_flag(VIEW_POSITION, f"view {view}", answer)]
    return []


def body_part(header: Mapping[str, Any]) -> str | None:
    """The body part that a header names, as one of our terms; None where it names none we know."""
    text = str(header.get("body_part_examined", ""))
    term = "".join(character for character in text if character.isalnum())
    term = _SYNONYMS.get(term, term)
    if term in _SHOWN:
        return term
    return _coded(str(header.get("anatomic_region_code", "")))


def _coded(code: str) -> str | None:
    scheme, _, value = code.partition(":")
    if scheme == "SCT":
        return CODES.get(value)
    if scheme in _OLDER_SCHEMES:
        older = Code(value, "SRT", "")  # pydicom knows which SNOMED CT code it became
        return next((part for sct, part in CODES.items() if older == Code(sct, "SCT", "")), None)
    return None


def _flag(code: str, said: str, answer: str) -> Flag:
    shown = answer.replace("_", " ").upper()
    return {"code": code, "message": f"header says {said}, image looks like {shown}"}
