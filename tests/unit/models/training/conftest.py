"""Small generated data: bars and blobs that a network learns in a few steps."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.training.config import TrainConfig, parse_config

SIDE = 40
COLUMNS = (
    "file",
    "split",
    "is_xray",
    "group",
    "xray_type",
    "abnormal",
    "positive",
    "negative",
    "view",
    "dataset",
    "source",
    "group_id",
    "license",
)


def picture(kind: str, seed: int) -> np.ndarray:
    """uint8 (SIDE, SIDE): noise with a bright disc (abnormal), bars (hand), or checks (other)."""
    generator = np.random.default_rng(seed)
    image = generator.normal(60, 12, (SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    if kind == "abnormal":
        image[(y - 20) ** 2 + (x - 20) ** 2 < 100] += 150
    if kind == "hand":
        image[:, ::8] += 150
        image[:, 1::8] += 150
    if kind == "other":
        image[(y // 5 + x // 5) % 2 == 0] += 120
    return image.clip(0, 255).astype(np.uint8)


def row(kind: str, index: int, split: str) -> dict[str, str]:
    """A manifest row for one generated picture."""
    chest = kind in ("normal", "abnormal")
    return {
        "file": f"{split}-{kind}-{index}.png",
        "split": split,
        "is_xray": "0" if kind == "other" else "1",
        "group": "texture" if kind == "other" else "radiograph",
        "xray_type": "chest" if chest else kind if kind == "hand" else "",
        "abnormal": {"normal": "0", "abnormal": "1"}.get(kind, ""),
        "positive": "Mass" if kind == "abnormal" else "",
        "negative": "Mass;Edema" if kind == "normal" else "",
        "dataset": "tiny" if chest else "tiny-" + kind,
        "source": "generated",
        "group_id": f"{split}-{kind}-{index}",
        "license": "CC0",
    }


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors on busy cores: a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 4 kinds, 16 training and 8 validation images each."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = []
    for kind in ("normal", "abnormal", "hand", "other"):
        for split, count in (("train", 16), ("val", 8)):
            for index in range(count):
                rows.append(row(kind, index, split))
                seed = len(rows)
                Image.fromarray(picture(kind, seed)).save(folder / rows[-1]["file"])
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def tiny_config(stage: str = "gate", **changes: object) -> TrainConfig:
    """A configuration for a few steps at 32 px."""
    loss = {"gate": {"gate": 1.0}, "type": {"type": 1.0}, "chest": {"chest": 1.0}}
    raw: dict[str, object] = {
        "stage": stage,
        "heads": [stage],
        "pack_px": 40,
        "validate_every": 1000,
        "phase": [{"px": 32, "steps": 4, "batch": 4, "lr": 1e-3, "lr_end": 1e-3}],
        "loss": loss.get(stage, {"gate": 1.0, "type": 1.0, "chest": 1.0}),
        "shares": {"other": 0.4, "limb": 0.2, "chest": 0.4},
    }
    if stage == "joint":
        raw["heads"] = ["gate", "type", "chest"]
    return parse_config({**raw, **changes}, "test")
