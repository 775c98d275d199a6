"""An HTTP proxy in front of the storage that answers some requests as a sick server would."""

import http.client
import random
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ERROR = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>stand-in</Message></Error>'
ANSWERS = {
    "error 500": (500, "InternalError"),
    "error 503": (503, "SlowDown"),
    "error 429": (429, "TooManyRequests"),
    "missing": (404, "NoSuchKey"),
    "full": (507, "InsufficientStorage"),
}
SICK = ("error 500", "error 503", "error 429", "missing", "reset", "lost answer", "truncated")
DROPPED = frozenset({"connection", "transfer-encoding", "content-length"})


class FaultyProxy:
    """Passes requests on; `rate` of them meet one of `faults`."""

    def __init__(self, upstream: str, seed: int) -> None:
        """Listen on a free port, healthy at first."""
        self.upstream = urlsplit(upstream).netloc
        self.rate = 0.0
        self.faults: tuple[str, ...] = SICK
        self.met: dict[str, int] = {}
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Endpoint for S3 clients."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def choose(self, method: str) -> str | None:
        """The fault that this request meets, if any."""
        with self._lock:
            if self._chance.random() >= self.rate:
                return None
            fault = self._chance.choice(self.faults)
            wrong = {"missing": "PUT", "full": "GET"}.get(fault) == method
            if wrong:
                return None
            self.met[fault] = self.met.get(fault, 0) + 1
            return fault

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultyProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.proxy.choose(self.command)
        if fault == "reset":
            self._reset()
        elif fault in ANSWERS:
            status, code = ANSWERS[fault]
            self._answer(status, {}, ERROR.format(code=code).encode())
        else:
            self._pass_on(body, fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve  # noqa: N815 - names of the base

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        try:
            # The headers are signed as the client sent them, Host included.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            data = answer.read()
        except OSError:
            self._reset()
            return
        finally:
            upstream.close()
        if fault == "lost answer" or (fault == "truncated" and not data):
            self._reset()
            return
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in DROPPED}
        size = len(data) if self.command != "HEAD" else int(answer.getheader("Content-Length", 0))
        self._answer(answer.status, kept, data, size, cut=fault == "truncated")

    def _answer(
        self,
        status: int,
        headers: dict[str, Any],
        data: bytes,
        size: int | None = None,
        *,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if size is None else size))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def _reset(self) -> None:
        # Closing with a lingering time of 0 sends RST.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def handle(self) -> None:
        """Clients that hang up are part of the game."""
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
