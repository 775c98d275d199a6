"""What a stack keeps in its data folder: ports, secrets, the record and the lock."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Exit

from pipeline.commands.running import require_database
from pipeline.embedded import procfs, record
from pipeline.embedded.ports import LOOPBACK, PortBook, is_free
from pipeline.embedded.private import private_folder, secrets_of, write_private
from pipeline.embedded.record import Lock, Process, Record, connect, remove_leftovers
from pipeline.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_listening_port_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_ports_are_the_same_at_the_next_start(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json")
    first = book.ports("server", "a", "b")
    book.save()
    assert len(set(first.values())) == 2
    assert PortBook(tmp_path / "ports.json").ports("server", "a", "b") == first


def test_a_port_that_somebody_took_meanwhile_is_changed(tmp_path: Path, taken: int) -> None:
    (tmp_path / "ports.json").write_text(json.dumps({"server": taken}))
    assert PortBook(tmp_path / "ports.json").port("server") != taken


def test_a_damaged_port_book_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    assert PortBook(tmp_path / "ports.json").port("server") > 0


def test_private_files_are_their_owners_only(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "data")
    write_private(folder / "file", "old")
    write_private(folder / "file", "new")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "file").stat().st_mode & 0o777 == 0o600
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_secrets_are_drawn_once_for_each_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert secrets_of(tmp_path) == secrets_of(tmp_path)
    assert secrets_of(tmp_path) != secrets_of(tmp_path / "other")


@pytest.fixture
def running(tmp_path: Path) -> Record:
    made = Record(
        owner=record.this_process(),
        boot=procfs.boot_id(),
        ready=True,
        settings={"broker_url": "redis://here", "port": 4711},
        addresses={"api": "http://here"},
        children=[Process("gate", 1, 2)],
    )
    record.write(tmp_path, made)
    return made


def test_a_record_survives_its_file(tmp_path: Path, running: Record) -> None:
    assert record.read(tmp_path) == running
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"owner": 1, "children": []}', "{}"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    assert record.read(tmp_path) is None


def test_connect_gives_the_addresses_of_what_runs(tmp_path: Path, running: Record) -> None:
    found = connect(Settings(data_dir=tmp_path, chunk_size=7))
    assert found is not None
    assert (found.broker_url, found.port, found.chunk_size) == ("redis://here", 4711, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"ready": False},
        {"boot": "an earlier one"},
        {"owner": Process("up", os.getpid(), 1)},  # the number was given away again
    ],
)
def test_connect_is_not_fooled(tmp_path: Path, running: Record, change: dict[str, object]) -> None:
    record.write(tmp_path, replace(running, **change))  # type: ignore[arg-type]
    assert connect(Settings(data_dir=tmp_path)) is None


def test_a_command_takes_the_database_of_the_stack_that_runs(
    tmp_path: Path, running: Record
) -> None:
    """Its shell need not know of the database that the stack was told of."""
    told = {**running.settings, "database_url": "postgresql+psycopg://db/xraytriage"}
    with pytest.raises(Exit):
        require_database(Settings(data_dir=tmp_path))
    record.write(tmp_path, replace(running, settings=told))
    require_database(Settings(data_dir=tmp_path))


def test_connect_where_nothing_ever_ran(tmp_path: Path) -> None:
    assert connect(Settings(data_dir=tmp_path / "none")) is None


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    yield process
    process.kill()
    process.wait()


def left_by(running: Record, orphan: subprocess.Popen[bytes], started: int | None = None) -> Record:
    began = procfs.started_at(orphan.pid)
    assert began is not None
    return replace(running, children=[Process("gate", orphan.pid, started or began)])


def test_leftovers_are_killed(
    tmp_path: Path, running: Record, orphan: subprocess.Popen[bytes]
) -> None:
    record.write(tmp_path, left_by(running, orphan))
    assert remove_leftovers(tmp_path) == ["gate"]
    assert orphan.wait() < 0


def test_strangers_with_the_same_number_are_spared(
    tmp_path: Path, running: Record, orphan: subprocess.Popen[bytes]
) -> None:
    record.write(tmp_path, left_by(running, orphan, started=1))
    assert remove_leftovers(tmp_path) == []
    record.write(tmp_path, replace(left_by(running, orphan), boot="an earlier one"))
    assert remove_leftovers(tmp_path) == []
    assert orphan.poll() is None


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    second.release()
