"""One range of one object by a signed GET, without what boto3 does around it.

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


class RangeReader:
    """Reads from a server that is named by the settings. Made after fork; threads may share it."""

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
        request: Any = AWSRequest(
            method="GET",
            url=f"{self._bucket_url}/{quote(key)}",
            headers={"Range": f"bytes={start}-{end - 1}", "User-Agent": "xraytriage"},
        )
        self._signer.add_auth(request)
        answer = self._http.send(request.prepare())
        body = bytes(answer.content)
        whole = str(len(body)) == answer.headers.get("Content-Length")
        return body if answer.status_code == HTTPStatus.PARTIAL_CONTENT and whole else None


def range_reader(settings: Settings, credentials: Credentials | None) -> RangeReader | None:
    """A reader, where the settings name a server that is spoken to without TLS."""
    endpoint = settings.s3_endpoint or ""
    if credentials is None or not endpoint.startswith(PLAIN):
        return None
    return RangeReader(settings, endpoint, credentials)
