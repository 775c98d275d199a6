"""What a caller of DICOMweb can read: the header Accept, as PS3.18 8.7.5 has it."""

from collections.abc import Iterator
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian
from starlette.requests import Request

from pipeline.api.problems import Kind, ProblemError

DICOM: Final = "application/dicom"
JSON: Final = "application/dicom+json"
RELATED: Final = "multipart/related"

_ALIASES: Final = {JSON: (JSON, "application/json")}
_SYNTAXES: Final = ("*", str(ExplicitVRLittleEndian))


def chosen(request: Request, *offers: str) -> str:
    """The first media type the caller names that is offered, or the first offer if any will do.

    `multipart/related` means parts of application/dicom. Raises ProblemError (406).
    """
    header = ",".join(request.headers.getlist("accept")) or "*/*"
    for media, parameters in _ranges(header):
        for offer in offers:
            if _is_meant(media, offer) and _fits(offer, parameters):
                return offer
    raise ProblemError(Kind.NOT_ACCEPTABLE, f"there is {' or '.join(offers)}")


def _ranges(header: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in header.split(","):
        media, *rest = part.split(";")
        pairs = (item.partition("=") for item in rest)
        parameters = {name.strip().lower(): value.strip(' "') for name, _, value in pairs}
        if parameters.get("q") not in ("0", "0.0"):
            yield media.strip().lower(), parameters


def _is_meant(media: str, offer: str) -> bool:
    wild = (offer.partition("/")[0] + "/*", "*/*")
    return media in (*_ALIASES.get(offer, (offer,)), *wild)


def _fits(offer: str, parameters: dict[str, str]) -> bool:
    if offer not in (DICOM, RELATED):
        return True
    inner = parameters.get("type", DICOM).lower()
    return inner in (DICOM, "*/*") and parameters.get("transfer-syntax", "*") in _SYNTAXES
