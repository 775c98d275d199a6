"""`xraytriage dicom-send`: results of studies, back to the hospital."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import DataDir, settings_of
from pipeline.commands.running import open_context

if TYPE_CHECKING:
    from pipeline.delivery import Sender


To = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="dimse://AET@host:port or http(s)://host/dicom-web.  "
        "[default: $XRAYTRIAGE_DICOM_DESTINATION]",
        show_default=False,
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Send what is due now, then end.")]
Again = Annotated[
    str | None,
    typer.Option(
        metavar="JOB",
        help="Send what of this job is not delivered, then end.",
        show_default=False,
    ),
]
RecordOf = Annotated[
    str | None, typer.Option(metavar="JOB", help="Show this job's deliveries, send nothing.")
]


def dicom_send(
    data_dir: DataDir = None,
    to: To = None,
    once: Once = False,
    again: Again = None,
    record: RecordOf = None,
) -> None:
    """Send the report and heatmaps of each study that came by C-STORE or STOW-RS and has ended.

    By C-STORE or STOW-RS, with growing pauses between tries; what became of each instance is
    recorded. `xraytriage up` runs this by itself where the destination is set.

    \b
    Examples:
      xraytriage dicom-send --to dimse://PACS@10.0.0.5:104
      xraytriage dicom-send --to https://pacs.example.org/dicom-web --once
      xraytriage dicom-send --record 0660e59eaf0545dcac80bff756b715c1

    Exit code: 0; 1 when there is no destination, or when --once or --again left something
    undelivered; 2 for wrong usage.
    """
    from pipeline import delivery, log
    from pipeline.records import deliveries

    settings = settings_of(data_dir, dicom_destination=to)
    context = open_context(settings)
    if record is not None:
        _show(deliveries.of_job(context.engine, record))
        return
    log.set_up(as_json=settings.log_json)
    if again is None and not once:
        delivery.serve(context)
        return
    _send(delivery.Sender(context), again)
    waiting = deliveries.counts(context.engine).get(deliveries.Delivered.WAITING, 0)
    raise typer.Exit(1 if waiting else 0)


def _send(sender: "Sender", again: str | None) -> None:
    if again is not None:
        typer.echo(f"{sender.again(again)} to send")
    sender.once()


def _show(rows: list[dict[str, object]]) -> None:
    for row in rows:
        words = [row["state"], f"attempts={row['attempts']}", row["sop_instance_uid"]]
        words += [f"to={row['destination']}", row["last_error"] or ""]
        typer.echo(" ".join(str(word) for word in words).rstrip())
    typer.echo(f"{len(rows)} {'instance' if len(rows) == 1 else 'instances'}")
