"""`xraytriage status`: what runs, what waits, what came of the images."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from pipeline.commands.options import WRONG, DataDir, Json, settings_of
from pipeline.commands.running import open_context

if TYPE_CHECKING:
    from pipeline.context import Context


def status(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Show the parts of the stack, the queues, and the images per state.

    \b
    Examples:
      xraytriage status
      xraytriage status --json | jq .stages.chest.waiting

    Exit code: 0 when every part answers, 1 when one does not, 2 for wrong usage.
    """
    found = _status(open_context(settings_of(data_dir)))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found)
    raise typer.Exit(0 if all(part["ok"] for part in found["parts"]) else WRONG)


def _status(context: "Context") -> dict[str, Any]:
    from pipeline.flow import PREPARE
    from pipeline.records import results

    waiting = results.waiting(context.engine)
    with context.engine.connect() as connection:
        counts = results.counts(connection)
    stages = (PREPARE, *(stage.name for stage in context.stages))
    queues = {stage: waiting.get(stage, (0, 0.0)) for stage in (*stages, *sorted(waiting))}
    return {
        "parts": [*_servers(context), *_children(context)],
        "addresses": _addresses(context),
        "stages": {
            stage: {"waiting": count, "oldest_s": round(age_s, 1)}
            for stage, (count, age_s) in queues.items()
        },
        "images": {state.value: count for state, count in counts.items()},
        "unsent_messages": results.unsent(context.engine),
    }


def _servers(context: "Context") -> Iterator[dict[str, Any]]:
    """Whether broker and storage answer; the database has answered already."""
    from pipeline.dispatch import BrokerUnavailable
    from pipeline.storage import ObjectStore, StorageError

    settings = context.settings
    for name, address in (("broker", settings.broker_url), ("storage", settings.s3_endpoint)):
        if address is None:
            yield _part(name, False, "not running; start the stack with `xraytriage up`")
            continue
        try:
            if name == "broker":
                context.dispatcher.ping()
            else:
                # One short try: who asks for the status wants an answer, not patience.
                hasty = settings.model_copy(update={"s3_attempts": 1, "s3_timeout_s": 2.0})
                ObjectStore(hasty).ensure_bucket()
        except (BrokerUnavailable, StorageError) as error:
            yield _part(name, False, str(error))
        else:
            yield _part(name, True, "answers")


def _children(context: "Context") -> Iterator[dict[str, Any]]:
    """The programs of an embedded stack, as it recorded them itself."""
    from pipeline.embedded import record

    found = record.read(context.settings.data_dir)
    if found is None or not found.running:
        return
    for child in found.children:
        words = f"process {child.pid}" if child.alive else "not alive"
        address = found.addresses.get(child.name)
        yield _part(child.name, child.alive, f"{words}, {address}" if address else words)


def _addresses(context: "Context") -> dict[str, str]:
    """Part -> where a person finds it, of a stack that runs here."""
    from pipeline.embedded import record

    found = record.read(context.settings.data_dir)
    return found.addresses if found is not None and found.running else {}


def _part(name: str, is_ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": is_ok, "detail": detail}


def _print(found: dict[str, Any]) -> None:
    for part in found["parts"]:
        typer.echo(f"{'ok ' if part['ok'] else 'BAD'}  {part['name']:<12} {part['detail']}")
    typer.echo()
    for stage, queue in found["stages"].items():
        oldest = f", oldest {queue['oldest_s']:,.0f} s" if queue["waiting"] else ""
        typer.echo(f"{stage:<12} {queue['waiting']:>8,} waiting{oldest}")
    typer.echo()
    for state, count in found["images"].items():
        typer.echo(f"{state:<12} {count:>8,} {'image' if count == 1 else 'images'}")
    if found["unsent_messages"]:
        typer.echo(f"{found['unsent_messages']:,} messages still have to be sent to the broker")
