"""The one-machine stack with its real servers: start, faults, stop, and what is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from urllib.request import urlopen

import pytest
from pynetdicom import AE
from pynetdicom.presentation import VerificationPresentationContexts
from redis import Redis

from pipeline.embedded import AlreadyRunning, Stack, StackError, connect, procfs, record
from pipeline.embedded.keeper import State
from pipeline.embedded.record import Record
from pipeline.settings import Settings
from pipeline.storage import ObjectStore
from tests.faults.servers import wait_until

ROOT = Path(__file__).parents[2]
SHA = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"


class Said:
    """Hears what a stack says of its parts."""

    def __init__(self) -> None:
        self.states: list[tuple[str, State]] = []

    def __call__(self, name: str, state: State, _detail: str) -> None:
        self.states.append((name, state))

    def count(self, name: str, state: State) -> int:
        return self.states.count((name, state))


@pytest.fixture
def folder(tmp_path: Path, needs_servers: None) -> Path:
    return tmp_path / "state"


def children(folder: Path) -> dict[str, int]:
    found = record.read(folder)
    assert found is not None
    return {child.name: child.pid for child in found.children}


def test_servers_come_up_survive_a_kill_and_keep_everything_over_a_restart(
    folder: Path, database_url: str | None
) -> None:
    said = Said()
    # A storage server that answers again may still be gathering its volumes for a while.
    settings = Settings(
        data_dir=folder, database_url=database_url, s3_attempts=60, s3_patience_s=60.0
    )
    with Stack(settings, api=False, flower=False, workers=False, on_change=said) as stack:
        assert connect(settings) == stack.settings
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            Stack(settings).start()
        assert stack.settings.broker_url is not None
        with Redis.from_url(stack.settings.broker_url) as broker:
            broker.lpush("stage.gate", "message")
        ref = ObjectStore(stack.settings).put_file("o", BytesIO(b"x"), SHA, 1, "image/png")

        for name in ("valkey", "seaweedfs"):
            os.kill(children(folder)[name], signal.SIGKILL)
        for name in ("valkey", "seaweedfs"):
            wait_until(lambda name=name: said.count(name, State.READY) == 2, f"{name} is back")  # type: ignore[misc]
        assert ObjectStore(stack.settings).get(ref) == b"x"
        pids = children(folder).values()

    assert not any(procfs.started_at(pid) for pid in pids)
    assert connect(settings) is None
    storage_port = str(stack.settings.s3_endpoint).rpartition(":")[2]
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{storage_port}.sock"))
    with Stack(settings, api=False, flower=False, workers=False) as again:
        assert again.settings == stack.settings  # the same ports, too
        assert again.settings.broker_url is not None
        with Redis.from_url(again.settings.broker_url) as broker:
            assert broker.lrange("stage.gate", 0, -1) == [b"message"]
        assert ObjectStore(again.settings).get(ref) == b"x"


def test_what_settings_name_is_not_started(settings: Settings) -> None:
    said = Said()
    with Stack(settings, workers=False, on_change=said) as stack:
        assert {name for name, _ in said.states} == {"api", "flower"}
        assert stack.settings.broker_url == settings.broker_url
        assert stack.settings.s3_endpoint == settings.s3_endpoint
        for name in ("api", "flower"):
            with urlopen(stack.addresses[name], timeout=30) as page:
                assert page.status == 200


def test_the_dicom_listener_is_started_where_a_port_is_set(settings: Settings) -> None:
    listening = settings.model_copy(update={"dicom_port": 0})
    with Stack(listening, workers=False, flower=False) as stack:
        assert set(stack.addresses) == {"api", "dicom"}
        assert stack.addresses["dicom"].endswith(f":{stack.settings.dicom_port}")
        port = stack.settings.dicom_port or 0
        peer = AE("TEST").associate(
            "127.0.0.1", port, VerificationPresentationContexts, ae_title="XRAYTRIAGE"
        )
        assert peer.send_c_echo().Status == 0
        peer.release()


def test_storage_that_refuses_ends_the_start(settings: Settings) -> None:
    wrong = settings.model_copy(update={"s3_secret_key": "wrong"})
    with pytest.raises(StackError, match="storage or database cannot be prepared"):
        Stack(wrong, workers=False, api=False, flower=False).start()
    assert connect(wrong) is None


def test_a_port_that_is_taken_is_named(settings: Settings, weed: object) -> None:
    assert settings.s3_endpoint is not None
    taken = int(settings.s3_endpoint.rpartition(":")[2])
    with pytest.raises(StackError, match=f"port {taken} is taken.*--port or XRAYTRIAGE_PORT"):
        Stack(settings.model_copy(update={"port": taken})).start()


class Up:
    """`xraytriage up` as a process."""

    def __init__(self, settings: Settings, kind: str) -> None:
        self.folder = settings.data_dir
        self.kind = kind
        env = {f"XRAYTRIAGE_{name.upper()}": str(value) for name, value in settings if value}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("up_with_stand_ins.py")), kind],
            env={**os.environ, **env, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def record(self) -> Record | None:
        """What runs, once it is ready."""
        found = record.read(self.folder)
        return found if found is not None and found.ready and found.running else None

    def until_ready(self) -> Record:
        wait_until(lambda: self.record is not None or self.process.poll() is not None, "it is up")
        assert self.record is not None, self.end()
        return self.record

    def log(self) -> str:
        return (self.folder / "logs" / f"{self.kind}.log").read_text()

    def end(self) -> tuple[int, str]:
        """Exit code and output."""
        output = self.process.communicate(timeout=60)[0]
        return self.process.returncode, output


@pytest.fixture
def up(settings: Settings) -> Iterator[Callable[..., Up]]:
    """`up` on servers that run already, so that it comes up quickly."""
    made: list[Up] = []

    def start(kind: str, **changes: float) -> Up:
        made.append(Up(settings.model_copy(update=changes), kind))
        return made[-1]

    yield start
    for it in made:
        it.process.kill()
        it.process.communicate()
    record.remove_leftovers(settings.data_dir)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_stops(up: Callable[..., Up], number: signal.Signals) -> None:
    it = up("polite")
    found = it.until_ready()
    it.process.send_signal(number)
    code, output = it.end()
    assert code == 0, output
    assert "finished its work" in it.log()
    assert not any(child.alive for child in found.children)
    assert record.read(it.folder) is None


def test_a_second_signal_does_not_wait(up: Callable[..., Up]) -> None:
    it = up("deaf", drain_s=3600.0)
    found = it.until_ready()
    it.process.send_signal(signal.SIGINT)
    assert it.process.stdout is not None
    while "stopping" not in it.process.stdout.readline():
        pass
    it.process.send_signal(signal.SIGINT)
    code, output = it.end()
    assert code == 0, output
    assert "deaf: stopped (killed" in output
    assert not any(child.alive for child in found.children)


def test_a_second_up_says_what_runs(up: Callable[..., Up]) -> None:
    first = up("polite")
    first.until_ready()
    code, output = up("polite").end()
    assert code == 2
    assert f"process {first.process.pid}" in output
    assert first.process.poll() is None


def test_a_killed_up_blocks_nothing(up: Callable[..., Up]) -> None:
    first = up("forks")
    session = first.until_ready().children[0].pid
    first.process.kill()
    first.process.wait()
    wait_until(lambda: procfs.started_at(session) is None, "the child ended with its parent")
    assert list(procfs.session_members(session)), "the descendant was to outlive it"
    second = up("forks")
    second.until_ready()
    assert not list(procfs.session_members(session))


def test_a_part_that_does_not_stay_up_ends_it_with_words(up: Callable[..., Up]) -> None:
    code, output = up("broken").end()
    words = " ".join(output.split())
    assert code == 1
    assert "broken does not stay up" in words
    assert "there are no weights" in words
    assert "broken.log" in "".join(output.split())
