"""Objects in S3-compatible storage, under content-addressed keys, checked when they are read.

Every error of the S3 client leaves this module as a `StorageError` that says whether waiting
helps. An `ObjectStore` may be made before a fork and shared by threads: its client is made at
the first call of each process.
"""

import hashlib
import inspect
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO, TypeVar

from botocore.exceptions import ClientError

from pipeline.disk import free_bytes, room
from pipeline.objects import (
    ObjectMissing,
    ObjectRef,
    StorageCorrupt,
    StorageError,
    StorageFull,
    StorageRefused,
    StorageUnavailable,
    object_key,
)
from pipeline.retry import ErrorKind, Policy, call
from pipeline.s3 import bucket_location, classify, http_status, make_client
from pipeline.s3_plain import PlainS3, plain_s3
from pipeline.settings import Settings

__all__ = [
    "ObjectMissing",
    "ObjectRef",
    "ObjectStore",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "StorageRefused",
    "StorageUnavailable",
    "free_bytes",
    "object_key",
    "room",
]

T = TypeVar("T")


_ERRORS: dict[ErrorKind, type[StorageError]] = {
    ErrorKind.UNAVAILABLE: StorageUnavailable,
    ErrorKind.MISSING: ObjectMissing,
    ErrorKind.CORRUPT: StorageCorrupt,
    ErrorKind.REFUSED: StorageRefused,
    ErrorKind.FULL: StorageFull,
}


class ObjectStore:
    """The bucket of this installation."""

    def __init__(self, settings: Settings) -> None:
        """Remember where the bucket is; nothing is contacted yet."""
        self._settings = settings
        self._policy = Policy(attempts=settings.s3_attempts, total_s=settings.s3_patience_s)
        self._bucket = settings.s3_bucket
        self._made: tuple[int, Any] = (0, None)  # process id and its client
        self._plain: PlainS3 | None = None

    def ensure_bucket(self) -> None:
        """Make the bucket when it is missing. Raises StorageError."""

        def attempt() -> None:
            try:
                self._s3.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if http_status(error) != HTTPStatus.NOT_FOUND:
                    raise
                self._create_bucket()

        self._call(attempt, f"bucket {self._bucket}")

    def _create_bucket(self) -> None:
        location = bucket_location(self._settings.s3_region)
        # Another process of ours may be faster.
        with suppress(self._s3.exceptions.BucketAlreadyOwnedByYou):
            self._s3.create_bucket(Bucket=self._bucket, **location)

    def put_file(
        self, prefix: str, file: BinaryIO, sha256: str, size: int, content_type: str
    ) -> ObjectRef:
        """Store all `size` bytes of a seekable file; they are not sent when they are there.

        Raises StorageError.
        """
        key = object_key(prefix, sha256)
        self._put(key, file, size, content_type)
        return ObjectRef(key, 0, size, sha256)

    def put_pack(self, prefix: str, blobs: Sequence[bytes]) -> list[ObjectRef]:
        """Store all blobs as one object, in one request; one reference per blob.

        Raises StorageError.
        """
        whole = b"".join(blobs)
        key = object_key(prefix, hashlib.sha256(whole).hexdigest())
        self._put(key, BytesIO(whole), len(whole), "application/octet-stream", whole)
        offsets = accumulate(map(len, blobs), initial=0)
        return [
            ObjectRef(key, offset, len(blob), hashlib.sha256(blob).hexdigest())
            for offset, blob in zip(offsets, blobs, strict=False)  # the last offset is the end
        ]

    def get(self, ref: ObjectRef) -> bytes:
        """The blob, its checksum verified. Raises StorageError."""
        found = self._read(ref.key, [ref])[0]
        if isinstance(found, StorageError):
            raise found
        return found

    def get_many(self, refs: Sequence[ObjectRef]) -> list[bytes | StorageError]:
        """The blobs in the order of `refs`, each verified; an error stands in its own place.

        One request per object: a pack is read from the first to the last byte wanted.
        """
        places: dict[str, list[int]] = defaultdict(list)
        for place, ref in enumerate(refs):
            places[ref.key].append(place)
        found: dict[int, bytes | StorageError] = {}
        for key, wanted in places.items():
            found.update(zip(wanted, self._read(key, [refs[i] for i in wanted]), strict=True))
        return [found[place] for place in range(len(refs))]

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is there and long enough; its bytes are not read."""
        try:
            head = self._call(
                lambda: self._s3.head_object(Bucket=self._bucket, Key=ref.key), ref.key
            )
        except ObjectMissing:
            return False
        return bool(head["ContentLength"] >= ref.offset + ref.length)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that begin with `prefix`, in the storage's order. Raises StorageError."""
        page: dict[str, Any] = {}
        while True:
            page = self._call(partial(self._list, prefix, page), f"listing of {prefix!r}")
            yield from (entry["Key"] for entry in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error. Raises StorageError."""
        self._call(lambda: self._s3.delete_object(Bucket=self._bucket, Key=key), key)

    @property
    def _s3(self) -> Any:
        """The client of this process. Two threads may both make one: a waste, not an error."""
        made_by, client = self._made
        if made_by != os.getpid():
            client, credentials = make_client(self._settings)
            self._plain = plain_s3(self._settings, credentials)
            self._made = (os.getpid(), client)
        return client

    def _put(
        self, key: str, file: BinaryIO, size: int, content_type: str, body: bytes | None = None
    ) -> None:
        """Store a file; `body` is all of it, where it is in memory anyway."""

        def attempt() -> None:
            client = self._s3
            if body and self._plain is not None and self._plain.put(key, body, content_type):
                return
            file.seek(0)
            try:
                client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=file,
                    ContentLength=size,
                    ContentType=content_type,
                    IfNoneMatch="*",
                )
            except ClientError as error:
                # Equal keys mean equal bytes: what is there already is what we bring.
                if http_status(error) != HTTPStatus.PRECONDITION_FAILED:
                    raise

        self._call(attempt, key, self._classify_put)

    def _classify_put(self, error: Exception) -> ErrorKind:
        """SeaweedFS answers a full disk with a bare 500; the disk tells them apart."""
        kind = classify(error)
        return (
            ErrorKind.FULL if kind is ErrorKind.UNAVAILABLE and not room(self._settings) else kind
        )

    def _read(self, key: str, refs: Sequence[ObjectRef]) -> Sequence[bytes | StorageError]:
        """The blobs `refs` of one object, in one ranged request."""
        blobs: list[bytes | StorageError] = []

        def attempt() -> None:
            start = min(ref.offset for ref in refs)
            span = self._span(key, start, max(ref.offset + ref.length for ref in refs))
            blobs[:] = [_checked(ref, span, start) for ref in refs]
            if any(isinstance(blob, StorageCorrupt) for blob in blobs):
                raise StorageCorrupt

        try:
            self._call(attempt, key)
        except StorageError as error:
            # A corrupt slice does not condemn its neighbours; anything else struck them all.
            return blobs if isinstance(error, StorageCorrupt) and blobs else [error] * len(refs)
        return blobs

    def _span(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`; fewer when the object ends earlier."""
        if start == end:
            return b""  # S3 knows no empty range
        client = self._s3
        if self._plain is not None and (found := self._plain.read(key, start, end)) is not None:
            return found
        body = client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}")[
            "Body"
        ]
        with body:
            return bytes(body.read())

    def _list(self, prefix: str, page: dict[str, Any]) -> dict[str, Any]:
        token = page.get("NextContinuationToken")
        more = {"ContinuationToken": token} if token else {}
        found: dict[str, Any] = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **more)
        return found

    def _call(
        self,
        work: Callable[[], T],
        what: str,
        kind_of: Callable[[Exception], ErrorKind] | None = None,
    ) -> T:
        """Run `work` under the retry policy; its last error leaves as a StorageError."""
        kind_of = kind_of or classify
        try:
            return call(work, kind_of, self._policy, server="storage")
        except Exception as error:
            fault = _ERRORS.get(kind_of(error))
            if fault is None:
                raise
            raise fault(f"{what}: {inspect.getdoc(fault)} ({error})") from error


def _checked(ref: ObjectRef, span: bytes, start: int) -> bytes | StorageCorrupt:
    """The blob cut out of `span`, the bytes of its object from `start` on."""
    blob = span[ref.offset - start : ref.offset - start + ref.length]
    if len(blob) == ref.length and hashlib.sha256(blob).hexdigest() == ref.sha256:
        return blob
    return StorageCorrupt(f"{ref}: {inspect.getdoc(StorageCorrupt)} ({len(blob)} bytes came)")
