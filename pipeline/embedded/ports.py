"""Free ports on the loopback interface, the same ones at every start where possible."""

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

RANGE = range(20_000, 30_000)
"""Below the range from which Linux takes ports for outgoing connections (from 32,768 on)."""

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class PortBook:
    """Remembers which server had which port, so that addresses survive a restart."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier run wrote; a damaged file counts as none."""
        self._path = path
        try:
            self._known: dict[str, int] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self._known = {}
        self._taken: set[int] = set()

    def port(self, name: str) -> int:
        """A free port for `name`: the one it had before, or a new one."""
        choices = _choices(self._known.get(name))
        port = next(p for p in choices if p not in self._taken and is_free(p))
        self._taken.add(port)
        self._known[name] = port
        return port

    def ports(self, server: str, *names: str) -> dict[str, int]:
        """A port for each listener of a server."""
        return {name: self.port(f"{server}.{name}") for name in names}

    def save(self) -> None:
        """Write the ports down for the next run."""
        self._path.write_text(json.dumps(self._known, indent=1))


def _choices(before: int | None) -> Iterator[int]:
    if before is not None:
        yield before
    while True:
        yield random.choice(RANGE)
