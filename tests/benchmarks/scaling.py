"""`make scaling`: what an image costs, measured here, and on paper what a million of them need.

Writes bench-out/scaling.json and the tables of docs/scaling.md. Nothing else should be running;
the load before the start is in the first table, so that figures from a busy machine can be told.
"""

import argparse
import datetime as dt
import json
import os
import platform
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks import scaling_run, scaling_servers, scaling_size
from tests.benchmarks.scaling_tables import filled

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def main() -> int:
    """Measure, calculate, write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("--images", type=int, default=192, help="of each of the two runs")
    parser.add_argument("--rows", type=int, default=8000, help="copies for the size of a database")
    parser.add_argument("--out", type=Path, default=Path("bench-out"))
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are made")
    parser.add_argument("--from-json", type=Path, help="measure nothing: take an earlier run")
    arguments = parser.parse_args()
    if arguments.from_json:
        found = json.loads(arguments.from_json.read_text())
    else:
        found = _measured(arguments.images, arguments.rows)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "scaling.json").write_text(json.dumps(found, indent=2) + "\n")
    arguments.page.write_text(filled(arguments.page.read_text(), found))
    print(f"written: {arguments.page}")
    return 0


def _measured(images: int, rows: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "load_before": os.getloadavg()[0],
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
    }
    with TemporaryDirectory() as folder, scaling_servers.running(Path(folder)) as servers:
        found["broker_bytes"] = scaling_size.broker_bytes(servers)
        found["broker_message_cpu_s"] = scaling_size.broker_cpu_s(servers)
        found |= scaling_run.measured(servers, images)
        found["cpu_s"]["broker"] = found["broker_messages"] * found["broker_message_cpu_s"]
        found["database_bytes"] = scaling_size.database_bytes(servers, rows)
    return found


if __name__ == "__main__":
    sys.exit(main())
