"""Print what an image needs before our own code is copied, so that its layer outlives code changes.

    python requirements.py [EXTRA]

The dependencies of pyproject.toml, or those of one extra.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = project["optional-dependencies"][sys.argv[1]] if sys.argv[1:] else project["dependencies"]
print("\n".join(wanted))
