"""Whose images they are, as far as the settings let us know."""

import hashlib
import logging
from collections.abc import Mapping, Sequence

from pipeline.context import Context
from pipeline.identity import WrongKeyError, unseal
from pipeline.records.identities import identity_of

log = logging.getLogger(__name__)

Owner = tuple[Mapping[str, str], str]
"""DICOM keyword -> value, and the checksum of the sealed form; both empty where nobody knows."""
NOBODY: Owner = ({}, "")


def owners(context: Context, image_ids: Sequence[str]) -> dict[str, Owner]:
    """Image id -> owner, of those that have one which our key opens.

    The checksum is that of the encrypted bytes, so that it tells nothing about the patient.
    """
    key = context.settings.identifiers_key
    if key is None:
        return {}
    opened: dict[str, Owner] = {}
    for image_id, sealed in identity_of(context.engine, image_ids).items():
        try:
            opened[image_id] = unseal(sealed, key), hashlib.sha256(sealed).hexdigest()
        except WrongKeyError:
            log.warning("identity sealed with another key", extra={"image": image_id})
    return opened
