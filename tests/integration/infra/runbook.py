"""The commands of docs/operations.md, done as they are written; only Docker is a stand-in."""

import re
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from tests.integration.infra.compose import ROOT

RUNBOOK = ROOT / "docs/operations.md"


class Place(Protocol):
    """Where services run."""

    def beside(self, service: str) -> list[str]:
        """The words before a command that runs beside a service."""
        ...

    def anew(self, service: str, command: Sequence[str]) -> list[str]:
        """The words that run a command in a new container of a service."""
        ...

    def stop(self, service: str) -> int:
        """End a service; returns its exit code."""
        ...

    def up(self, *services: str) -> None:
        """Start these, and what they need."""
        ...


def section(heading: str) -> str:
    """The text below a heading of the runbook."""
    parts = re.split(r"^##+ ", RUNBOOK.read_text(), flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f"{heading}\n"))
    return found


def commands(heading: str) -> list[str]:
    """The `docker compose` lines of a section, in their order."""
    whole = section(heading).replace("\\\n", "")
    return re.findall(r"^ *\$ (docker compose .+)$", whole, re.MULTILINE)


def follow(line: str, place: Place, folder: Path, everything: Sequence[str] = ()) -> None:
    """Do one line; `everything` is what a bare `up` starts. Files lie in `folder`."""
    words = shlex.split(line)
    with ExitStack() as files:
        streams = {}
        for sign, stream, mode in (("<", "stdin", "rb"), (">", "stdout", "wb")):
            if sign in words:
                at = words.index(sign)
                streams[stream] = files.enter_context((folder / words[at + 1]).open(mode))
                del words[at : at + 2]
        match words[2:]:
            case ["stop", *services]:
                assert [place.stop(service) for service in services] == [0] * len(services)
            case ["start", *services]:
                place.up(*services)
            case ["up", "--detach", "--wait"]:
                place.up(*everything)
            case ["exec", "-T", service, *command] | ["exec", service, *command]:
                subprocess.run([*place.beside(service), *command], check=True, **streams)
            case ["run", "--rm", "-T", "--no-deps", "--entrypoint", program, service, *rest]:
                subprocess.run(place.anew(service, [program, *rest]), check=True, **streams)
            case other:
                raise AssertionError(f"nobody here can do {other}")
