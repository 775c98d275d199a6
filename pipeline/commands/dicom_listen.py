"""`xraytriage dicom-listen`: a DICOM Storage SCP in front of servers that run."""

from typing import Annotated

import typer

from pipeline.commands.options import DataDir, settings_of
from pipeline.commands.running import open_context

Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on.  [default: 127.0.0.1]", show_default=False),
]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Port to listen on.  [default: 11112]", show_default=False),
]
Title = Annotated[
    str | None,
    typer.Option(
        help="Application entity title that peers call.  [default: XRAYTRIAGE]", show_default=False
    ),
]
Allow = Annotated[
    str | None,
    typer.Option(
        help="Calling AE titles that may send, with commas.  [default: any, on loopback only]",
        show_default=False,
    ),
]
DEFAULT_PORT = 11112
"""Registered for DICOM (PS3.8 9.1.1), and above those that need a privilege."""


def dicom_listen(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    ae_title: Title = None,
    allow: Allow = None,
) -> None:
    """Take studies by C-STORE and triage them; answer C-ECHO; stop with Ctrl-C or SIGTERM.

    Each study becomes a job, which closes when nothing came for XRAYTRIAGE_DICOM_QUIET_S seconds.
    An instance is answered with success when its bytes and rows are safe. The servers are those
    of a running `xraytriage up`, or those that the settings name.

    \b
    Examples:
      xraytriage dicom-listen
      xraytriage dicom-listen --host 0.0.0.0 --allow CT1,XRAY_ROOM_2
      storescu -aec XRAYTRIAGE 127.0.0.1 11112 chest.dcm

    Exit code: 0 after Ctrl-C or SIGTERM, 1 when it may not or cannot listen, 2 for wrong usage.
    """
    from pipeline import log
    from pipeline.dicom.listener import run
    from pipeline.dicom.peers import allowed_titles

    settings = settings_of(
        data_dir,
        dicom_host=host,
        dicom_port=port,
        dicom_ae_title=ae_title,
        dicom_calling_aets=allow,
    )
    if settings.dicom_port is None:
        settings = settings.model_copy(update={"dicom_port": DEFAULT_PORT})
    allowed_titles(settings)
    context = open_context(settings)
    log.set_up(as_json=settings.log_json)
    run(context)
