"""Where results are sent: a DICOM node or a DICOMweb server, as one address."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

FORMS: Final = "dimse://AET@host:port or http(s)://host/dicom-web"
_AE_TITLE: Final = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?")  # PS3.5 6.2, AE


@dataclass(frozen=True, slots=True)
class Node:
    """A Storage SCP."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        """The address, as `parse` reads it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"dimse://{quote(self.ae_title, safe='')}@{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Web:
    """A DICOMweb server."""

    url: str
    """Without a slash at its end; `/studies` follows."""

    def __str__(self) -> str:
        """The address, as `parse` reads it."""
        return self.url


Destination = Node | Web


def parse(text: str) -> Destination:
    """The destination of a setting. Raises ValueError in words that quote no password."""
    try:
        address = urlsplit(text.strip().removeprefix("stow+"))
        port = address.port
    except ValueError:
        raise ValueError(f"is no address; write {FORMS}") from None
    if address.scheme == "dimse":
        title = unquote(address.username or "")
        if not address.hostname or port is None or not _AE_TITLE.fullmatch(title):
            raise ValueError(f"needs an AE title, a host and a port; write {FORMS}")
        return Node(title, address.hostname, port)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"is no address; write {FORMS}")
    if address.username is not None or address.query or address.fragment:
        raise ValueError(
            "is no place for a name or password, nor for a query; they go into "
            "XRAYTRIAGE_DICOM_DESTINATION_AUTHORIZATION"
        )
    return Web(f"{address.scheme}://{address.netloc}{address.path.rstrip('/')}")
