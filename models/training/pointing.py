"""The pointing game: does a heatmap's peak lie inside the radiologist's box?

Zhang et al. 2018, "Top-down neural attention by excitation backprop". Chance is the share of the
image that the box covers; a hit rate says nothing without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.artifact import load_card, read_head
from models.heatmap import Float32, grad_cam
from models.onnx_runtime import OnnxRuntime
from models.preprocess import InputSpec, to_input
from models.training.boxes import Box
from models.training.figures import rate, rounded
from models.training.manifest import Record
from models.training.pixels import read_gray


def peak(heatmap: Float32) -> tuple[float, float]:
    """(x, y) of the maximum, at the middle of its cell, as fractions of width and height."""
    row, column = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    return (int(column) + 0.5) / heatmap.shape[1], (int(row) + 0.5) / heatmap.shape[0]


def pointing_game(
    records: Sequence[Record], boxes: Sequence[Box], folder: Path, root: Path
) -> dict[str, Any]:
    """Hit rate and chance of each finding, over the boxes whose image is among `records`.

    `folder` holds the chest stage; `root` is what the boxes' files are relative to.
    """
    card = load_card(folder)
    head = read_head(folder, card)
    runtime = OnnxRuntime(folder, card, 2)
    spec = InputSpec(card.input_px, *card.channel_statistics[0])
    wanted = {str(r.path) for r in records}
    hits: dict[str, list[bool]] = {}
    chance: dict[str, list[float]] = {}
    for box in boxes:
        if str(root / box.file) not in wanted or box.finding not in card.label_names:
            continue
        batch = to_input(read_gray(root / box.file), spec)[None]
        _, features = runtime.run(batch, features=True)
        if features is None:
            continue
        row = head[card.label_names.index(box.finding)]
        hits.setdefault(box.finding, []).append(box.holds(*peak(grad_cam(features[0], row))))
        chance.setdefault(box.finding, []).append(box.area)
    return {
        finding: {**rate(np.array(found)), "chance": rounded(float(np.mean(chance[finding])))}
        for finding, found in sorted(hits.items())
    }
