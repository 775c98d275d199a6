"""`xraytriage doctor`: what is misconfigured, and how to mend it."""

import json
from dataclasses import asdict

import typer

from pipeline.commands.options import WRONG, DataDir, Json, settings_of


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Look for what keeps the stack from working, and say how to mend it.

    \b
    Examples:
      xraytriage doctor
      xraytriage doctor --json | jq '.[] | select(.ok | not)'

    Exit code: 0 when all is well, 1 when something is wrong, 2 for wrong usage.
    """
    from pipeline.doctor import checks

    found = []
    for check in checks(settings_of(data_dir)):
        found.append(check)
        if not as_json:
            typer.echo(f"{'ok ' if check.ok else 'BAD'}  {check.name}: {check.found}")
            if not check.ok and check.mend:
                typer.echo(f"     {check.mend}")
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=2))
    raise typer.Exit(0 if all(check.ok for check in found) else WRONG)
