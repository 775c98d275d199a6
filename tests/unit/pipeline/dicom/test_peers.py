"""Who may send, and where the listener refuses to listen to everybody."""

import pytest
from pydantic import ValidationError

from pipeline.dicom.peers import ListenerError, allowed_titles
from pipeline.settings import Settings


def titles(**settings: str) -> list[str]:
    return allowed_titles(Settings.model_validate(settings))


def test_the_list_is_read_with_its_spaces() -> None:
    assert titles(dicom_calling_aets=" ROOM1, CR 2 ,,X-RAY_3 ") == ["ROOM1", "CR 2", "X-RAY_3"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_on_loopback_anybody_may_send(host: str) -> None:
    assert titles(dicom_host=host) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pacs.example.org", ""])
def test_elsewhere_a_list_is_needed(host: str) -> None:
    with pytest.raises(ListenerError, match="XRAYTRIAGE_DICOM_CALLING_AETS"):
        titles(dicom_host=host)
    assert titles(dicom_host=host, dicom_calling_aets="ROOM1") == ["ROOM1"]


@pytest.mark.parametrize("title", ["SEVENTEEN-LETTERS", "BACK\\SLASH", "TAB\tTAB"])
def test_what_is_no_title_is_refused(title: str) -> None:
    with pytest.raises(ListenerError, match="no application entity title"):
        titles(dicom_calling_aets=title)


@pytest.mark.parametrize("title", ["", "SEVENTEEN-LETTERS", "A\\B"])
def test_our_own_title_is_checked_as_well(title: str) -> None:
    with pytest.raises(ValidationError):
        Settings(dicom_ae_title=title)
