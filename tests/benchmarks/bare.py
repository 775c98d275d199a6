"""The plain alternative: one process, one loop, the same decoder, models, batches and cores."""

import time
from collections.abc import Sequence

from models.catalogue import STAGES
from models.heatmap import overlay, raw_png
from models.stage import load
from pipeline.image import decode


def images_per_s(files: Sequence[bytes], *, draw: bool = False) -> float:
    """Decode each file and run all three models on all of them, in batches.

    With `draw`, also draw what the pipeline draws: an overlay and a map for each finding.
    """
    stages = [load(spec) for spec in STAGES]
    size = stages[0].max_batch
    warm = [decode(data).pixels for data in files[:size]]
    for stage in stages:
        stage.predict(warm)
    begun = time.perf_counter()
    for start in range(0, len(files), size):
        batch = [decode(data).pixels for data in files[start : start + size]]
        for stage in stages:
            predictions = stage.predict(batch)
        if draw:
            for image, prediction in zip(batch, predictions, strict=True):
                for heat in prediction.heatmaps.values():
                    overlay(image, heat)
                    raw_png(heat)
    return len(files) / (time.perf_counter() - begun)
