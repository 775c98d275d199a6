"""The whole system on one machine: servers, API, workers and Flower as children of one process."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from pipeline import db
from pipeline.dicom.peers import ListenerError, allowed_titles
from pipeline.embedded import procfs, programs, record, servers
from pipeline.embedded.crew import LOOK_S, Crew, StackError
from pipeline.embedded.keeper import OnChange, State
from pipeline.embedded.part import Part
from pipeline.embedded.ports import LOOPBACK, PortBook, is_free
from pipeline.embedded.private import private_folder, secrets_of
from pipeline.settings import Settings
from pipeline.storage import ObjectStore, StorageError

RESOLVED = {
    "data_dir",
    "broker_url",
    "database_url",
    "s3_endpoint",
    "s3_bucket",
    "s3_access_key",
    "s3_secret_key",
    "s3_region",
    "host",
    "port",
    "flower_port",
}
"""Settings that another process needs to reach this stack."""


class AlreadyRunning(StackError):  # noqa: N818 - named for what happened
    """Another stack runs on this data folder."""

    def __init__(self, folder: Path, found: record.Record | None) -> None:
        """Say what is known of the other one."""
        self.addresses = found.addresses if found else {}
        who = f"process {found.owner.pid}" if found and found.running else "another process"
        super().__init__(f"a stack already runs on {folder}, started by {who}")


class Stack:
    """Starts what no setting replaces, keeps it alive, and stops it all. Use it in a `with`.

    All children are started and stopped by one thread of its own: Linux ends a child together
    with the thread that started it, also when this process is killed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        flower: bool = True,
        workers: bool = True,
        api: bool = True,
        on_change: OnChange | None = None,
    ) -> None:
        """Nothing is started yet. `on_change` is called from the stack's own thread."""
        self.settings = absolute(settings)
        self.addresses: dict[str, str] = {}
        self._flower, self._workers, self._api = flower, workers, api
        self._folder = self.settings.data_dir
        self._lock = record.Lock(self._folder)
        self._crew = Crew(self._folder, on_change or _silent, self._note)
        self._servers: list[Part] = []
        self._ready, self._stop, self._hurry = (threading.Event() for _ in range(3))
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="stack", daemon=True)

    def start(self) -> Settings:
        """Start everything; returns the settings with which others reach it.

        Raises AlreadyRunning, StackError, MissingServerError. When `request_stop` cuts the start
        short it returns, too; `wait` tells.
        """
        self._take_folder()
        try:
            self._resolve()
            self._thread.start()
            self._ready.wait()
        except BaseException:
            self.stop()
            raise
        self._check()
        return self.settings

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until the stack ends; returns whether it has.

        Raises StackError when it ended because a part could not be kept alive.
        """
        self._thread.join(timeout_s)
        self._check()
        return not self._thread.is_alive()

    @property
    def stopping(self) -> bool:
        """Whether somebody asked the stack to stop."""
        return self._stop.is_set()

    def request_stop(self) -> None:
        """Begin to stop; called again, do not wait for running work. For signal handlers."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def stop(self) -> None:
        """Drain the workers, stop everything, let the folder go. Returns when no child lives."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _check(self) -> None:
        if self._failure is not None:
            self.stop()
            raise self._failure

    def _take_folder(self) -> None:
        try:
            private_folder(self._folder)
            mine = self._lock.take()
        except OSError as error:
            raise StackError(f"cannot use the data folder {self._folder}: {error}") from error
        if not mine:
            raise AlreadyRunning(self._folder, record.read(self._folder))
        record.remove_leftovers(self._folder)

    def _resolve(self) -> None:
        """Fill in the addresses of what will be started, and write the servers' settings."""
        book = PortBook(self._folder / "ports.json")
        secrets = secrets_of(self._folder)
        found: dict[str, object] = {}
        if self.settings.broker_url is None:
            port = book.port("valkey")
            found["broker_url"] = servers.broker_url(port, secrets.broker_password)
            self._servers.append(
                servers.valkey(self._folder / "valkey", port, secrets.broker_password)
            )
        if self.settings.s3_endpoint is None:
            ports = book.ports("seaweedfs", *servers.SEAWEED_PORTS)
            found["s3_endpoint"] = servers.s3_endpoint(ports)
            found["s3_access_key"] = secrets.s3_access_key
            found["s3_secret_key"] = secrets.s3_secret_key
            # Our own watermark stops new work first; what is under way then still finds room.
            keep_free = self.settings.disk_watermark_bytes // 2
            self._servers.append(servers.seaweed(self._folder / "s3", ports, secrets, keep_free))
        if self._api:
            found["port"] = self._own_port(book, "port", self.settings.host)
            if self.settings.dicom_port is not None:
                self._check_listener()
                host = self.settings.dicom_host
                found["dicom_port"] = self._own_port(book, "dicom_port", host)
        if self._flower:
            found["flower_port"] = self._own_port(book, "flower_port", LOOPBACK)
        book.save()
        self.settings = self.settings.model_copy(update=found)

    def _own_port(self, book: PortBook, name: str, host: str) -> int:
        """The port that the setting names, or a free one. Raises StackError when it is taken."""
        wanted: int = getattr(self.settings, name)
        if wanted == 0:
            return book.port(name)
        if not is_free(wanted, host):
            raise StackError(
                f"port {wanted} is taken; choose another with --{name.replace('_', '-')} or "
                f"XRAYTRIAGE_{name.upper()}, 0 takes a free one"
            )
        return wanted

    def _check_listener(self) -> None:
        try:
            allowed_titles(self.settings)
        except ListenerError as error:
            raise StackError(str(error)) from error

    def _run(self) -> None:
        try:
            self._bring_up()
            self._ready.set()
            while not self._stop.wait(LOOK_S):
                self._crew.look()
        except Exception as error:  # whatever it is, it is for the thread that waits
            self._failure = error
        finally:
            self._crew.dismiss(self._hurry)
            record.forget(self._folder)
            self._ready.set()

    def _bring_up(self) -> None:
        self._crew.bring_up(self._servers, self._stop)
        if self._stop.is_set():
            return
        try:
            ObjectStore(self.settings).ensure_bucket()
            db.upgrade(self.settings)
        except (StorageError, SQLAlchemyError, CommandError) as error:
            raise StackError(f"storage or database cannot be prepared: {error}") from error
        self._crew.bring_up(self._programs(), self._stop)
        self._note(ready=not self._stop.is_set())

    def _programs(self) -> list[Part]:
        parts: list[Part] = []
        if self._api:
            parts.append(programs.api(self.settings))
            if self.settings.dicom_port is not None:
                parts.append(programs.dicom(self.settings))
        if self._workers:
            parts += programs.workers(self.settings)
            if self.settings.dicom_destination is not None:
                parts.append(programs.sender(self.settings))
        if self._flower:
            parts.append(programs.flower(self.settings))
        self.addresses = {part.name: part.address for part in parts if part.address}
        return parts

    def _note(self, *, ready: bool | None = None) -> None:
        """Write down who runs, for `connect` and for the next start after a crash."""
        record.write(
            self._folder,
            record.Record(
                owner=record.this_process(),
                boot=procfs.boot_id(),
                ready=self._ready.is_set() if ready is None else ready,
                settings=self.settings.model_dump(mode="json", include=RESOLVED),
                addresses=self.addresses,
                children=self._crew.children(),
            ),
        )


def absolute(settings: Settings) -> Settings:
    """The same settings with no path that depends on where one stands."""
    paths = {name: value.absolute() for name, value in settings if isinstance(value, Path)}
    return settings.model_copy(update=paths)


def _silent(_name: str, _state: State, _detail: str) -> None:
    """Nobody listens."""
