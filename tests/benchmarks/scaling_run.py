"""A run of real images through real servers and real workers, every cost of it counted."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from models.catalogue import STAGES
from pipeline.context import Context
from pipeline.embedded.part import environment
from pipeline.embedded.programs import RollCall
from pipeline.flow import PREPARE
from pipeline.records import results
from tests.benchmarks import corpus, flow
from tests.benchmarks.scaling_servers import Counters, Servers, cpu_of_tree

NAMES = (PREPARE, *(spec.name for spec in STAGES))
WARM_UP = 8
"""Images before anything is counted, so that every process has worked once."""
POLL_S = 0.2
START_S = 600.0
IDLE_S = 15.0
"""How long it is watched what servers do for workers that have nothing to do."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Worker processes, one for each stage, on one core."""

    core: int
    processes: dict[str, subprocess.Popen[bytes]]

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by stage."""
        return {name: cpu_of_tree(process.pid) for name, process in self.processes.items()}


def measured(servers: Servers, images: int) -> dict[str, Any]:
    """Run with one process a stage on one core, count everything; then with two on two cores."""
    files = corpus.chests(2 * images + 2 * WARM_UP)
    context = Context.open(servers.settings)
    found: dict[str, Any] = {"images": images, "cores": len(os.sched_getaffinity(0))}
    with _staffed(servers, 1) as crews:
        flow._run(context, files[:WARM_UP])
        found |= _counted(servers, context, crews[0], files[WARM_UP : WARM_UP + images])
    found["objects"] = _objects(context)
    found["counted_images"] = WARM_UP + images
    if found["cores"] > 1:
        with _staffed(servers, 2):
            flow._run(context, files[WARM_UP + images : 2 * WARM_UP + images])
            begun = time.perf_counter()
            flow._run(context, files[2 * WARM_UP + images :])
            found["images_per_s_2"] = images / (time.perf_counter() - begun)
    return found


def _counted(
    servers: Servers, context: Context, crew: Crew, files: Sequence[bytes]
) -> dict[str, Any]:
    idle = _idle(servers, context)
    before, used = servers.counters(), crew.cpu_s()
    begun = time.perf_counter()
    sent_from = time.process_time()
    job = flow._send(context, files)
    ingest_s = time.process_time() - sent_from
    flow._wait(context)
    seconds = time.perf_counter() - begun
    used = {name: total - used[name] for name, total in crew.cpu_s().items()}
    _stop(crew)
    grown = servers.counters() - before
    ended = results.job(context.engine, job)
    assert ended is not None
    n = len(files)
    return {
        "seconds_1": seconds,
        "images_per_s_1": n / seconds,
        "ended": {state.value: count for state, count in ended.counts.items() if count},
        "ingest_cpu_s": ingest_s / n,
        "stage_cpu_s": {name: total / n for name, total in used.items()},
        "idle_per_s": asdict(idle),
        **asdict((grown - idle * seconds) * (1.0 / n)),
    }


def _idle(servers: Servers, context: Context) -> Counters:
    """What is counted in a second in which no image comes, this program's own looks included."""
    before, begun = servers.counters(), time.perf_counter()
    while time.perf_counter() - begun < IDLE_S:
        results.waiting(context.engine)
        time.sleep(flow.POLL_S)
    return (servers.counters() - before) * (1.0 / (time.perf_counter() - begun))


def _objects(context: Context) -> dict[str, dict[str, float]]:
    """Prefix -> number and bytes of the objects there."""
    client = context.store._s3
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=context.settings.s3_bucket)
    found: dict[str, dict[str, float]] = {}
    for page in pages:
        for entry in page.get("Contents", ()):
            prefix = entry["Key"].partition("/")[0]
            if prefix != "warm-up":
                kind = found.setdefault(prefix, {"objects": 0, "bytes": 0})
                kind["objects"] += 1
                kind["bytes"] += entry["Size"]
    return found


@contextmanager
def _staffed(servers: Servers, crews: int) -> Iterator[list[Crew]]:
    """So many crews, each on a core of its own, all of them consuming."""
    cores = sorted(os.sched_getaffinity(0))
    made = [_crew(servers, number, cores[number % len(cores)]) for number in range(crews)]
    try:
        roll = RollCall(servers.settings)
        wanted = [f"{name}-{crew}" for crew in range(crews) for name in NAMES]
        give_up = time.monotonic() + START_S
        while not all(roll.present(name) for name in wanted):
            dead = [n for crew in made for n, p in crew.processes.items() if p.poll() is not None]
            if dead or time.monotonic() > give_up:
                raise RuntimeError(f"workers did not come up; ended: {dead}")
            time.sleep(POLL_S)
        yield made
    finally:
        for crew in made:
            _stop(crew)


def _crew(servers: Servers, number: int, core: int) -> Crew:
    env = environment(servers.settings)
    processes = {}
    for name in NAMES:
        command = [sys.executable, "-m", "workers", name, f"--suffix=-{number}"]
        command += ["--concurrency=1"] if name == PREPARE else []
        log_path = servers.settings.data_dir / f"{name}-{number}.log"
        with log_path.open("wb") as log:
            processes[name] = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command], env=env, stdout=log, stderr=log
            )
    return Crew(core, processes)


def _stop(crew: Crew) -> None:
    for process in crew.processes.values():
        process.send_signal(signal.SIGTERM)
    for process in crew.processes.values():
        process.wait()
