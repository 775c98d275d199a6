"""`xraytriage probe`: what an orchestrator asks a service that serves no HTTP."""

from typing import Annotated

import typer

from pipeline.commands.options import WRONG, settings_of


def probe(
    service: Annotated[
        str,
        typer.Argument(
            help="api, flower, reconcile, dicom-listen, dicom-send, prepare or a stage; several "
            "stages of one process joined by -, as in gate-type-chest."
        ),
    ],
) -> None:
    """Say whether a service of this host or container makes progress.

    A worker is in trouble when a chunk in its hand has not moved for minutes, or when messages
    wait and it takes none. A broker that does not answer is not the worker's trouble. All but api
    and flower leave marks in the folder that XRAYTRIAGE_PULSE_DIR names.

    \b
    Examples:
      xraytriage probe chest
      xraytriage probe api

    Exit code: 0 when it makes progress or has nothing to do, 1 when it does not, 2 for wrong
    usage.
    """
    from pipeline.probe import trouble

    found = trouble(settings_of(None), service)
    typer.echo(f"{service}: {found or 'ok'}")
    raise typer.Exit(WRONG if found else 0)
