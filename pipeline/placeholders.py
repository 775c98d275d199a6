"""Refuse a secret that still is what the example says: `python -m pipeline.placeholders`.

For secrets that are not ours. A database that was made with a placeholder keeps it as its
password, whatever is put in its place later; so this runs before any server does.
"""

import os
import sys
from collections.abc import Mapping

from pipeline.settings import PLACEHOLDER


def refused(environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that hold a placeholder."""
    return sorted(name for name, value in environment.items() if PLACEHOLDER in value.lower())


def main() -> None:
    """Exit with 1 and the names, never the values, where there are any."""
    if names := refused(os.environ):
        sys.exit(f"error: still {PLACEHOLDER}: {', '.join(names)}; put values of your own there")


if __name__ == "__main__":
    main()
