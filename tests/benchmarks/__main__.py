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
from rich.table import Table

from tests.benchmarks import bare, corpus, decoding, flow, latency

CHUNKS = (1, 16, 64)


def main() -> int:
    """Run all benchmarks; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--images", type=int, default=256, help="chest images, real models")
    parser.add_argument("--small", type=int, default=6400, help="small images, zero-time models")
    parser.add_argument("--single", type=int, default=30, help="single images for the latency")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    arguments = parser.parse_args()
    console = Console()
    load_before = os.getloadavg()[0]
    rows: list[tuple[str, str, str]] = []
    found: dict[str, object] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_before": load_before,
        "python": platform.python_version(),
    }

    def note(key: str, name: str, value: float, unit: str, remark: str = "") -> None:
        found[key] = value
        rows.append((name, f"{value:,.2f} {unit}", remark))
        console.print(f"{name}: {value:,.2f} {unit}  {remark}")

    images = corpus.chests(arguments.images)
    plain = bare.images_per_s(images)
    note("bare_images_per_s", "bare loop", plain, "images/s", "decode + three models, one process")
    drawn = bare.images_per_s(images, draw=True)
    note("bare_drawn_images_per_s", "bare loop with heatmaps", drawn, "images/s", "draws them, too")
    whole = flow.real_models(images)
    note("pipeline_images_per_s", "whole pipeline", whole.images_per_s, "images/s", whole.remark)
    note("ratio", "ratio", whole.images_per_s / plain, "", "target 0.80 now, 0.90 to come")
    note("ratio_drawn", "ratio, heatmaps on both sides", whole.images_per_s / drawn, "")
    for name, mib in whole.peak_mib.items():
        note(f"peak_mib_{name}", f"peak memory of {name}", mib, "MiB")
    small = corpus.squares(arguments.small)
    for chunk in CHUNKS:
        # One id a message is slow; a tenth of the images says as much.
        some = small if chunk > 1 else small[: max(200, len(small) // 10)]
        carried = flow.zero_time_models(some, chunk)
        note(
            f"control_plane_{chunk}_images_per_s",
            f"control plane, chunk {chunk}",
            carried.stages_per_s,
            "images/s",
            "claim, load, answer, write, announce: three stages, zero-time models",
        )
        note(
            f"everything_{chunk}_images_per_s",
            f"with ingest and decoding, chunk {chunk}",
            carried.images_per_s,
            "images/s",
            "from upload to the last row",
        )
    for cost in decoding.per_core():
        beside = f"of one core's time; pydicom and Pillow called bare: {cost.bare:.1f}"
        note(f"prepare {cost.kind}", f"prepare, {cost.kind}", cost.ours, "images/s", beside)
    single = latency.single_image(images[: arguments.single])
    note("latency_p50_ms", "single image, p50", single.p50_ms, "ms", "HTTP upload to result, idle")
    note("latency_p95_ms", "single image, p95", single.p95_ms, "ms")
    _print(console, rows, load_before)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bench.json").write_text(json.dumps(found, indent=2) + "\n")
    console.print(f"written: {arguments.out / 'bench.json'}")
    return 0


def _print(console: Console, rows: list[tuple[str, str, str]], load_before: float) -> None:
    table = Table(title=f"xraytriage on {os.cpu_count()} cores (load before: {load_before:.1f})")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("remark")
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
