"""What a stage is and where it stands in the flow. Learned facts live in the card instead."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

WEIGHTS_ROOT = Path(__file__).parent / "weights"
"""Where the weights of the built-in stages lie: `<WEIGHTS_ROOT>/<spec.weights>/card.json`."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: after which answer of which parent it runs, and what its own answer means.

    Three rules give the walk of an image:

    - the root (`after` is None) runs first;
    - once a stage has answered, an answer that is a key of `refuses` ends the image as
      `rejected` with that reason code;
    - otherwise the child whose `on` equals the answer runs next, and the image is in state
      `completes` meanwhile; where no child fits, the image is `done`.
    """

    name: str
    """Unique; also the suffix of the queue, the task and the route."""
    weights: str
    """Folder with `card.json` and the weights: absolute, or relative to `WEIGHTS_ROOT`."""
    after: str | None = None
    """Name of the parent stage; None for the root."""
    on: str | None = None
    """The answer of the parent on which this stage runs; None for the root."""
    completes: str = "done"
    """State of the image when this stage has answered and a child follows or is not needed."""
    refuses: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Answer -> reason code with which the image ends as `rejected`."""

    @property
    def weights_dir(self) -> Path:
        """The folder of the weights, absolute."""
        return WEIGHTS_ROOT / self.weights
