"""References, kinds of errors, and what the object store does with them; no server."""

import errno
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError
from hypothesis import given
from hypothesis import strategies as st

from pipeline.disk import free_bytes, room
from pipeline.retry import ErrorKind
from pipeline.s3 import bucket_location, classify
from pipeline.settings import Settings
from pipeline.storage import (
    ObjectRef,
    ObjectStore,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

SHA = "ab" * 32


@given(
    key=st.text(min_size=1).filter(lambda text: "\n" not in text),
    offset=st.integers(0, 2**50),
    length=st.integers(0, 2**50),
)
def test_a_reference_survives_its_column(key: str, offset: int, length: int) -> None:
    ref = ObjectRef(key, offset, length, SHA)
    assert ObjectRef.parse(str(ref)) == ref


@pytest.mark.parametrize("text", ["", "key", "key#1+2", f"key#-1+2@{SHA}", f"#1+2@{SHA}"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an object reference"):
        ObjectRef.parse(text)


def answer(status: int, code: str) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "words"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "PutObject")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (answer(500, "InternalError"), ErrorKind.UNAVAILABLE),
        (answer(502, "502"), ErrorKind.UNAVAILABLE),
        (answer(503, "SlowDown"), ErrorKind.UNAVAILABLE),
        (answer(429, "429"), ErrorKind.UNAVAILABLE),
        (answer(400, "RequestTimeout"), ErrorKind.UNAVAILABLE),
        (answer(400, "BadDigest"), ErrorKind.UNAVAILABLE),
        (answer(409, "ConditionalRequestConflict"), ErrorKind.UNAVAILABLE),
        (answer(404, "NoSuchKey"), ErrorKind.MISSING),
        (answer(404, "404"), ErrorKind.MISSING),
        (answer(404, "NoSuchBucket"), ErrorKind.REFUSED),
        (answer(403, "AccessDenied"), ErrorKind.REFUSED),
        (answer(400, "InvalidBucketName"), ErrorKind.REFUSED),
        (answer(416, "InvalidRange"), ErrorKind.CORRUPT),
        (answer(507, "507"), ErrorKind.FULL),
        (answer(400, "QuotaExceeded"), ErrorKind.FULL),
        (ReadTimeoutError(endpoint_url="x"), ErrorKind.UNAVAILABLE),
        (EndpointConnectionError(endpoint_url="x"), ErrorKind.UNAVAILABLE),
        (ConnectionClosedError(endpoint_url="x"), ErrorKind.UNAVAILABLE),
        (ResponseStreamingError(error="x"), ErrorKind.UNAVAILABLE),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), ErrorKind.UNAVAILABLE),
        (ResponseParserError("not XML"), ErrorKind.UNAVAILABLE),
        (NoCredentialsError(), ErrorKind.REFUSED),
        (StorageCorrupt(), ErrorKind.CORRUPT),
        (OSError(errno.ENOSPC, "full"), ErrorKind.FULL),
        (OSError(errno.ENOENT, "gone"), ErrorKind.PERMANENT),
        (ValueError(), ErrorKind.PERMANENT),
    ],
)
def test_kind_of_an_error(error: Exception, expected: ErrorKind) -> None:
    assert classify(error) is expected


def test_an_error_without_words_says_what_to_do() -> None:
    assert "try again later" in str(StorageUnavailable())
    assert str(StorageError("these words")) == "these words"


class Server:
    """Stands where the S3 client is; answers with `answers`, one a call, raising errors."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[dict[str, Any]] = []

    def __getattr__(self, _operation: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls.append(arguments)
            found = self.answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        return call


def store_before(server: Server, folder: Path, **settings: Any) -> ObjectStore:
    store = ObjectStore(Settings(data_dir=folder, s3_attempts=3, **settings))
    store._policy = type(store._policy)(attempts=3, base_s=0.0)
    store._made = (os.getpid(), server)
    return store


def page(keys: list[str], token: str | None = None) -> dict[str, Any]:
    more = {"IsTruncated": True, "NextContinuationToken": token} if token else {}
    return {"Contents": [{"Key": key} for key in keys], **more}


def test_keys_go_on_after_the_first_page(tmp_path: Path) -> None:
    server = Server(page(["a", "b"], "next"), answer(500, "InternalError"), page(["c"]), {})
    store = store_before(server, tmp_path)
    assert list(store.keys("p")) == ["a", "b", "c"]
    assert server.calls[2]["ContinuationToken"] == "next"
    assert list(store.keys("empty")) == []


def body(blob: bytes) -> dict[str, Any]:
    return {"Body": BytesIO(blob)}


def test_bytes_that_came_wrong_are_asked_for_again(tmp_path: Path) -> None:
    blob = b"right"
    store = store_before(Server(), tmp_path)
    server = Server({}, body(b"wrong"), body(b"rig"), body(blob))
    store._made = (os.getpid(), server)
    ref = store.put_pack("p", [blob])[0]
    assert store.get(ref) == blob
    assert server.calls[-1]["Range"] == "bytes=0-4"


def test_one_corrupt_slice_does_not_condemn_its_neighbours(tmp_path: Path) -> None:
    server = Server({}, *(body(b"aaXbcc") for _ in range(3)))
    store = store_before(server, tmp_path)
    refs = store.put_pack("p", [b"aa", b"bb", b"cc"])
    first, second, third = store.get_many(refs)
    assert (first, third) == (b"aa", b"cc")
    assert isinstance(second, StorageCorrupt)
    assert len(server.calls) == 4


def test_a_server_error_on_a_full_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.storage.room", lambda _settings: False)
    server = Server(*[answer(500, "InternalError")] * 3)
    with pytest.raises(StorageFull):
        store_before(server, tmp_path).put_pack("p", [b"x"])
    assert len(server.calls) == 2


def test_an_error_of_the_program_leaves_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        store_before(Server(ZeroDivisionError()), tmp_path).delete("k")


def test_only_other_regions_are_named() -> None:
    assert bucket_location("us-east-1") == {}
    assert bucket_location("eu-central-1") == {
        "CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}
    }


def test_room_is_measured_where_the_data_will_be(tmp_path: Path) -> None:
    later = tmp_path / "not" / "yet"
    assert free_bytes(later) > 0
    assert room(Settings(data_dir=later, disk_watermark_bytes=0))
    assert not room(Settings(data_dir=later, disk_watermark_bytes=2**60))
