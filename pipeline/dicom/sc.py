"""Pictures as Secondary Captures (PS3.3 A.8.1): overlays of findings, and what has no DICOM."""

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.dicom import codes
from pipeline.dicom.source import NOTICE, PRODUCT, Place, Source, stamp
from pipeline.prepared import decode_prepared
from pipeline.records.results import FindingView, RunView
from pipeline.reports.row import EXPERIMENTAL

Pixels = NDArray[np.uint8]

_MOST_FONT_PX: Final = 28
_LEAST_FONT_PX: Final = 10
_SIDES: Final = ("R", "L", "U", "B")
_ORIENTATIONS: Final = frozenset("LRAPHF")


def overlay(
    source: Source, run: RunView, finding: FindingView, png: bytes, place: Place
) -> Dataset:
    """A finding's heatmap over the image, RGB, with the notice burned in; `png` shows both."""
    with Image.open(io.BytesIO(png)) as picture:
        burned = burn_in(picture.convert("RGB"), f"{finding.label}: {NOTICE}")
    capture = _capture(source, np.asarray(burned), "RGB", place)
    capture.DerivationDescription = (
        f"Heatmap of {finding.label} by {run.model_version} laid over the image"
    )
    sign, standing = "positive" if finding.positive else "negative", ""
    if finding.experimental:
        standing = EXPERIMENTAL
    capture.ImageComments = (
        f"{NOTICE}. {finding.label}{standing}: score {finding.score:.4f}, threshold "
        f"{finding.threshold:.4f} ({run.operating_point}), {sign}"
    )
    capture.SourceImageSequence = [_reference(source)]
    return capture


def picture(source: Source, prepared: bytes, place: Place) -> Dataset:
    """The prepared image of something that was no DICOM: what reports and overlays refer to."""
    capture = _capture(source, decode_prepared(prepared), "MONOCHROME2", place)
    capture.DerivationDescription = "Prepared for triage: 8 bits, made smaller where it was large"
    return capture


def burn_in(picture: Image.Image, words: str) -> Image.Image:
    """The picture with the words on a dark band below it; no pixel of it is covered."""
    size_px = min(_MOST_FONT_PX, max(_LEAST_FONT_PX, picture.width // 32))
    font, margin_px = ImageFont.load_default(size_px), size_px // 3
    lines = _wrapped(words, picture.width - 2 * margin_px, font.getlength)
    step_px = round(1.3 * size_px)
    band_px = step_px * len(lines) + 2 * margin_px
    taller = Image.new("RGB", (picture.width, picture.height + band_px))
    taller.paste(picture, (0, 0))
    draw = ImageDraw.Draw(taller)
    for number, line in enumerate(lines):
        top_px = picture.height + margin_px + number * step_px
        draw.text((margin_px, top_px), line, fill="white", font=font)
    return taller


def _wrapped(words: str, width_px: int, length_px: Callable[[str], float]) -> list[str]:
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and length_px(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _capture(source: Source, pixels: Pixels, photometric: str, place: Place) -> Dataset:
    capture: Dataset = SCImage(
        pixel_array=pixels,
        photometric_interpretation=photometric,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # asked for; the true one is written below
        study_instance_uid=source.study_uid,
        series_instance_uid=place.series_uid,
        series_number=place.series_number,
        series_description=place.series_description,
        sop_instance_uid=place.sop_uid,
        instance_number=place.instance_number,
        manufacturer=PRODUCT,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    seconds = source.view.row["finished_at"]
    stamp(capture, source, seconds)
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime
    capture.ConversionType = "WSD"  # workstation
    capture.PatientOrientation = _orientation(source)
    # PS3.3 C.7.3.1: the series may hold both sides, so the side stands at the image, if known.
    side = source.header.get("image_laterality") or source.header.get("laterality")
    if side in _SIDES:
        capture.ImageLaterality = side
    else:
        capture.Laterality = ""
    if source.header.get("burned_in_annotation") in ("YES", "NO"):
        # Our notice identifies nobody (PS3.3 C.7.6.1); what the image shows already, it shows.
        capture.BurnedInAnnotation = source.header["burned_in_annotation"]
    if source.header.get("lossy_image_compression") == "01":
        capture.LossyImageCompression = "01"
    return capture


def _orientation(source: Source) -> list[str] | str:
    parts = str(source.header.get("patient_orientation", "")).split("\\")
    known = len(parts) == 2 and all(part and _ORIENTATIONS.issuperset(part) for part in parts)
    return parts if known else ""


def _reference(source: Source) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = source.sop_uid
    item.PurposeOfReferenceCodeSequence = [_coded(codes.SOURCE_OF_PROCESSING)]
    return item


def _coded(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
    item.CodeMeaning = code.meaning
    return item
