"""The short way to an object, against a server of a few lines."""

import socket
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import HTTPClientError

from pipeline.s3_plain import PlainS3, plain_s3
from pipeline.settings import Settings

BODY = bytes(range(256))


class Answering(BaseHTTPRequestHandler):
    """Answers with `status`; remembers what was asked."""

    status: ClassVar[int] = 206
    announced: ClassVar[int | None] = None
    sized: ClassVar[bool] = True
    asked: ClassVar[list[tuple[str, dict[str, str]]]] = []

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.path, headers))
        first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
        body = BODY[first : last + 1]
        self.send_response(self.status)
        if self.sized:
            self.send_header("Content-Length", str(self.announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers["body"] = self.rfile.read(int(headers["content-length"])).hex()
        self.asked.append((self.path, headers))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def answering() -> Iterator[tuple[type[Answering], PlainS3]]:
    handler = type("Handler", (Answering,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        settings = Settings(s3_endpoint=endpoint, s3_bucket="bucket", s3_timeout_s=30.0)
        plain = plain_s3(settings, Credentials("key", "secret"))
        assert plain is not None
        yield handler, plain
        server.shutdown()


def test_a_range_is_asked_for_by_its_last_byte_and_signed(
    answering: tuple[type[Answering], PlainS3],
) -> None:
    handler, plain = answering
    assert plain.read("prepared/ab/c d", 3, 10) == BODY[3:10]
    ((path, headers),) = handler.asked
    assert path == "/bucket/prepared/ab/c%20d"
    assert headers["range"] == "bytes=3-9"
    assert "Credential=key/" in headers["authorization"]
    assert "secret" not in str(headers)


@pytest.mark.parametrize("status", [200, 403, 404, 416, 500, 503])
def test_any_other_answer_is_left_to_boto3(
    answering: tuple[type[Answering], PlainS3], status: int
) -> None:
    handler, plain = answering
    handler.status = status
    assert plain.read("key", 0, 4) is None


def test_an_answer_that_breaks_off_is_an_error_of_the_client(
    answering: tuple[type[Answering], PlainS3],
) -> None:
    handler, plain = answering
    handler.announced = 100
    with pytest.raises(HTTPClientError):
        plain.read("key", 0, 4)


def test_an_answer_that_may_break_off_unseen_is_left_to_boto3(
    answering: tuple[type[Answering], PlainS3],
) -> None:
    handler, plain = answering
    handler.sized = False
    assert plain.read("key", 0, 4) is None


def test_no_answer_is_an_error_of_the_client() -> None:
    plain = plain_s3(Settings(s3_endpoint="http://127.0.0.1:1"), Credentials("key", "secret"))
    assert plain is not None
    with pytest.raises(HTTPClientError):
        plain.read("key", 0, 4)


@pytest.mark.parametrize("endpoint", [None, "https://storage.example"])
def test_with_tls_or_at_amazon_there_is_no_short_way(endpoint: str | None) -> None:
    assert plain_s3(Settings(s3_endpoint=endpoint), Credentials("key", "secret")) is None


def test_through_a_proxy_there_is_no_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:2")
    settings = Settings(s3_endpoint="http://storage.example")
    assert plain_s3(settings, Credentials("key", "secret")) is None
    monkeypatch.setenv("no_proxy", "storage.example")
    assert plain_s3(settings, Credentials("key", "secret")) is not None


def test_a_server_that_falls_silent_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = Settings(s3_endpoint=endpoint, s3_timeout_s=0.1)
        plain = plain_s3(settings, Credentials("key", "secret"))
        assert plain is not None
        with pytest.raises(HTTPClientError):
            plain.read("key", 0, 4)


def test_without_credentials_boto3_says_so() -> None:
    assert plain_s3(Settings(s3_endpoint="http://127.0.0.1:1"), None) is None


@pytest.mark.parametrize("status", [200, 412])
def test_an_object_is_brought_once_and_signed(
    answering: tuple[type[Answering], PlainS3], status: int
) -> None:
    handler, plain = answering
    handler.status = status
    assert plain.put("heatmaps/ab/c d", BODY, "image/png")
    ((path, headers),) = handler.asked
    assert path == "/bucket/heatmaps/ab/c%20d"
    assert bytes.fromhex(headers["body"]) == BODY
    assert (headers["if-none-match"], headers["content-type"]) == ("*", "image/png")
    assert headers["x-amz-content-sha256"] == sha256(BODY).hexdigest()
    assert "secret" not in str(headers)


@pytest.mark.parametrize("status", [201, 403, 404, 500, 503, 507])
def test_an_object_that_was_not_taken_is_left_to_boto3(
    answering: tuple[type[Answering], PlainS3], status: int
) -> None:
    handler, plain = answering
    handler.status = status
    assert not plain.put("key", BODY, "image/png")
