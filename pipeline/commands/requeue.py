"""`xraytriage requeue`: let the model version that runs now answer older images too."""

import re
import time
from typing import Annotated

import typer

from pipeline.commands.options import DataDir, settings_of
from pipeline.commands.running import open_context

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """Seconds of a time as people write it: 90, 45s, 30m, 12h, 7d, 2w."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise typer.BadParameter(
            f"{text!r} is no time; write 90, 45s, 30m, 12h, 7d or 2w", param_hint="--older-than"
        )
    return float(match[1]) * UNITS_S[match[2] or "s"]


Stage = Annotated[
    str, typer.Option(help="prepare, or a stage of the catalogue.", show_default=False)
]
OlderThan = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Only images that ended so long ago, as in 7d.  [default: all]",
        show_default=False,
    ),
]


def requeue(stage: Stage, older_than: OlderThan = "0", data_dir: DataDir = None) -> None:
    """Send images that have ended through a stage again; earlier results stay beside the new.

    \b
    Examples:
      xraytriage requeue --stage chest
      xraytriage requeue --stage prepare --older-than 30d

    Exit code: 0 when they are on their way, 2 for wrong usage.
    """
    from models.errors import CatalogueError
    from pipeline.flow import state_before
    from pipeline.records import intake, overdue

    before, total = time.time() - seconds(older_than), 0
    context = open_context(settings_of(data_dir))
    settings = context.settings
    try:
        state = state_before(stage, context.stages)
    except CatalogueError as error:
        raise typer.BadParameter(str(error), param_hint="--stage") from None
    for nudges in overdue.requeue(
        context.engine, stage, state, before, settings.chunk_size, settings.lease_s
    ):
        intake.sent(context.engine, context.dispatcher.publish(nudges))
        total += sum(len(nudge.image_ids) for nudge in nudges)
    typer.echo(f"{total} {'image' if total == 1 else 'images'} sent to {stage} again.")
