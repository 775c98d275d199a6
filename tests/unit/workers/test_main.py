"""`python -m workers`: which arguments make sense."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.settings import Device, Settings, settings
from workers import __main__ as command
from workers.__main__ import main


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XRAYTRIAGE_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("stages", [["prepare", "gate"], ["gate", "reconcile"]])
def test_what_needs_its_own_process_says_so(
    stages: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(stages)
    assert ended.value.code == 2
    assert "a process of their own" in capsys.readouterr().err


def test_an_unknown_stage_is_an_error_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["foot"]) == 1
    assert "no stage 'foot'" in capsys.readouterr().err


def test_an_operating_point_of_no_card_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XRAYTRIAGE_OPERATING_POINT", "bogus")
    assert main(["gate"]) == 1
    assert "No model card has the operating point 'bogus'" in capsys.readouterr().err


def test_a_wrong_address_is_an_error_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XRAYTRIAGE_BROKER_URL", "http://foo")
    assert main(["gate"]) == 1
    assert "XRAYTRIAGE_BROKER_URL" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "device"), [([], Device.CUDA), (["--device=cpu"], Device.CPU)])
def test_the_device_of_the_command_line_goes_before_the_setting(
    monkeypatch: pytest.MonkeyPatch, words: list[str], device: Device
) -> None:
    monkeypatch.setenv("XRAYTRIAGE_DEVICE", "cuda")
    started: list[Device] = []

    def start(config: Settings, _: Namespace) -> int:
        started.append(config.device)
        return 0

    monkeypatch.setattr(command, "_start", start)
    assert main(["gate", *words]) == 0
    assert started == [device]
