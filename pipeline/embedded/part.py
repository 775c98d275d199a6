"""A part of the stack: a program, and how one sees that it serves."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import pipeline
from pipeline.settings import Settings

PREFIX = "XRAYTRIAGE_"


class Tier(IntEnum):
    """Which parts stop together, in this order; they start in the opposite one."""

    WORKER = 0
    FRONT = 1
    SERVER = 2


@dataclass(frozen=True, slots=True)
class Part:
    """One program of the stack."""

    name: str
    """Also the name of its log."""
    argv: Sequence[str]
    ready: Callable[[], bool]
    """One look, well under a second; raises nothing."""
    tier: Tier
    env: Mapping[str, str] = field(default_factory=dict)
    ready_s: float = 120.0
    """A start that takes longer counts as failed."""
    grace_s: float = 10.0
    """Between SIGTERM and SIGKILL."""
    vital: bool = True
    """Whether the stack ends when the part cannot be kept alive."""
    address: str = ""
    """Where a person finds it, if anywhere."""
    litter: Sequence[Path] = ()
    """What it leaves outside the data folder when it is killed."""


def environment(settings: Settings) -> dict[str, str]:
    """The variables of a child: ours, with every setting spelled out, and this same code."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name, value in settings.model_dump(mode="json").items():
        if value is not None:
            env[PREFIX + name.upper()] = str(value)
    code = str(Path(pipeline.__file__).parents[1])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [code, env.get("PYTHONPATH")]))
    env["PYTHONUNBUFFERED"] = "1"
    return env
