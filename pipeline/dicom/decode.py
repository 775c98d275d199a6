"""DICOM images: bytes -> prepared image and header facts."""

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from pipeline.dicom.header import facts, refuse_other_modalities
from pipeline.dicom.pixels import stored_pixels
from pipeline.dicom.presentation import to_grey
from pipeline.dicom.read import PIXEL_DATA_TAGS, read_dicom
from pipeline.limits import Limits
from pipeline.prepared import Decoded, prepared_size, shrink
from pipeline.reasons import ReasonCode, Unreadable


def decode_dicom(data: bytes, limits: Limits) -> Decoded:
    """Decode a DICOM image; of several frames the first, ``number_of_frames`` in the header.

    Other modalities than projection radiography are refused before their pixels are touched.
    Beside the facts of ``dicom.header`` the header says, under ``grey_range_from``, what
    brightness and contrast were taken from. Raises Unreadable.
    """
    dataset = read_dicom(data, limits)
    refuse_other_modalities(dataset)
    if "PixelData" not in dataset:
        raise _without_pixels(data, dataset)
    grey, grey_range_from = to_grey(stored_pixels(dataset, limits), dataset)
    height_px, width_px = grey.shape
    prepared = shrink(Image.fromarray(grey), prepared_size(width_px, height_px, limits.prepared_px))
    header = {**facts(dataset), "grey_range_from": grey_range_from}
    return Decoded(np.array(prepared, np.uint8), width_px, height_px, "DICOM", header)


def _without_pixels(data: bytes, dataset: Dataset) -> Unreadable:
    # Where the end of compressed pixel data is missing, pydicom drops all elements.
    if ("Rows" in dataset or not len(dataset)) and any(tag in data for tag in PIXEL_DATA_TAGS):
        return Unreadable(ReasonCode.TRUNCATED, "the file ends before its pixel data do")
    return Unreadable(ReasonCode.NO_PIXELS, "the DICOM object has no pixel data")
