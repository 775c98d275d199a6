"""The whole way, through real servers and real worker processes."""

import io
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from models.catalogue import STAGES
from pipeline.context import Context
from pipeline.dispatch import Dispatcher
from pipeline.embedded.part import environment
from pipeline.embedded.programs import RollCall
from pipeline.embedded.stack import Stack
from pipeline.flow import PREPARE
from pipeline.ingest import Source, accept
from pipeline.records import intake, overdue, results
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import Priority, State
from workers.prepare import Prepare
from workers.runner import run_chunk

POLL_S = 0.2
GIVE_UP_S = 900.0


@dataclass(frozen=True)
class Measured:
    """What one run showed."""

    images_per_s: float
    stages_per_s: float


@contextmanager
def real_models(warm: Sequence[bytes]) -> Iterator["Pipeline"]:
    """The whole stack with the shipped models, every process of which has worked once."""
    with TemporaryDirectory() as folder, Stack(_settings(folder)) as stack:
        pipeline = Pipeline(Context.open(stack.settings))
        pipeline.seconds(warm)
        yield pipeline


@dataclass(frozen=True)
class Pipeline:
    """A stack that runs."""

    context: Context

    def seconds(self, files: Sequence[bytes]) -> float:
        """Upload, storage, four stages, database and heatmaps; every image must end done."""
        begun = time.perf_counter()
        job = _run(self.context, files)
        taken = time.perf_counter() - begun
        found = results.job(self.context.engine, job)
        if found is None or found.counts != {State.DONE: len(files)}:
            raise RuntimeError(f"not every image is done: {found}")
        return taken

    def peak_mib(self) -> dict[str, float]:
        """Peak resident memory of every process, MiB, by what it is."""
        return _peaks()


def zero_time_models(files: Sequence[bytes], chunk_size: int) -> Measured:
    """The same with stand-in models; and once more the three model stages alone."""
    with TemporaryDirectory() as folder:
        settings = _settings(folder).model_copy(update={"chunk_size": chunk_size})
        with Stack(settings, workers=False, flower=False, api=False) as stack:
            context = Context.open(stack.settings)
            with _stand_ins(stack.settings):
                _run(context, files[: 4 * chunk_size])  # every process has worked once
                begun = time.perf_counter()
                _run(context, files)
                whole_s = time.perf_counter() - begun
                nudges = _prepared(context, files)
                begun = time.perf_counter()
                context.dispatcher.publish(nudges)
                _wait(context)
                stages_s = time.perf_counter() - begun
    return Measured(len(files) / whole_s, len(files) / stages_s)


def _settings(folder: str) -> Settings:
    # The deadline of a publish is for outages; here one call sends hundreds of messages.
    return Settings(data_dir=Path(folder), publish_timeout_s=60.0)


def _run(context: Context, files: Sequence[bytes]) -> str:
    job = _send(context, files)
    _wait(context)
    return job


def _send(context: Context, files: Sequence[bytes]) -> str:
    job = intake.open_job(context.engine, "bench", Priority.BULK)
    sources = (Source(f"{n}", partial(io.BytesIO, data)) for n, data in enumerate(files))
    for answer in accept(context, job, sources):
        if answer.state is not State.RECEIVED:
            raise RuntimeError(f"refused: {answer.reason}")
    return job


def _prepared(context: Context, files: Sequence[bytes]) -> list[Nudge]:
    """Take files in and decode them here, sending nothing; returns what has to be sent then."""
    mute = replace(context, dispatcher=_Mute(context.settings))
    _send(mute, files)
    work = Prepare(mute)
    for nudge in _outbox(context):
        run_chunk(mute, work, nudge.image_ids, None)
        intake.sent(context.engine, [nudge.id])
    nudges = _outbox(context)
    intake.sent(context.engine, [nudge.id for nudge in nudges])
    return nudges


def _outbox(context: Context) -> list[Nudge]:
    return overdue.unsent(context.engine, -1.0, 3600.0, limit=1_000_000)


class _Mute(Dispatcher):
    """Sends nothing."""

    def publish(self, nudges: Sequence[Nudge], root_id: str | None = None) -> list[str]:
        return []


def _wait(context: Context) -> None:
    give_up = time.monotonic() + GIVE_UP_S
    while left := results.waiting(context.engine):
        if time.monotonic() > give_up:
            raise TimeoutError(f"still waiting after {GIVE_UP_S:g} s: {left}")
        time.sleep(POLL_S)


@contextmanager
def _stand_ins(settings: Settings) -> Iterator[None]:
    """A worker process with stand-in models for each stage; ready when they answer."""
    names = [PREPARE, *(spec.name for spec in STAGES)]
    command = [sys.executable, "-m", "tests.stand_in.worker"]
    env = environment(settings)
    with ExitStack() as running:
        for name in names:
            log = running.enter_context((settings.data_dir / f"{name}.log").open("wb"))
            process = subprocess.Popen([*command, name], env=env, stdout=log, stderr=log)
            running.callback(process.wait)
            running.callback(process.send_signal, signal.SIGTERM)
        roll = RollCall(settings)
        while not all(roll.present(name) for name in names):
            time.sleep(POLL_S)
        yield


def _peaks() -> dict[str, float]:
    """Peak resident memory of every child process, MiB, by what it is."""
    peaks: dict[str, float] = {}
    for child in psutil.Process().children(recursive=True):
        name = _name(child.cmdline())
        status = Path(f"/proc/{child.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
        peaks[name] = max(peak, peaks.get(name, 0.0))
    return peaks


def _name(command: Sequence[str]) -> str:
    words = [Path(word).name for word in command]
    for known in ("valkey", "weed", "uvicorn", "flower", *(spec.name for spec in STAGES)):
        if any(known in word for word in words):
            return known
    return next((w for w in (PREPARE, "reconcile") if w in words), "other")
