"""A range of an object, or a whole new one, by one signed request without boto3's layers.

boto3 looks up rules for endpoints, runs its hooks and reads forty headers into a model; for the
few hundred kilobytes of a chunk that takes longer than signing, sending and receiving together.
Whatever is no plain success is left to boto3, which says in its own words what went wrong.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from pipeline.settings import Settings

PLAIN = "http://"
"""With TLS its own cost is greater, and certificates are boto3's affair."""
STORED = frozenset({HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED})
"""Equal keys mean equal bytes: what is there already is what was brought."""


class PlainS3:
    """Speaks to the server that the settings name. Made after fork; threads may share it."""

    def __init__(self, settings: Settings, endpoint: str, credentials: Credentials) -> None:
        """Nothing is contacted yet."""
        self._bucket_url = f"{endpoint.rstrip('/')}/{quote(settings.s3_bucket)}"
        self._signer = S3SigV4Auth(credentials, "s3", settings.s3_region)
        self._http: Any = URLLib3Session(
            timeout=(settings.s3_timeout_s, settings.s3_timeout_s),
            max_pool_connections=32,
            proxies=get_environ_proxies(endpoint),
        )

    def read(self, key: str, start: int, end: int) -> bytes | None:
        """The bytes from `start` to before `end`; fewer when the object ends earlier.

        None where the server gave another answer than these bytes, or broke off in them. Raises
        botocore's ConnectionError or HTTPClientError where it gave no answer.
        """
        answer = self._ask("GET", key, {"Range": f"bytes={start}-{end - 1}"})
        body = bytes(answer.content)
        whole = str(len(body)) == answer.headers.get("Content-Length")
        return body if answer.status_code == HTTPStatus.PARTIAL_CONTENT and whole else None

    def put(self, key: str, body: bytes, content_type: str) -> bool:
        """Store the object unless there is one of that name; whether it is there now.

        False where the server answered anything else. Raises as `read` does.
        """
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        return self._ask("PUT", key, headers, body).status_code in STORED

    def _ask(self, method: str, key: str, headers: dict[str, str], body: bytes = b"") -> Any:
        request: Any = AWSRequest(
            method=method,
            url=f"{self._bucket_url}/{quote(key)}",
            headers=headers | {"User-Agent": "xraytriage"},
            data=body,
        )
        self._signer.add_auth(request)
        return self._http.send(request.prepare())


def plain_s3(settings: Settings, credentials: Credentials | None) -> PlainS3 | None:
    """One, where the settings name a server that is spoken to without TLS."""
    endpoint = settings.s3_endpoint or ""
    if credentials is None or not endpoint.startswith(PLAIN):
        return None
    return PlainS3(settings, endpoint, credentials)
