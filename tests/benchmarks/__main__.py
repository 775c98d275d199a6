"""`make bench`: what the pipeline costs, in one table and as JSON in bench-out/.

Every figure comes from this run on this machine. Nothing else should be running; the load before
the start is printed, so that a figure from a busy machine can be told.
"""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.benchmarks import bare, corpus, decoding, flow, latency

CHUNKS = (1, 16, 64)
WARM = 16
"""Images that every process works on before the clock runs; the pipeline sees no others twice."""
RATES = "bare_images_per_s", "bare_drawn_images_per_s", "pipeline_images_per_s"


class Notes:
    """The figures of a run, as they come."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.load_before = os.getloadavg()[0]
        self.rows: list[tuple[str, str, str]] = []
        self.found: dict[str, object] = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "load_before": self.load_before,
            "python": platform.python_version(),
        }

    def add(self, key: str, name: str, value: float, unit: str, remark: str = "") -> None:
        """Keep a figure and print it."""
        self.found[key] = value
        self.rows.append((name, f"{value:,.2f} {unit}", remark))
        self.console.print(f"{name}: {value:,.2f} {unit}  {remark}")

    def finish(self, folder: Path) -> None:
        """Print the table; write the figures as JSON."""
        table = Table(
            title=f"xraytriage on {os.cpu_count()} cores (load before: {self.load_before:.1f})"
        )
        table.add_column("what")
        table.add_column("measured", justify="right")
        table.add_column("remark")
        for row in self.rows:
            table.add_row(*row)
        self.console.print(table)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "bench.json"
        path.write_text(json.dumps(self.found, indent=2) + "\n")
        self.console.print(f"written: {path}")


def main() -> int:
    """Run all benchmarks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--images", type=int, default=384, help="chest images a round")
    parser.add_argument("--rounds", type=int, default=5, help="of bare loop and pipeline in turn")
    parser.add_argument("--small", type=int, default=6400, help="small images, zero-time models")
    parser.add_argument("--single", type=int, default=30, help="single images for the latency")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    arguments = parser.parse_args()
    notes = Notes(Console())
    _whole(notes, arguments.images, arguments.rounds)
    _control_plane(notes, corpus.squares(arguments.small))
    for cost in decoding.per_core():
        beside = f"of one core's time; pydicom and Pillow called bare: {cost.bare:.1f}"
        notes.add(f"prepare {cost.kind}", f"prepare, {cost.kind}", cost.ours, "images/s", beside)
    single = latency.single_image(corpus.chests(arguments.single))
    remark = "HTTP upload to result, idle"
    notes.add("latency_p50_ms", "single image, p50", single.p50_ms, "ms", remark)
    notes.add("latency_p95_ms", "single image, p95", single.p95_ms, "ms")
    notes.finish(arguments.out)
    return 0


def _whole(notes: Notes, count: int, rounds: int) -> None:
    """The pipeline and what it is compared with, in turn: a machine's own speed drifts."""
    images = corpus.chests(WARM + count * rounds)
    warm, images = images[:WARM], images[WARM:]
    loop = bare.Loop(warm)
    turns: list[tuple[float, float, float]] = []
    with flow.real_models(warm) as pipeline:
        for start in track(range(0, len(images), count), "in turn", console=notes.console):
            part = images[start : start + count]
            plain, drawn = loop.seconds(part), loop.seconds(part, draw=True)
            turns.append((plain, drawn, pipeline.seconds(part)))
        peaks = pipeline.peak_mib()
    names = "bare loop", "bare loop with heatmaps", "whole pipeline"
    for key, name, seconds in zip(RATES, names, zip(*turns, strict=True), strict=True):
        each = ", ".join(f"{count / s:.1f}" for s in seconds)
        notes.add(key, name, len(images) / sum(seconds), "images/s", f"in turn: {each}")
    plain_s, drawn_s, whole_s = map(sum, zip(*turns, strict=True))
    each = ", ".join(f"{plain / whole:.2f}" for plain, _, whole in turns)
    notes.add("ratio", "ratio", plain_s / whole_s, "", f"in turn: {each}; target 0.80")
    notes.add("ratio_drawn", "ratio, heatmaps on both sides", drawn_s / whole_s, "")
    for name, mib in peaks.items():
        notes.add(f"peak_mib_{name}", f"peak memory of {name}", mib, "MiB")


def _control_plane(notes: Notes, small: list[bytes]) -> None:
    stages = "claim, load, answer, write, announce: three stages, zero-time models"
    for chunk in CHUNKS:
        # One id a message is slow; a tenth of the images says as much.
        some = small if chunk > 1 else small[: max(200, len(small) // 10)]
        carried = flow.zero_time_models(some, chunk)
        key, name = f"control_plane_{chunk}_images_per_s", f"control plane, chunk {chunk}"
        notes.add(key, name, carried.stages_per_s, "images/s", stages)
        key, name = f"everything_{chunk}_images_per_s", f"with ingest and decoding, chunk {chunk}"
        notes.add(key, name, carried.images_per_s, "images/s", "from upload to the last row")


if __name__ == "__main__":
    sys.exit(main())
