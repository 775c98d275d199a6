"""What people must be told about each stage, in words; they go into the cards as they are."""

from __future__ import annotations

DISCLAIMER = (
    "Not a medical device. For research and for building and testing image routing only; no "
    "score may decide about a patient. Trained on a few public data sets of a few hospitals."
)
INTENDED_USE = {
    "gate": "Refuse images that are no radiographs before the later stages see them.",
    "type": "Route a radiograph by body part; answers 'unknown' when no part is likely.",
    "chest": (
        "Order frontal chest radiographs for reading (a worklist hint), with a coarse heatmap. "
        "Not for ruling anything out."
    ),
}
_GATE = """
Single radiographs of hip, shoulder and spine are refused.
Grayscale photographs of translucent or strongly lit objects can pass as radiographs.
CT scouts and single MR slices with one large bright structure are the nearest misses.
Photographs of films on a light box or a screen, fluoroscopy and angiography were not in the data.
"""
_TYPE = """
Neighbouring parts of the arm are confused (shoulder, humerus, elbow, forearm, wrist; hand, finger).
A few per cent of the training labels of the arm are wrong.
Femur, foot, hip, ankle and leg have 19 to 84 training images each: experimental.
Most parts come from one source each: other hospitals' images do worse than validation says.
Abdomen, pelvis, clavicle, ribs and lateral chest have no class of their own.
"""
_CHEST = """
Heatmaps are coarse, five cells a side, and most often beside the finding: a hint at most.
Adults (nih) do far worse than children (kermany): read the figures of each data set apart.
NIH labels were mined from reports and are noisy.
Small lesions (Nodule, Mass) are hard to see at this input size.
Lateral views, devices, lines and portable films with text are under-represented.
Some NIH sources are mostly abnormal or mostly normal: part of the AUC may be the source.
"""


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.strip().splitlines())


KNOWN_FAILURES = {"gate": _lines(_GATE), "type": _lines(_TYPE), "chest": _lines(_CHEST)}
