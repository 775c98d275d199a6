"""A dataset as DICOM XML, the Native DICOM Model of PS3.19 A.1, as far as our answers need it."""

from xml.etree.ElementTree import Element, SubElement, tostring

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

MEDIA_TYPE = "application/dicom+xml"


def xml(dataset: Dataset) -> bytes:
    """The dataset, whose values are sequences or have one value each."""
    root = Element("NativeDicomModel", {"xml:space": "preserve"})
    _write(root, dataset)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _write(parent: Element, dataset: Dataset) -> None:
    for element in dataset:
        facts = {"tag": f"{int(element.tag):08X}", "vr": element.VR, "keyword": element.keyword}
        place = SubElement(parent, "DicomAttribute", facts)
        _value(place, element)


def _value(place: Element, element: DataElement) -> None:
    if element.VR == "SQ":
        for number, item in enumerate(element.value, 1):
            _write(SubElement(place, "Item", {"number": str(number)}), item)
    elif not element.is_empty:
        SubElement(place, "Value", {"number": "1"}).text = str(element.value)
