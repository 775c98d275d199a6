"""How long one person waits for one image on an idle system, through the front door."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from pipeline.embedded.stack import Stack
from pipeline.settings import Settings

POLL_S = 0.01
ENDED = {"done", "rejected", "quarantined"}


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the upload to the moment the answer can be read."""

    p50_ms: float
    p95_ms: float


def single_image(files: Sequence[bytes]) -> Latency:
    """Send one file after the other and wait for each."""
    with TemporaryDirectory() as folder, Stack(Settings(data_dir=Path(folder))) as stack:
        address = f"http://127.0.0.1:{stack.settings.port}"
        with httpx.Client(base_url=address, timeout=60.0) as client:
            for data in files[:3]:  # every process has worked once
                _one(client, data)
            waits = [_one(client, data) for data in files]
    ranks = statistics.quantiles(waits, n=20)
    return Latency(statistics.median(waits), ranks[-1])


def _one(client: httpx.Client, data: bytes) -> float:
    begun = time.perf_counter()
    answer = client.post(
        "/v1/jobs", files={"files": ("image.jpg", data)}, data={"priority": "stat"}
    )
    answer.raise_for_status()
    image_id = answer.json()["images"][0]["id"]
    while client.get(f"/v1/images/{image_id}").raise_for_status().json()["state"] not in ENDED:
        time.sleep(POLL_S)
    return (time.perf_counter() - begun) * 1000.0
