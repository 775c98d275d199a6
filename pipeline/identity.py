"""Whose image it is, encrypted: what is read of a header is kept apart, or not at all.

Sealed with Fernet (AES-128-CBC and HMAC-SHA256), under the keys of the setting `identifiers_key`:
the first of them seals, each of them unseals, so a key can be replaced without losing a row.
"""

import json
from collections.abc import Mapping

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class WrongKeyError(Exception):
    """None of the keys opens it, or its bytes were changed."""


def seal(identity: Mapping[str, str], key: str) -> bytes:
    """Encrypt DICOM keyword -> value. `key`: the setting, one or more keys with commas."""
    return _fernet(key).encrypt(json.dumps(dict(identity), sort_keys=True).encode())


def unseal(sealed: bytes, key: str) -> dict[str, str]:
    """The identity that `seal` was given. Raises WrongKeyError."""
    try:
        opened = _fernet(key).decrypt(sealed)
    except InvalidToken:
        raise WrongKeyError("none of the keys opens this identity") from None
    return {str(name): str(value) for name, value in json.loads(opened).items()}


def _fernet(key: str) -> MultiFernet:
    return MultiFernet([Fernet(part.strip()) for part in key.split(",")])
