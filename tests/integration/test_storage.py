"""The object store against a real S3 server: what it keeps, what it refuses, what it rides out."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from pipeline import s3, storage
from pipeline.retry import ErrorKind
from pipeline.settings import Settings
from pipeline.storage import (
    ObjectMissing,
    ObjectRef,
    ObjectStore,
    StorageCorrupt,
    StorageRefused,
    StorageUnavailable,
)
from tests.integration.conftest import RealServer


def sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


@pytest.fixture
def store(s3_settings: Settings) -> ObjectStore:
    made = ObjectStore(s3_settings)
    made.ensure_bucket()
    return made


def put(store: ObjectStore, blob: bytes) -> ObjectRef:
    return store.put_file("original", BytesIO(blob), sha256(blob), len(blob), "image/png")


def test_a_bucket_that_is_there_is_no_error(store: ObjectStore) -> None:
    store.ensure_bucket()


@pytest.mark.parametrize("size", [1, 50_000, 5_000_000])
def test_a_file_comes_back_as_it_was(store: ObjectStore, size: int) -> None:
    blob = os.urandom(size)
    ref = put(store, blob)
    assert ref == ObjectRef(f"original/{sha256(blob)[:2]}/{sha256(blob)}", 0, size, sha256(blob))
    assert store.exists(ref)
    assert store.get(ref) == blob


@pytest.mark.parametrize("size", [50_000, 3_000_000])  # without and with asking the server first
def test_the_same_bytes_are_stored_once(store: ObjectStore, size: int) -> None:
    blob = os.urandom(size)
    assert put(store, blob) == put(store, blob)
    assert len(list(store.keys("original/"))) == 1


def test_a_file_is_sent_from_its_beginning_wherever_it_stands(store: ObjectStore) -> None:
    blob = os.urandom(1000)
    file = BytesIO(blob)
    file.seek(500)
    ref = store.put_file("original", file, sha256(blob), len(blob), "image/png")
    assert store.get(ref) == blob


def test_a_pack_is_one_object_and_every_blob_can_be_read_alone(store: ObjectStore) -> None:
    blobs = [os.urandom(length) for length in (10, 5000, 1, 70_000)]
    refs = store.put_pack("prepared", blobs)
    assert len(list(store.keys("prepared/"))) == 1
    assert [store.get(ref) for ref in refs] == blobs
    assert store.get_many(refs[1:3]) == blobs[1:3]


def test_an_empty_blob_in_a_pack(store: ObjectStore) -> None:
    refs = store.put_pack("prepared", [b"left", b"", b"right"])
    assert store.get_many(refs) == [b"left", b"", b"right"]
    assert store.get(refs[1]) == b""


def test_many_blobs_come_in_the_order_asked_for_each_error_in_its_place(
    store: ObjectStore,
) -> None:
    first, second = store.put_pack("p", [b"first", b"second"])
    alone = put(store, b"alone")
    wrong = ObjectRef(first.key, first.offset, first.length, sha256(b"else"))
    missing = ObjectRef("p/00/nothing", 0, 5, sha256(b""))
    found = store.get_many([second, missing, alone, wrong, first])
    assert found[0] == b"second"
    assert isinstance(found[1], ObjectMissing)
    assert found[2] == b"alone"
    assert isinstance(found[3], StorageCorrupt)
    assert found[4] == b"first"


def test_a_blob_beyond_the_end_of_its_object_is_corrupt(store: ObjectStore) -> None:
    ref = put(store, b"short")
    with pytest.raises(StorageCorrupt):
        store.get(ObjectRef(ref.key, 0, 50, ref.sha256))
    with pytest.raises(StorageCorrupt):
        store.get(ObjectRef(ref.key, 1000, 50, ref.sha256))
    assert not store.exists(ObjectRef(ref.key, 0, 50, ref.sha256))


def test_keys_are_those_below_the_prefix(store: ObjectStore) -> None:
    refs = [put(store, blob) for blob in (b"one", b"two")]
    store.put_pack("prepared", [b"three"])
    assert set(store.keys("original/")) == {ref.key for ref in refs}
    assert len(list(store.keys())) == 3


def test_a_deleted_object_is_missing(store: ObjectStore) -> None:
    ref = put(store, b"soon gone")
    store.delete(ref.key)
    store.delete(ref.key)
    assert not store.exists(ref)
    with pytest.raises(ObjectMissing):
        store.get(ref)


def test_wrong_credentials_are_refused_at_once(s3_settings: Settings) -> None:
    wrong = s3_settings.model_copy(update={"s3_secret_key": "wrong", "s3_attempts": 50})
    with pytest.raises(StorageRefused):
        ObjectStore(wrong).ensure_bucket()


def test_a_missing_bucket_is_refused_not_missing(s3_settings: Settings) -> None:
    with pytest.raises(StorageRefused):
        ObjectStore(s3_settings).get(ObjectRef("a/00/b", 0, 1, sha256(b"")))


def test_a_server_that_is_down_is_unavailable_after_all_tries(
    s3_settings: Settings, tmp_path: Path
) -> None:
    nobody = s3_settings.model_copy(
        update={"s3_endpoint": "http://127.0.0.1:9", "s3_attempts": 3, "data_dir": tmp_path}
    )
    with pytest.raises(StorageUnavailable):
        put(ObjectStore(nobody), b"x")


def test_a_killed_server_is_waited_for_and_has_lost_nothing(
    s3_settings: Settings, weed: RealServer
) -> None:
    # A busy machine may need longer than the usual patience to bring all parts of a server back.
    store = ObjectStore(s3_settings.model_copy(update={"s3_attempts": 60, "s3_patience_s": 60.0}))
    store.ensure_bucket()
    before = put(store, b"before")
    weed.kill()
    revive = threading.Thread(target=weed.start)
    revive.start()
    try:
        after = put(store, b"after")  # begins while nobody listens
    finally:
        revive.join()
    assert store.get_many([before, after]) == [b"before", b"after"]


def test_a_paused_server_is_asked_again(
    store: ObjectStore, weed: RealServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = put(store, b"patience")
    timed_out = threading.Event()

    def classify(error: Exception) -> ErrorKind:
        timed_out.set()
        return s3.classify(error)

    monkeypatch.setattr(storage, "classify", classify)
    weed.pause()
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(store.get, ref)
            assert timed_out.wait(20)
            weed.resume()
            assert answer.result(30) == b"patience"
    finally:
        weed.resume()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # pytest has threads of its own
def test_a_store_made_before_a_fork_works_in_the_child(store: ObjectStore) -> None:
    ref = put(store, b"inherited")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, store.get(ref))
        os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 100) == b"inherited"
    os.close(read)


def test_a_bucket_that_another_process_made_in_between_is_no_error(
    s3_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObjectStore(s3_settings)
    store.ensure_bucket()
    look = store._s3.head_bucket
    # What the server says is what it would have said a moment before: there is none.
    monkeypatch.setattr(store._s3, "head_bucket", lambda **_: look(Bucket="made-by-nobody-yet"))
    store.ensure_bucket()
