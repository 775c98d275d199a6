"""Who may send to the DICOM listener: its allow-list, and where it may do without one."""

import ipaddress
import re
from typing import Final

from pipeline.settings import Settings

_TITLE: Final = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # VR AE, PS3.5 6.2


class ListenerError(Exception):
    """The listener may not or cannot start; the message says how to mend that."""


def allowed_titles(settings: Settings) -> list[str]:
    """The application entity titles that may send; empty: any. Raises ListenerError."""
    titles = [part.strip() for part in settings.dicom_calling_aets.split(",") if part.strip()]
    for title in titles:
        if not _TITLE.fullmatch(title):
            raise ListenerError(
                f"XRAYTRIAGE_DICOM_CALLING_AETS: {title!r} is no application entity title, which "
                "has 1 to 16 characters and no backslash"
            )
    if not titles and not _is_loopback(settings.dicom_host):
        raise ListenerError(
            f"The DICOM listener takes from anybody who reaches {settings.dicom_host}: name the "
            "application entities that may send in XRAYTRIAGE_DICOM_CALLING_AETS, or listen on "
            "127.0.0.1 (XRAYTRIAGE_DICOM_HOST)"
        )
    return titles


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
