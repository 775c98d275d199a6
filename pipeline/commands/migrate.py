"""`xraytriage migrate`: database and bucket as this version needs them."""

from typing import Annotated

import typer

from pipeline.commands.options import WRONG, DataDir, settings_of


def migrate(
    data_dir: DataDir = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; only say whether it is needed.")
    ] = False,
) -> None:
    """Bring the tables up to date and make the bucket; does nothing where both are there.

    For servers of your own; `xraytriage up` does the same for itself. Run it before the services
    of a new version start. Several at a time wait for each other.

    \b
    Examples:
      xraytriage migrate
      xraytriage migrate --check

    Exit code: 0 when all is up to date, 1 when it is not or cannot be made so, 2 for wrong usage.
    """
    from pipeline import db
    from pipeline.storage import ObjectStore

    settings = settings_of(data_dir)
    current, head = db.revisions(settings)
    if check:
        typer.echo(f"tables at {current}, code at {head}")
        raise typer.Exit(0 if current == head else WRONG)
    db.upgrade(settings)
    ObjectStore(settings).ensure_bucket()
    typer.echo(f"tables at {head} (were at {current}); bucket {settings.s3_bucket} is there")
