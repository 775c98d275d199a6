"""The command `xraytriage`: assembles `pipeline.commands` and turns errors into words."""

import signal
import sys
from typing import Annotated

import typer

from pipeline.commands import (
    demo,
    dicom_listen,
    dicom_send,
    doctor,
    migrate,
    models,
    probe,
    quarantine,
    requeue,
    screen,
    stages,
    status,
    up,
    verify,
    version,
)

app = typer.Typer(
    name="xraytriage",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command explains itself: xraytriage COMMAND --help. Not a medical device.",
)


@app.callback()
def _xraytriage(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=version.show, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Triage X-ray images: is it an X-ray, of what, is it abnormal, where.

    \b
    To begin:
      xraytriage doctor                  is everything in place?
      xraytriage screen samples/images   read xraytriage-results/report.html afterwards
      xraytriage up                      run it as a service with an HTTP API

    Settings are environment variables XRAYTRIAGE_…; exit codes are 0 for success, 1 when
    something is wrong, 2 for wrong usage.
    """


app.command(short_help="See it work on the sample images.")(demo.demo)
app.command(short_help="Run the whole stack on this machine, in the foreground.")(up.up)
app.command("dicom-listen", short_help="Take studies by DICOM C-STORE.")(dicom_listen.dicom_listen)
app.command("dicom-send", short_help="Send results of studies back by DICOM.")(
    dicom_send.dicom_send
)
app.command(
    short_help="Screen folders and zips; write tables and a report.", epilog=screen.EXAMPLES
)(screen.screen)
app.command(short_help="Show what runs, what waits, and the images per state.")(status.status)
app.command(short_help="Show the stages and their model cards.")(stages.stages)
app.command(short_help="Find what is misconfigured, and how to mend it.")(doctor.doctor)
app.command(short_help="Bring database and bucket up to date.")(migrate.migrate)
app.command(short_help="Say whether a service makes progress.")(probe.probe)
app.command(short_help="Check that nothing was lost, doubled or damaged.")(verify.verify)
app.command(short_help="Send ended images through a stage again.")(requeue.requeue)
app.add_typer(quarantine.quarantine, name="quarantine", short_help="Images kept for a person.")
app.add_typer(models.models, name="models", short_help="Bring your own weights.")


def main() -> None:
    """Run the command line; a known trouble becomes one line and exit code 1."""
    # Until a command has something to stop and a handler of its own.
    signal.signal(signal.SIGINT, _stop)
    try:
        app()
    except Exception as error:
        words = _words(error)
        if words is None:
            raise
        typer.echo(f"Error: {words}", err=True)
        sys.exit(1)


def _stop(*_: object) -> None:
    typer.echo("Stopped.", err=True)
    sys.exit(1)


def _words(error: Exception) -> str | None:
    """The words of an error that says all that its trace would; None for any other."""
    from sqlalchemy.exc import DBAPIError

    from models.errors import ModelError
    from pipeline.delivery import NoDestinationError
    from pipeline.dicom.peers import ListenerError
    from pipeline.dispatch import BrokerUnavailable
    from pipeline.embedded import MissingServerError, StackError
    from pipeline.storage import StorageError

    if isinstance(error, DBAPIError):
        return f"the database says: {error.orig}"
    stack = (StackError, MissingServerError)
    known = (
        NoDestinationError,
        ListenerError,
        ModelError,
        StorageError,
        BrokerUnavailable,
        OSError,
        *stack,
    )
    return str(error) if isinstance(error, known) else None
