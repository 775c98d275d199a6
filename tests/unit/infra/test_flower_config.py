"""Flower's configuration: no login, no start; and nothing that commands."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from flower.options import options

CONFIG = Path(__file__).parents[3] / "infra/flower/flowerconfig.py"


def run() -> dict[str, Any]:
    return runpy.run_path(str(CONFIG))


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    monkeypatch.delenv("FLOWER_AUTH", raising=False)


@pytest.mark.parametrize("users", [None, "", "operator", "operator:", ":secret", "a:b,c"])
def test_without_a_whole_login_it_does_not_start(
    users: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if users is not None:
        monkeypatch.setenv("FLOWER_BASIC_AUTH", users)
    with pytest.raises(SystemExit, match=r"error: .*FLOWER_BASIC_AUTH"):
        run()


def test_a_placeholder_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "operator:change-me")
    with pytest.raises(SystemExit, match="change-me"):
        run()


def test_it_looks_only_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "operator:secret")
    config = {name: value for name, value in run().items() if name in options}
    assert config["read_only"] is True
    assert config["persistent"] is False
    assert 0 < config["max_tasks"] <= 20_000
    assert 0 < config["purge_offline_workers"] <= 600
