"""The DICOM listener on the command line and as a part of the stack."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline import cli, embedded, log
from pipeline.context import Context
from pipeline.db import engine_of
from pipeline.dicom import listener
from pipeline.dicom.peers import ListenerError
from pipeline.embedded import Stack, StackError, programs
from pipeline.embedded.part import Tier
from pipeline.settings import Settings


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Context]:
    """The contexts that a listener was started with; there is a database."""
    seen: list[Context] = []
    monkeypatch.setattr(listener, "run", seen.append)
    monkeypatch.setattr(log, "set_up", lambda **_: None)  # its handler would outlive the runner
    folder = tmp_path / "database"
    folder.mkdir()
    (folder / "xraytriage.sqlite3").touch()
    monkeypatch.setenv("XRAYTRIAGE_DATA_DIR", str(tmp_path))
    return seen


def test_it_listens_on_the_registered_port_of_loopback(started: list[Context]) -> None:
    shown = run("dicom-listen")
    assert shown.exit_code == 0, shown.output
    (context,) = started
    settings = context.settings
    assert (settings.dicom_host, settings.dicom_port) == ("127.0.0.1", 11112)
    assert settings.dicom_ae_title == "XRAYTRIAGE"
    engine_of(settings.database).dispose()


def test_options_go_before_settings(
    started: list[Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XRAYTRIAGE_DICOM_PORT", "1")
    options = ("--host", "0.0.0.0", "--port", "2", "--ae-title", "ME", "--allow", "A,B")
    assert run("dicom-listen", *options).exit_code == 0
    settings = started[0].settings
    assert (settings.dicom_host, settings.dicom_port) == ("0.0.0.0", 2)
    assert (settings.dicom_ae_title, settings.dicom_calling_aets) == ("ME", "A,B")
    engine_of(settings.database).dispose()


def test_everybody_may_not_send_from_everywhere(started: list[Context]) -> None:
    with pytest.raises(ListenerError, match="XRAYTRIAGE_DICOM_CALLING_AETS"):
        raise run("dicom-listen", "--host", "0.0.0.0").exception
    assert started == []


def test_a_wrong_title_is_wrong_usage(started: list[Context]) -> None:
    shown = run("dicom-listen", "--ae-title", "SEVENTEEN-LETTERS")
    assert shown.exit_code == 2
    assert "XRAYTRIAGE_DICOM_AE_TITLE" in shown.output.replace("\n", "")


def test_without_a_database_it_says_how_to_begin(tmp_path: Path) -> None:
    shown = run("dicom-listen", "--data-dir", tmp_path / "nothing")
    assert shown.exit_code == 1
    assert "xraytriage up" in shown.output


def test_up_hands_the_port_over(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Settings] = []

    def up(settings: Settings, *, flower: bool) -> int:
        seen.append(settings)
        return 0

    monkeypatch.setattr(embedded, "up", up)
    run("up", "--dicom-port", "11112")
    run("up")
    assert [settings.dicom_port for settings in seen] == [11112, None]


def test_the_part_of_the_stack() -> None:
    part = programs.dicom(Settings(dicom_port=4, dicom_ae_title="ME"))
    assert part.address == "dicom://ME@127.0.0.1:4"
    assert part.argv[-1] == "pipeline.dicom.listener"
    assert part.tier is Tier.FRONT
    assert part.env["XRAYTRIAGE_DICOM_PORT"] == "4"


def test_a_stack_with_an_open_listener_is_refused_before_it_starts(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, dicom_port=0, dicom_host="0.0.0.0")
    with pytest.raises(StackError, match="XRAYTRIAGE_DICOM_CALLING_AETS"):
        Stack(settings).start()
