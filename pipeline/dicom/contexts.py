"""What may be sent to us: SOP classes and transfer syntaxes, which are those that we decode."""

from collections.abc import Iterator
from typing import Final

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

from pipeline.dicom.header import PROJECTION_CLASSES

VERIFICATION: Final = "1.2.840.10008.1.1"
"""SOP class of C-ECHO (PS3.4 A.4)."""
TRANSFER_SYNTAXES: Final = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
    uid.RLELossless,
)


def supported_contexts() -> Iterator[PresentationContext]:
    """C-ECHO, and storage of every class of projection radiography and secondary capture."""
    yield build_context(VERIFICATION)
    for sop_class in PROJECTION_CLASSES:
        yield build_context(sop_class, list(TRANSFER_SYNTAXES))
