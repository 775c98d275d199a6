"""`xraytriage up`: the whole stack on this machine, in the foreground."""

from typing import Annotated

import typer

from pipeline.commands.options import DataDir, DeviceWord, settings_of

Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the API.  [default: a free one]")
]
DicomPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Take studies by DICOM C-STORE on this port; 0 takes a free one.  [default: off]",
        show_default=False,
    ),
]
WithFlower = Annotated[bool, typer.Option(help="Start Flower, the monitor of the queues.")]
FlowerPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of Flower.  [default: a free one]")
]


def up(
    data_dir: DataDir = None,
    port: Port = None,
    dicom_port: DicomPort = None,
    flower: WithFlower = True,
    flower_port: FlowerPort = None,
    device: DeviceWord = None,
) -> None:
    """Start broker, storage, API, workers, reconciler and Flower; stop with Ctrl-C.

    Servers that XRAYTRIAGE_BROKER_URL, XRAYTRIAGE_S3_ENDPOINT or XRAYTRIAGE_DATABASE_URL name are
    used instead of the embedded ones. Nothing is downloaded and no root is needed.

    \b
    Examples:
      xraytriage up
      xraytriage up --data-dir /srv/xray --port 8080
      xraytriage up --dicom-port 11112
      XRAYTRIAGE_BROKER_URL=redis://redis:6379/0 xraytriage up --no-flower

    Exit code: 0 after Ctrl-C or SIGTERM, 1 when a part does not start or stay
    up, 2 for wrong usage and when a stack runs on that directory already.
    """
    from pipeline import embedded

    settings = settings_of(
        data_dir, port=port, flower_port=flower_port, dicom_port=dicom_port, device=device
    )
    raise typer.Exit(embedded.up(settings, flower=flower))
