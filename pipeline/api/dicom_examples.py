"""Answers of DICOMweb as the description shows them: DICOM JSON, PS3.18 Annex F."""

from typing import Any

_STUDY = "1.2.826.0.1.3680043.8.498.1"
_SERIES = "2.25.211540405422373032868216293028408459919"
_INSTANCE = "2.25.183322190441128730917063518427604117121"
_SERIES_URL = f"http://127.0.0.1:8000/dicom-web/studies/{_STUDY}/series/{_SERIES}"


def _value(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


QIDO_STUDIES: list[dict[str, Any]] = [
    {
        "00080061": _value("CS", "OT", "SR"),
        "00100010": {"vr": "PN"},
        "00100020": {"vr": "LO"},
        "0020000D": _value("UI", _STUDY),
        "00201206": _value("IS", 3),
        "00201208": _value("IS", 3),
    }
]
QIDO_SERIES: list[dict[str, Any]] = [
    {
        "00080060": _value("CS", "SR"),
        "0008103E": _value("LO", "AI result, not for primary diagnosis"),
        "00081190": _value("UR", _SERIES_URL),
        "0020000E": _value("UI", _SERIES),
        "00200011": _value("IS", 9000),
        "00201209": _value("IS", 1),
    }
]
QIDO_INSTANCES: list[dict[str, Any]] = [
    {
        "00080016": _value("UI", "1.2.840.10008.5.1.4.1.1.88.33"),
        "00080018": _value("UI", _INSTANCE),
        "00081190": _value("UR", f"{_SERIES_URL}/instances/{_INSTANCE}"),
        "0020000D": _value("UI", _STUDY),
        "0020000E": _value("UI", _SERIES),
        "00200013": _value("IS", 1),
    }
]
METADATA: list[dict[str, Any]] = [
    {
        "00080016": _value("UI", "1.2.840.10008.5.1.4.1.1.88.33"),
        "00080018": _value("UI", _INSTANCE),
        "00080060": _value("CS", "SR"),
        "0040A491": _value("CS", "COMPLETE"),
        "0040A493": _value("CS", "UNVERIFIED"),
    }
]
STORED: dict[str, Any] = {
    "00081190": _value("UR", f"http://127.0.0.1:8000/dicom-web/studies/{_STUDY}"),
    "00081199": _value(
        "SQ",
        {
            "00081150": _value("UI", "1.2.840.10008.5.1.4.1.1.1.1"),
            "00081155": _value("UI", f"{_STUDY}.1.1"),
            "00081190": {"vr": "UR"},
        },
    ),
}
STORED_XML = (
    '<?xml version="1.0" encoding="utf-8"?><NativeDicomModel xml:space="preserve">'
    '<DicomAttribute tag="00081190" vr="UR" keyword="RetrieveURL"><Value number="1">'
    f"http://127.0.0.1:8000/dicom-web/studies/{_STUDY}</Value></DicomAttribute>"
    "</NativeDicomModel>"
)
