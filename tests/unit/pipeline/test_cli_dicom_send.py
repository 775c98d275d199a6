"""`xraytriage dicom-send`: what it says and what it exits with."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel
from typer.testing import CliRunner

from pipeline import cli
from pipeline.db import engine_of
from pipeline.embedded import programs
from pipeline.embedded.part import Tier
from pipeline.records.intake import close_job, open_job
from pipeline.settings import Settings
from pipeline.states import Priority
from pipeline.tables import deliveries, jobs
from tests.faults.servers import free_port, wait_until
from tests.stand_in import dicom_study
from tests.stand_in.finished import FinishedJob, MemoryStore
from tests.stand_in.peers import AE_TITLE, storage_scp

# pynetdicom drops the socket of a connection that was refused without closing it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["dicom-send", *(str(argument) for argument in arguments)])


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A study job of one image that the gate refused: a report, no pictures, no storage needed."""
    monkeypatch.setenv("XRAYTRIAGE_DATA_DIR", str(tmp_path))
    engine = engine_of(Settings().database)
    SQLModel.metadata.create_all(engine)
    job_id = open_job(engine, "dicom", Priority.ROUTINE)
    made = FinishedJob(engine, MemoryStore(), job_id)
    image_id = made.add("1.dcm", header=dicom_study.header(1))
    made.run(image_id, "gate", "other", {"other": 0.9, "xray": 0.1})
    with engine.begin() as connection:
        of_study = update(jobs).where(jobs.c.id == job_id)
        connection.execute(of_study.values(study_instance_uid=dicom_study.STUDY))
    close_job(engine, job_id)
    yield job_id
    engine_of.cache_clear()
    engine.dispose()


def test_it_explains_itself() -> None:
    help_text = run("--help").output
    assert "Examples:" in help_text
    assert "Exit code:" in help_text


def test_what_is_due_is_sent_once_and_the_record_says_so(job: str) -> None:
    with storage_scp() as (peer, address):
        assert run("--once", "--to", address).exit_code == 0
        assert [instance.Modality for instance in peer.received] == ["SR"]
        record = run("--record", job).output
        assert record.startswith("delivered attempts=1 2.25.")
        assert f"to={address}" in record
        assert record.endswith("1 instance\n")
        assert run("--again", job, "--to", address).output.startswith("0 to send")


def test_what_could_not_be_sent_is_exit_code_1(job: str) -> None:
    address = f"dimse://{AE_TITLE}@127.0.0.1:{free_port()}"
    assert run("--once", "--to", address).exit_code == 1
    record = run("--record", job).output
    assert record.startswith("waiting attempts=1")
    assert "no association could be made" in record
    engine = engine_of(Settings().database)
    with engine.begin() as connection:
        connection.execute(update(deliveries).values(state="failed"))
    with storage_scp() as (peer, up):
        assert run("--again", job, "--to", up).exit_code == 0
        assert len(peer.received) == 1


def test_no_destination_is_said_in_one_line(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["xraytriage", "dicom-send", "--once"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "set XRAYTRIAGE_DICOM_DESTINATION" in capsys.readouterr().err


def test_a_wrong_address_is_wrong_usage(job: str) -> None:
    result = run("--to", "dimse://nobody:104")
    assert result.exit_code == 2
    assert "needs an AE title" in result.output


def test_the_program_of_the_stack_sends_until_it_is_told_to_stop(job: str, tmp_path: Path) -> None:
    arrived = tmp_path / "arrived"
    with storage_scp() as (peer, address):
        peer.on_store = arrived.touch
        part = programs.sender(Settings(data_dir=tmp_path, dicom_destination=address))
        assert part.tier is Tier.WORKER
        assert part.vital
        process = subprocess.Popen(list(part.argv), env=dict(part.env))
        try:
            wait_until(arrived.exists, "the program has sent")
        finally:
            process.terminate()
        assert process.wait(60) == 0
    assert len(peer.received) == 1
    assert run("--record", job).output.startswith("delivered")


def test_the_program_without_a_destination_ends_with_words(tmp_path: Path) -> None:
    part = programs.sender(Settings(data_dir=tmp_path))
    ended = subprocess.run(list(part.argv), env=dict(part.env), capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith(
        "set XRAYTRIAGE_DICOM_DESTINATION to where results are sent"
    )
