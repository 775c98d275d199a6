"""`python -m models.training`: train, evaluate, calibrate."""

from __future__ import annotations

import sys

from models.errors import ModelError
from models.training.cli import run
from models.training.errors import TrainingError


def main() -> int:
    """Run the command line; 1 with the error's words when something is wrong."""
    try:
        run()
    except (TrainingError, ModelError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
