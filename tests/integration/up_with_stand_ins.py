"""`xraytriage up` with one stand-in for all workers: python up_with_stand_ins.py KIND.

polite: finishes its work after SIGTERM. deaf: does not hear it. broken: ends at once with an
error. forks: leaves a descendant that outlives it.
"""

import sys
from collections.abc import Iterator

from pipeline import embedded
from pipeline.embedded import programs
from pipeline.embedded.part import Part, Tier, environment
from pipeline.settings import Settings, settings

PROGRAMS = {
    "polite": """
import signal, sys, time
def finish(*_):
    print("finished its work", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
print("at work", flush=True)
while True:
    time.sleep(60)
""",
    "deaf": """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("at work", flush=True)
while True:
    time.sleep(60)
""",
    "broken": """
import sys
print("there are no weights", flush=True)
sys.exit(1)
""",
    "forks": """
import os, time
print("at work", flush=True)
child = os.fork()
while True:
    time.sleep(60)
""",
}


def stand_in(kind: str, settings: Settings) -> Iterator[Part]:
    """The part that runs instead of all workers."""
    log = settings.data_dir / "logs" / f"{kind}.log"
    yield Part(
        name=kind,
        argv=[sys.executable, "-S", "-c", PROGRAMS[kind]],
        ready=lambda: log.exists() and "at work" in log.read_text(),
        tier=Tier.WORKER,
        env=environment(settings),
        grace_s=settings.drain_s,
    )


if __name__ == "__main__":
    kind = sys.argv[1]
    programs.workers = lambda settings: stand_in(kind, settings)
    sys.exit(embedded.up(settings(), api=False, flower=False))
