"""Identifiers are sealed and opened by the right key only; their setting is checked at start."""

import pytest
from cryptography.fernet import Fernet
from pydantic import ValidationError

from pipeline.identity import WrongKeyError, seal, unseal
from pipeline.settings import Identifiers, Settings

IDENTITY = {"PatientName": "Müller^Jörg", "PatientID": "4711"}


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_what_is_sealed_says_nothing_and_is_opened_whole() -> None:
    key = new_key()
    sealed = seal(IDENTITY, key)
    assert b"4711" not in sealed
    assert "Müller".encode() not in sealed
    assert unseal(sealed, key) == IDENTITY
    assert unseal(seal({}, key), key) == {}


def test_another_key_or_other_bytes_open_nothing() -> None:
    key = new_key()
    sealed = seal(IDENTITY, key)
    for blob, with_key in ((sealed, new_key()), (sealed[:-4] + b"AAAA", key), (b"", key)):
        with pytest.raises(WrongKeyError):
            unseal(blob, with_key)


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    old, new = new_key(), new_key()
    both = f"{new}, {old}"
    assert unseal(seal(IDENTITY, old), both) == IDENTITY
    assert unseal(seal(IDENTITY, both), new) == IDENTITY


def test_identifiers_are_dropped_unless_asked_for() -> None:
    assert Settings().identifiers is Identifiers.DROP
    assert Settings().identifiers_key is None


def test_encryption_without_a_key_is_refused_and_says_how_to_make_one() -> None:
    with pytest.raises(ValidationError, match=r"Fernet\.generate_key") as caught:
        Settings(identifiers=Identifiers.ENCRYPT)
    assert caught.value.errors()[0]["loc"] == ("identifiers_key",)


@pytest.mark.parametrize("key", ["secret-word", "", "é", "A" * 44])
def test_what_is_no_key_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(identifiers=Identifiers.ENCRYPT, identifiers_key=key)
    assert "secret-word" not in str(caught.value)


def test_the_howto_makes_a_key_that_fits() -> None:
    key = new_key()
    assert Settings(identifiers=Identifiers.ENCRYPT, identifiers_key=key).identifiers_key == key
