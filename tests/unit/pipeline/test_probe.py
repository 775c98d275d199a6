"""What a health check costs; whether it is right is asked at a real broker."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.probe import FRONTS, LOOPS
from pipeline.pulse import Pulse
from pipeline.settings import Settings

HEAVY = ("alembic", "celery", "numpy", "redis", "sqlalchemy")
LOOK = """
import sys
from pipeline import cli
try:
    cli.app()
finally:
    print([name for name in {heavy} if name in sys.modules])
"""


@pytest.mark.parametrize("role", [*FRONTS, *LOOPS, "gate"])
def test_a_look_at_what_moves_loads_no_client_of_a_server(role: str, tmp_path: Path) -> None:
    Pulse(Settings(pulse_dir=tmp_path), role).move()
    env = {"XRAYTRIAGE_PULSE_DIR": str(tmp_path), "XRAYTRIAGE_PORT": "9"}
    said = subprocess.run(
        [sys.executable, "-c", LOOK.format(heavy=HEAVY), "probe", role],
        env={**env, "XRAYTRIAGE_FLOWER_PORT": "9"},
        capture_output=True,
        text=True,
    )
    found = "no answer on port 9" if role in FRONTS else "ok"
    assert said.stdout.splitlines() == [f"{role}: {found}", "[]"], said.stderr
