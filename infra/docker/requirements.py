"""Print what an image needs before our own code is copied, so that its layer outlives code changes.

    python requirements.py [EXTRA ...]

The dependencies of pyproject.toml and of these extras.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]
print("\n".join(sum(extras, project["dependencies"])))
