"""Addresses of destinations, as settings have them."""

import pytest
from pydantic import ValidationError

from pipeline.dicom.destination import Node, Web, parse
from pipeline.settings import Settings


def test_a_dicom_node_has_a_title_a_host_and_a_port() -> None:
    assert parse("dimse://PACS_1@10.0.0.5:104") == Node("PACS_1", "10.0.0.5", 104)
    assert parse("dimse://A@[::1]:11112") == Node("A", "::1", 11112)


def test_a_web_server_is_named_with_or_without_what_is_spoken() -> None:
    for text in ("http://pacs/dicom-web", "stow+http://pacs/dicom-web", "http://pacs/dicom-web/"):
        assert parse(text) == Web("http://pacs/dicom-web")
    assert parse("stow+https://pacs:8443") == Web("https://pacs:8443")


@pytest.mark.parametrize(
    "text",
    [
        "dimse://PACS@10.0.0.5:104",
        "dimse://OLD%20PACS@pacs:104",
        "dimse://A@[::1]:11112",
        "https://pacs:8443/dicom-web",
    ],
)
def test_an_address_reads_back_as_it_is_shown(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pacs",
        "dimse://10.0.0.5:104",
        "dimse://PACS@10.0.0.5",
        "dimse://PACS@:104",
        "dimse://SEVENTEEN_LETTERS@10.0.0.5:104",
        "dimse://PACS@10.0.0.5:99999",
        "ftp://pacs/x",
        "http://",
        "http://jane:hunter2@pacs/dicom-web",
        "http://pacs/dicom-web?key=hunter2",
    ],
)
def test_a_wrong_address_is_refused_in_words_that_quote_nothing(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|AUTHORIZATION") as refusal:
        parse(text)
    assert "hunter2" not in str(refusal.value)


def test_a_wrong_setting_is_found_at_the_start() -> None:
    with pytest.raises(ValidationError, match="needs an AE title"):
        Settings(dicom_destination="dimse://nobody:104")
    assert Settings(dicom_destination="stow+http://pacs/").dicom_destination == "http://pacs"
