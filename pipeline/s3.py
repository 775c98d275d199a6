"""The S3 client: how it is made, and what its errors mean."""

import errno
from http import HTTPStatus
from typing import Any

import boto3.session
import botocore.session
from botocore import exceptions as s3_errors
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError

from pipeline.objects import StorageCorrupt
from pipeline.retry import ErrorKind
from pipeline.settings import Settings

# The request or its answer was lost or mangled on the way.
_NO_ANSWER = (
    s3_errors.HTTPClientError,
    s3_errors.ConnectionError,
    s3_errors.IncompleteReadError,
    ResponseParserError,
)
_TRANSIENT_CODES = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
}
_FULL_CODES = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"}

_EXPECT_BYTES = 1 << 20
"""From this size on the server is asked before the body is sent; below, asking costs more."""


def make_client(settings: Settings) -> tuple[Any, Any]:
    """A client without retries of its own and without work that is done better elsewhere.

    With it come the credentials that it signs with, None where none were found.

    The body is neither hashed nor signed here: keys are checksums, and reads are verified.
    """
    core = botocore.session.get_session()
    # Nobody here wants to know when an object was written; to read that takes a tenth of a read.
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    session = boto3.session.Session(botocore_session=core)  # the default one is not thread safe
    client = session.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name=settings.s3_region,
        config=Config(
            connect_timeout=settings.s3_timeout_s,
            read_timeout=settings.s3_timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=32,
            parameter_validation=False,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent="xraytriage",
            s3={
                "payload_signing_enabled": False,
                # A bucket as host name needs DNS, which only AWS itself has.
                "addressing_style": "path" if settings.s3_endpoint else "auto",
            },
        ),
    )
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("before-call.s3.PutObject", _expect_when_large)
    return client, _credentials(settings, session)


def _credentials(settings: Settings, session: boto3.session.Session) -> Any:
    if settings.s3_access_key and settings.s3_secret_key:
        return Credentials(settings.s3_access_key, settings.s3_secret_key)
    return session.get_credentials()


def _expect_when_large(params: dict[str, Any], **_: object) -> None:
    if int(params["headers"].get("Content-Length", 0)) >= _EXPECT_BYTES:
        params["headers"]["Expect"] = "100-continue"


def bucket_location(region: str) -> dict[str, Any]:
    """Arguments that place a new bucket: S3 wants every region named but its first."""
    if region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


def classify(error: Exception) -> ErrorKind:
    """The kind of an error of the S3 client, or of a check of what it returned."""
    if isinstance(error, s3_errors.ClientError):
        return _classify_answer(error)
    if isinstance(error, StorageCorrupt):
        return ErrorKind.CORRUPT
    if isinstance(error, _NO_ANSWER):
        return ErrorKind.UNAVAILABLE
    if isinstance(error, s3_errors.BotoCoreError):  # no credentials, impossible endpoint …
        return ErrorKind.REFUSED
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ErrorKind.FULL
    return ErrorKind.PERMANENT


def _classify_answer(error: Any) -> ErrorKind:
    status, code = http_status(error), error.response.get("Error", {}).get("Code", "")
    if code in _FULL_CODES or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return ErrorKind.FULL
    if code in _TRANSIENT_CODES or status == HTTPStatus.TOO_MANY_REQUESTS:
        return ErrorKind.UNAVAILABLE
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ErrorKind.UNAVAILABLE
    if status == HTTPStatus.NOT_FOUND and code != "NoSuchBucket":
        return ErrorKind.MISSING
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # shorter than its row says
        return ErrorKind.CORRUPT
    return ErrorKind.REFUSED


def http_status(error: Any) -> int:
    """The HTTP status of a ClientError."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
