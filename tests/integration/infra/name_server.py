"""Answers for the names of services, as the DNS server in every Docker network does."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

PORT = 53
HEADER = 12
"""Bytes; https://www.rfc-editor.org/rfc/rfc1035#section-4.1 has all of them."""
ADDRESS = 1
NO_SUCH_NAME = 3


class NameServer:
    """One thread on one UDP socket."""

    def __init__(self, host: str, find: Callable[[str], str | None]) -> None:
        """Answer on `host`; `find` tells the IPv4 address of a name, or None."""
        self._find = find
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, PORT))
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread up
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(512)
            if not sender or not query:
                return
            self._socket.sendto(self._answer(query), sender)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], HEADER
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = query[HEADER : at + 5]
        address = self._find(".".join(labels))
        records = b""
        if address is not None and int.from_bytes(query[at + 1 : at + 3]) == ADDRESS:
            # A pointer to the name asked for, type A, class IN, one second, four bytes.
            records = b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04" + socket.inet_aton(address)
        flags = 0x8580 | (NO_SUCH_NAME if address is None else 0)
        counts = b"\0\x01" + int(bool(records)).to_bytes(2) + b"\0\0\0\0"
        return query[:2] + flags.to_bytes(2) + counts + question + records
