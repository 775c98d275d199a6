"""A range of an object, or a whole new one, by one signed request without boto3's layers.

boto3 looks up rules for endpoints, runs its hooks and reads forty headers into a model; for the
few hundred kilobytes of a chunk that takes longer than signing, sending and receiving together.
Whatever is no plain success is left to boto3, which says in its own words what went wrong.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import HTTPClientError
from botocore.utils import get_environ_proxies
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.exceptions import HTTPError

from pipeline.settings import Settings

PLAIN = "http://"
"""With TLS its own cost is greater, and certificates are boto3's affair; so are proxies."""
STORED = frozenset({HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED})
"""Equal keys mean equal bytes: what is there already is what was brought."""


class PlainS3:
    """Speaks to the server that the settings name. Made after fork; threads may share it."""

    def __init__(self, settings: Settings, endpoint: str, credentials: Credentials) -> None:
        """Nothing is contacted yet."""
        server = urlsplit(endpoint)
        self._server = f"{server.scheme}://{server.netloc}"
        self._bucket = f"{server.path.rstrip('/')}/{quote(settings.s3_bucket)}"
        self._signer = S3SigV4Auth(credentials, "s3", settings.s3_region)
        self._http = HTTPConnectionPool(
            server.hostname or "",
            server.port,
            timeout=Timeout(connect=settings.s3_timeout_s, read=settings.s3_timeout_s),
            maxsize=32,
            retries=False,  # whoever calls tries again, with pauses
        )

    def read(self, key: str, start: int, end: int) -> bytes | None:
        """The bytes from `start` to before `end`; fewer when the object ends earlier.

        None where the server gave another answer than these bytes. Raises botocore's
        HTTPClientError where it gave none, or broke off in it.
        """
        answer = self._ask("GET", key, {"Range": f"bytes={start}-{end - 1}"})
        # Without a length nobody could tell that the answer broke off.
        whole = "Content-Length" in answer.headers
        return answer.data if answer.status == HTTPStatus.PARTIAL_CONTENT and whole else None

    def put(self, key: str, body: bytes, content_type: str) -> bool:
        """Store the object unless there is one of that name; whether it is there now.

        False where the server answered anything else. Raises as `read` does.
        """
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        return self._ask("PUT", key, headers, body).status in STORED

    def _ask(
        self, method: str, key: str, headers: dict[str, str], body: bytes = b""
    ) -> BaseHTTPResponse:
        path = f"{self._bucket}/{quote(key)}"
        request: Any = AWSRequest(method, f"{self._server}{path}", headers, body)
        self._signer.add_auth(request)
        signed = dict(request.headers.items()) | {"User-Agent": "xraytriage"}
        try:
            return self._http.urlopen(method, path, body or None, signed, decode_content=False)
        except HTTPError as error:
            raise HTTPClientError(error=error) from error


def plain_s3(settings: Settings, credentials: Credentials | None) -> PlainS3 | None:
    """One, where the settings name a server that is spoken to without TLS and without a proxy."""
    endpoint = settings.s3_endpoint or ""
    if credentials is None or not endpoint.startswith(PLAIN) or get_environ_proxies(endpoint):
        return None
    return PlainS3(settings, endpoint, credentials)
