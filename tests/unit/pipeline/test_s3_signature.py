"""Our signature is that of botocore, byte for byte."""

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from pipeline.s3_signature import EMPTY_SHA256, Signer

WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
KEYS = st.text(min_size=1, max_size=30)
HEADERS = st.fixed_dictionaries(
    {}, optional={"Range": st.just("bytes=3-9"), "Content-Type": WORDS, "If-None-Match": WORDS}
)


@given(
    method=st.sampled_from(["GET", "PUT"]),
    host=st.sampled_from(["127.0.0.1:8333", "[::1]:8333", "storage.example"]),
    key=KEYS,
    headers=HEADERS,
    body=st.binary(max_size=20),
    token=st.none() | WORDS,
    secret=WORDS,
)
def test_it_is_the_signature_of_botocore(
    method: str,
    host: str,
    key: str,
    headers: dict[str, str],
    body: bytes,
    token: str | None,
    secret: str,
) -> None:
    credentials = Credentials("access", secret, token)
    path = f"/bucket/{quote(key, errors='replace')}"
    theirs: Any = AWSRequest(method, f"http://{host}{path}", dict(headers), body)
    S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(theirs)
    at = datetime.strptime(theirs.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    signer = Signer(credentials, "eu-west-1", host)
    ours = signer.headers(method, path, headers, sha256(body).hexdigest(), at)
    for name in ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256", "X-Amz-Security-Token"):
        assert ours.get(name.lower()) == theirs.headers.get(name)


def test_headers_that_are_given_go_along_and_no_secret_does() -> None:
    signer = Signer(Credentials("access", "secret"), "us-east-1", "storage.example")
    headers = signer.headers("GET", "/b/k", {"Range": "bytes=0-1"}, EMPTY_SHA256, datetime.now(UTC))
    assert headers["range"] == "bytes=0-1"
    assert headers["host"] == "storage.example"
    assert "secret" not in str(headers)
