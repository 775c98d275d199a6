"""`xraytriage verify`: are the promises kept, over the whole database and storage?"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import WRONG, DataDir, Json, settings_of
from pipeline.commands.running import for_one_run, require_database

if TYPE_CHECKING:
    from pipeline.verify import Violation


def verify(
    settled: Annotated[
        bool, typer.Option("--settled", help="An image still on its walk is wrong too.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Check every image, every count and the checksum of every stored object.

    Where no stack runs, its servers (no workers) are started for the check.

    \b
    The promises:
      I1  every image is on its walk, or ended once and with its reason
      I2  the counts add up
      I3  at most one result for each image, stage and model version
      I4  every object that a row names is there and its sha256 matches

    \b
    Examples:
      xraytriage verify
      xraytriage verify --settled --json

    Exit code: 0 when all promises hold, 1 when one is broken, 2 for wrong usage.
    """
    from rich.console import Console

    from pipeline.context import Context
    from pipeline.verify import violations

    settings = settings_of(data_dir)
    require_database(settings)
    with for_one_run(settings, Console(stderr=True), workers=False) as reached:
        context = Context.open(reached.settings)
        # A storage that is away altogether is not a thousand lost objects.
        context.store.ensure_bucket()
        broken = _print(violations(context, settled=settled), as_json)
    raise typer.Exit(WRONG if broken else 0)


def _print(found: "Iterator[Violation]", as_json: bool) -> int:
    broken = 0
    for violation in found:
        broken += 1
        if as_json:  # one a line: there may be very many
            typer.echo(json.dumps(asdict(violation)))
        else:
            typer.echo(f"{violation.promise}  {violation.where}  {violation.what}")
    if not as_json:
        typer.echo(f"{broken} broken." if broken else "All promises hold.")
    return broken
