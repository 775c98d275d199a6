"""AWS Signature Version 4 in headers, for a request to S3 that has no query.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html. botocore's signer
takes the URL apart and builds all anew for each request, and hashes a body whose checksum is
known: ten times the work. The tests hold this one to botocore's, byte for byte.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256

from botocore.credentials import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"
EMPTY_SHA256 = sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests to one server."""

    credentials: Credentials
    """Asked each time: those of a role are renewed."""
    region: str
    host: str
    """As in the header Host: with its port, unless that is the usual one."""

    def headers(
        self, method: str, path: str, headers: Mapping[str, str], body_sha256: str, at: datetime
    ) -> dict[str, str]:
        """`headers` and those that sign them; `path` is quoted, and `at` in UTC."""
        keys = self.credentials.get_frozen_credentials()
        stamp = at.strftime("%Y%m%dT%H%M%SZ")
        day = stamp[:8]
        signed = {name.lower(): value for name, value in headers.items()} | {
            "host": self.host,
            "x-amz-content-sha256": body_sha256,
            "x-amz-date": stamp,
        }
        if keys.token:
            signed["x-amz-security-token"] = keys.token
        names = sorted(signed)
        lines = (f"{name}:{signed[name]}" for name in names)
        request = "\n".join((method, path, "", *lines, "", ";".join(names), body_sha256))
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = "\n".join((ALGORITHM, stamp, scope, sha256(request.encode()).hexdigest()))
        signature = _mac(_key(keys.secret_key, day, self.region), text).hex()
        who = f"Credential={keys.access_key}/{scope}"
        what = f"SignedHeaders={';'.join(names)}"
        return signed | {"authorization": f"{ALGORITHM} {who}, {what}, Signature={signature}"}


@lru_cache(maxsize=2)  # the day changes while requests of the old one are on their way
def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
