"""One C-STORE request: the status for each thing that can be wrong with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom.dsutils import encode
from sqlalchemy import select

from pipeline.context import Context
from pipeline.dicom import store as module
from pipeline.dicom.store import Request, Status, fingerprint, store
from pipeline.settings import Settings
from pipeline.storage import ObjectRef, StorageCorrupt, StorageFull, StorageUnavailable
from pipeline.tables import images
from tests.stand_in.dicom_peer import radiograph
from tests.unit.pipeline.api.memory import Broker, Store, opened_context


@pytest.fixture
def memory() -> Store:
    return Store()


@pytest.fixture
def context(tmp_path: Path, memory: Store) -> Any:
    settings = Settings(data_dir=tmp_path, max_file_bytes=50_000, disk_watermark_bytes=0)
    context = opened_context(settings, memory, Broker())
    yield context
    context.engine.dispose()


def request(number: int = 1, **elements: Any) -> Request:
    """As a modality sends it; `elements` change the dataset alone."""
    dataset = radiograph(number)
    named = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    data = encode(dataset, False, True)
    assert data is not None
    return Request("ROOM1", named[0], ExplicitVRLittleEndian, named[0], named[1], data)


def answered(context: Context, asked: Request) -> int:
    return int(store(context, asked).Status)


def test_success_means_stored(context: Context, memory: Store) -> None:
    asked = request()
    assert answered(context, asked) == Status.SUCCESS
    with context.engine.connect() as connection:
        row = connection.execute(select(images)).mappings().one()
    assert memory.get(ObjectRef.parse(row["original"])).endswith(asked.data)
    assert row["once_key"] == asked.sop_instance


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        (request(SOPClassUID=SecondaryCaptureImageStorage), 0xA900, "another SOP class"),
        (request(SOPInstanceUID="2.25.8"), 0xA900, "another instance"),
        (request(StudyInstanceUID=""), 0xC000, "lacks StudyInstanceUID"),
        (replace(request(), data=b""), 0xC000, "lacks"),
        (replace(request(), data=bytes(50_001)), 0xA700, "more than 50000 bytes"),
        (replace(request(), abstract_syntax="1.2.840.10008.5.1.4.1.1.7"), 0x0122, "SOP class"),
        (
            replace(request(), abstract_syntax="1.2.840.10008.1.1", sop_class="1.2.840.10008.1.1"),
            0x0122,
            "SOP class",
        ),
    ],
)
def test_refusals(context: Context, asked: Request, status: int, words: str) -> None:
    answer = store(context, asked)
    assert answer.Status == status
    assert words in answer.ErrorComment
    assert len(answer.ErrorComment) <= 64
    with context.engine.connect() as connection:
        assert connection.execute(select(images)).all() == []


@pytest.mark.parametrize(
    "error", [StorageUnavailable("gone"), StorageFull("full"), StorageCorrupt("bad")]
)
def test_servers_that_fail_are_out_of_resources(
    context: Context, memory: Store, error: Exception
) -> None:
    memory.broken = error  # type: ignore[assignment]
    assert answered(context, request()) == Status.OUT_OF_RESOURCES
    memory.broken = None
    assert answered(context, request()) == Status.SUCCESS


def test_an_object_that_its_head_makes_too_large(context: Context) -> None:
    limit = len(request().data) + 100
    small = context.settings.model_copy(update={"max_file_bytes": limit})
    assert answered(replace(context, settings=small), request()) == Status.OUT_OF_RESOURCES


def test_an_error_nobody_foresaw_is_answered_and_not_quoted(
    context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Zzyzx^Secret")

    monkeypatch.setattr(module, "take", broken)
    answer = store(context, request())
    assert answer.Status == Status.CANNOT_UNDERSTAND
    assert "Zzyzx" not in answer.ErrorComment + caplog.text


def test_log_lines_name_the_peer_and_a_hash(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    asked = request()
    store(context, asked)
    (line,) = [record for record in caplog.records if record.message == "c-store"]
    found = vars(line)
    assert (found["peer"], found["status"]) == ("ROOM1", "0000")
    assert found["instance"] == fingerprint(asked.sop_instance)
    assert asked.sop_instance not in str(found)
