"""`xraytriage quarantine`: images that failed too often and wait for a person."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import USAGE, WRONG, DataDir, Json, settings_of
from pipeline.commands.running import open_context

if TYPE_CHECKING:
    from pipeline.context import Context
    from pipeline.records.results import ImageView

quarantine = typer.Typer(
    no_args_is_help=True,
    help="""Images that failed too often and are kept for a person.

    \b
    Examples:
      xraytriage quarantine list
      xraytriage quarantine show 0199…
      xraytriage quarantine retry --all
      xraytriage quarantine discard 0199…

    Exit code: 0 done, 1 when there is no such image, 2 for wrong usage.
    """,
)

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids of images.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All images in quarantine.")]
Limit = Annotated[int, typer.Option(min=1, help="Show the latest so many.")]

AT_ONCE = 500


@quarantine.command("list")
def list_(limit: Limit = 100, data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the images, the latest first."""
    from pipeline.records.quarantine import listed

    views = listed(open_context(settings_of(data_dir)).engine, limit)
    if as_json:
        typer.echo(json.dumps([_facts(view) for view in views], indent=2, ensure_ascii=False))
        return
    for view in views:
        facts = _facts(view)
        typer.echo(f"{facts['id']}  {facts['stopped_at'] or '?':<10} {facts['path']}")
        typer.echo(f"    {facts['reason']}")
    if not views:
        typer.echo("The quarantine is empty.")


@quarantine.command()
def show(
    image_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Show everything known of one image, as JSON."""
    from pipeline.records.quarantine import shown
    from pipeline.reports.tables import record

    view = shown(open_context(settings_of(data_dir)).engine, image_id)
    if view is None:
        typer.echo(f"There is no image {image_id} in quarantine.", err=True)
        raise typer.Exit(WRONG)
    typer.echo(json.dumps(record(view), indent=2, ensure_ascii=False))


@quarantine.command()
def retry(ids: Ids = None, everything: All = False, data_dir: DataDir = None) -> None:
    """Send images to the stage they stopped at once more, each alone."""
    from pipeline.records import quarantine as records

    context = open_context(settings_of(data_dir))
    done = 0
    for some in _chosen(context, ids, everything):
        done += records.retry(context, some)
    _close(done, "sent again")


@quarantine.command()
def discard(ids: Ids = None, everything: All = False, data_dir: DataDir = None) -> None:
    """Give images up: they end as rejected, with that reason."""
    from pipeline.records import quarantine as records

    context = open_context(settings_of(data_dir))
    done = 0
    for some in _chosen(context, ids, everything):
        done += records.discard(context.engine, some)
    _close(done, "discarded")


def _chosen(context: "Context", ids: list[str] | None, everything: bool) -> list[list[str]]:
    """The ids that were named, or all of them, in groups small enough for one statement."""
    from pipeline.records.quarantine import listed

    if bool(ids) == everything:
        typer.echo("Name the images by their ids, or give --all.", err=True)
        raise typer.Exit(USAGE)
    if everything:
        # One at a time out of a quarantine of any size: ids only, nothing of the images.
        ids = [view.row["id"] for view in listed(context.engine, limit=2**31 - 1)]
    named = ids or []
    return [named[start : start + AT_ONCE] for start in range(0, len(named), AT_ONCE)]


def _close(done: int, what: str) -> None:
    typer.echo(f"{done} {'image' if done == 1 else 'images'} {what}.")
    raise typer.Exit(0 if done else WRONG)


def _facts(view: "ImageView") -> dict[str, Any]:
    row = view.row
    return {
        "id": row["id"],
        "job_id": row["job_id"],
        "path": row["name"],
        "stopped_at": row["stopped_at"],
        "reason_code": row["reason_code"],
        "reason": row["reason"],
        "last_error": row["last_error"],
    }
