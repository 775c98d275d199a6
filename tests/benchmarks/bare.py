"""The plain alternative: one process, one loop, the same decoder, models, batches and cores."""

import time
from collections.abc import Sequence

from models.catalogue import STAGES
from models.heatmap import layer, raw_png
from models.stage import load
from pipeline.image import decode


class Loop:
    """Decodes files and runs all three models on all of them, in batches."""

    def __init__(self, warm: Sequence[bytes]) -> None:
        """Load the models, and let each answer once."""
        self._stages = [load(spec) for spec in STAGES]
        self._batch = self._stages[0].max_batch
        self.seconds(warm[: self._batch])

    def seconds(self, files: Sequence[bytes], *, draw: bool = False) -> float:
        """How long all files take.

        With `draw`, also draw what the pipeline draws: a layer and a map for each finding.
        """
        begun = time.perf_counter()
        for start in range(0, len(files), self._batch):
            batch = [decode(data).pixels for data in files[start : start + self._batch]]
            for stage in self._stages:
                predictions = stage.predict(batch)
            if draw:
                for image, prediction in zip(batch, predictions, strict=True):
                    for heat in prediction.heatmaps.values():
                        layer(heat, image.shape)
                        raw_png(heat)
        return time.perf_counter() - begun
