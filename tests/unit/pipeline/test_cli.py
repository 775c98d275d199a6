"""The command line: what it says, what it exits with, and that it starts fast."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel
from typer.testing import CliRunner

from models.errors import ImportWeightsError
from pipeline import cli, embedded
from pipeline import verify as verifying
from pipeline.commands import requeue, running
from pipeline.db import engine_of
from pipeline.embedded import procfs, record
from pipeline.records import quarantine
from pipeline.records.intake import open_job
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.storage import ObjectStore
from pipeline.verify import Violation
from tests.stand_in.finished import FinishedJob, MemoryStore

COMMANDS = [
    ["demo"],
    ["up"],
    ["screen"],
    ["status"],
    ["stages"],
    ["doctor"],
    ["verify"],
    ["migrate"],
    ["dicom-listen"],
    ["probe"],
    ["requeue"],
    ["quarantine"],
    ["quarantine", "list"],
    ["quarantine", "show"],
    ["quarantine", "retry"],
    ["quarantine", "discard"],
    ["models"],
    ["models", "import"],
]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XRAYTRIAGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XRAYTRIAGE_PUBLISH_TIMEOUT_S", "0.05")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[FinishedJob]:
    engine = engine_of(Settings(data_dir=tmp_path / "data").database)
    SQLModel.metadata.create_all(engine)
    yield FinishedJob(engine, MemoryStore(), open_job(engine, "cli", Priority.BULK))
    engine.dispose()


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline import cli\n"
        "heavy = {'torch', 'numpy', 'sqlalchemy', 'boto3', 'celery', 'pydantic', 'PIL', 'jinja2'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(("words", "device"), [([], "cuda"), (["--device", "cpu"], "cpu")])
def test_the_device_of_the_command_line_goes_before_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], device: str
) -> None:
    monkeypatch.setenv("XRAYTRIAGE_DEVICE", "cuda")
    started: list[str] = []

    def up(settings: Settings, **_: object) -> int:
        started.append(settings.device.value)
        return 0

    def exit_code(settings: Settings, *_: object) -> int:
        return up(settings)

    def demo_exit_code(_: object, settings: Settings, *__: object) -> int:
        return up(settings)

    monkeypatch.setattr(embedded, "up", up)
    monkeypatch.setattr("pipeline.commands.screen._exit_code", exit_code)
    monkeypatch.setattr("pipeline.commands.demo._exit_code", demo_exit_code)
    monkeypatch.chdir(Path(__file__).parents[3])
    for command in (["up"], ["screen", str(tmp_path)], ["demo"]):
        assert run(*command, *words).exit_code == 0, command
    assert started == [device] * 3


def test_ctrl_c_before_a_command_has_begun_is_exit_code_1() -> None:
    code = (
        "import os, signal; from pipeline import cli\n"
        "cli.app = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "Stopped.\n")


def test_no_arguments_show_the_help() -> None:
    assert "To begin:" in run().output


def test_version() -> None:
    assert run("--version").output.startswith("xraytriage ")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


@pytest.mark.parametrize(
    "command",
    [name for name in COMMANDS if name not in (["models"],) and name[:-1] != ["quarantine"]],
    ids=" ".join,
)
def test_every_command_says_examples_and_exit_codes(command: list[str]) -> None:
    shown = " ".join(run(*command, "--help").output.split())
    assert f"xraytriage {' '.join(command)}" in shown
    assert "Exit code: 0" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["screen"],
        ["screen", "no/such/path"],
        ["screen", ".", "--limit", "0"],
        ["screen", ".", "--priority", "urgent"],
        ["screen", ".", "--out", "."],
        ["up", "--port", "70000"],
        ["requeue", "--stage", "chest", "--older-than", "a week"],
        ["models", "import", "no-such-file", "--stage", "chest", "--out", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    shown = run(*arguments)
    assert shown.exit_code == 2
    assert "Error" in shown.output


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAYTRIAGE_LEASE_S", "soon")
    shown = run("status")
    assert shown.exit_code == 2
    assert "XRAYTRIAGE_LEASE_S" in shown.output


@pytest.mark.parametrize("command", [["status"], ["verify"], ["quarantine", "list"]])
def test_without_a_database_it_says_how_to_begin(command: list[str]) -> None:
    shown = run(*command)
    assert shown.exit_code == 1
    assert "xraytriage up" in shown.output


def test_status_counts_states_and_says_what_does_not_run(job: FinishedJob) -> None:
    job.add("a.png")
    job.add("b.png", State.RECEIVED, stage="prepare", queued_at=1.0)
    shown = run("status", "--json")
    found = json.loads(shown.output)
    assert shown.exit_code == 1
    assert found["images"] == {"done": 1, "received": 1}
    assert {stage: queue["waiting"] for stage, queue in found["stages"].items()} == {
        "prepare": 1,
        "gate": 0,
        "type": 0,
        "chest": 0,
    }
    assert found["addresses"] == {}
    assert [(part["name"], part["ok"]) for part in found["parts"]] == [
        ("broker", False),
        ("storage", False),
    ]
    said = run("status").output
    assert "1 waiting" in said
    assert "1 image\n" in said


def test_status_says_where_a_running_stack_is(job: FinishedJob, tmp_path: Path) -> None:
    me = record.Process("up", os.getpid(), procfs.started_at(os.getpid()) or 0)
    addresses = {"api": "http://127.0.0.1:20001"}
    record.write(tmp_path / "data", record.Record(me, procfs.boot_id(), True, {}, addresses))
    assert json.loads(run("status", "--json").output)["addresses"] == addresses


def test_stages_tell_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("models.spec.WEIGHTS_ROOT", tmp_path)
    shown = run("stages", "--json")
    assert shown.exit_code == 1
    assert [stage["name"] for stage in json.loads(shown.output)] == ["gate", "type", "chest"]
    assert "BAD  There is no readable model card" in run("stages").output


def test_a_broken_catalogue_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[[stage]]")
    monkeypatch.setenv("XRAYTRIAGE_CATALOGUE", str(tmp_path / "c.toml"))
    shown = run("stages")
    assert shown.exit_code == 1
    assert "c.toml" in shown.output


def test_quarantine_lists_shows_and_lets_go(job: FinishedJob) -> None:
    image_id = job.add(
        "p.dcm",
        State.QUARANTINED,
        stopped_at="prepare",
        reason_code="worker_lost",
        reason="3 attempts failed",
    )
    assert "p.dcm" in run("quarantine", "list").output
    assert json.loads(run("quarantine", "list", "--json").output)[0]["id"] == image_id
    assert json.loads(run("quarantine", "show", image_id).output)["path"] == "p.dcm"
    assert run("quarantine", "discard", image_id).output == "1 image discarded.\n"
    assert run("quarantine", "show", image_id).exit_code == 1
    assert run("quarantine", "discard", image_id).exit_code == 1
    assert "empty" in run("quarantine", "list").output


def test_quarantine_retries_all_in_groups(
    job: FinishedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.quarantine.AT_ONCE", 2)
    for index in range(3):
        job.add(f"{index}.png", State.QUARANTINED, stopped_at="prepare")
    groups: list[int] = []

    def retry(_: object, ids: Sequence[str]) -> int:
        groups.append(len(ids))
        return len(ids)

    monkeypatch.setattr(quarantine, "retry", retry)
    assert run("quarantine", "retry", "--all").output == "3 images sent again.\n"
    assert groups == [2, 1]


@pytest.mark.parametrize("arguments", [["retry"], ["retry", "--all", "x"], ["discard"]])
def test_quarantine_wants_ids_or_all(job: FinishedJob, arguments: list[str]) -> None:
    assert run("quarantine", *arguments).exit_code == 2


def test_verify_prints_what_is_broken(job: FinishedJob, monkeypatch: pytest.MonkeyPatch) -> None:
    _give_a_stack(monkeypatch)
    monkeypatch.setattr(verifying, "violations", lambda *_, **__: iter(()))
    assert (run("verify").exit_code, run("verify").output) == (0, "All promises hold.\n")
    broken = Violation("I4", "x", "gone")
    monkeypatch.setattr(verifying, "violations", lambda *_, **__: iter((broken, broken)))
    shown = run("verify", "--json")
    assert shown.exit_code == 1
    assert [json.loads(line)["promise"] for line in shown.output.splitlines()] == ["I4", "I4"]
    assert "2 broken." in run("verify").output


def _give_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def for_one_run(settings: Settings, *_: object, **__: object) -> Iterator[running.Reached]:
        yield running.Reached(settings, lambda: None)

    monkeypatch.setattr("pipeline.commands.verify.for_one_run", for_one_run)
    monkeypatch.setattr(ObjectStore, "ensure_bucket", lambda _: None)


def test_requeue_sends_ended_images_through_a_stage(job: FinishedJob) -> None:
    job.chest("a.png")
    assert run("requeue", "--stage", "chest", "--older-than", "1h").output == (
        "1 image sent to chest again.\n"
    )
    assert run("requeue", "--stage", "chest").output.startswith("0 images")


def test_requeue_knows_its_stages(job: FinishedJob) -> None:
    shown = run("requeue", "--stage", "foot")
    assert shown.exit_code == 2
    assert "foot" in shown.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("45s", 45), ("1.5h", 5400), ("7d", 604_800), ("2w", 2**7 * 9450)],
)
def test_times_as_people_write_them(text: str, expected: float) -> None:
    assert requeue.seconds(text) == expected


def test_up_hands_over_ports_and_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple[Settings, bool]] = []

    def up(settings: Settings, *, flower: bool) -> int:
        seen.append((settings, flower))
        return 2

    monkeypatch.setattr(embedded, "up", up)
    shown = run("up", "--data-dir", tmp_path, "--port", "8080", "--no-flower")
    assert shown.exit_code == 2
    ((settings, flower),) = seen
    assert (settings.data_dir, settings.port, flower) == (tmp_path, 8080, False)


def test_configured_servers_need_no_stack() -> None:
    servers = {"broker_url": "redis://elsewhere", "s3_endpoint": "http://elsewhere"}
    assert running.is_configured(Settings.model_validate(servers))
    assert not running.is_configured(Settings(broker_url="redis://elsewhere"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImportWeightsError("no weights"), "Error: no weights\n"),
        (
            PermissionError(13, "Permission denied", "x"),
            "Error: [Errno 13] Permission denied: 'x'\n",
        ),
        (
            OperationalError("SELECT name", {}, Exception("it is away")),
            "Error: the database says: it is away\n",
        ),
    ],
)
def test_a_known_trouble_is_one_line(
    error: Exception,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "app", _raising(error))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == words


def test_a_bug_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "app", _raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main()


def _raising(error: Exception) -> Any:
    def app() -> None:
        raise error

    return app
