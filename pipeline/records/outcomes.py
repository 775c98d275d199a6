"""What a worker holds, what became of it, and the rows that this makes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    ClauseElement,
    Connection,
    Dialect,
    Float,
    Table,
    Text,
    bindparam,
    null,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.db import now_s
from pipeline.flow import Step
from pipeline.records.among import Texts, among
from pipeline.records.statement import Encoded, Statement
from pipeline.tables import findings, images, stage_runs


@dataclass(frozen=True, slots=True)
class Claim:
    """One image in a worker's hand."""

    image_id: str
    token: int
    attempts: int
    priority: int
    original: str | None
    prepared: str | None
    wait_ms: float
    job_id: str
    header: str | None = None
    """JSON: the kept facts of the file's header."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one claimed image: where it goes, and the rows that say why."""

    claim: Claim
    step: Step
    facts: dict[str, Any] = field(default_factory=dict)
    """Columns of `Image` that this stage learned."""
    run: dict[str, Any] | None = None
    """Columns of `StageRun`, without `image_id`."""
    findings: Sequence[dict[str, Any]] = ()
    """Columns of `Finding`, without what `run` says already."""
    sealed: bytes | None = None
    """Whose image it is, where the settings keep that; see `pipeline.identity`."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """Rows of a chunk's outcomes, encoded: what is left to do holds up nobody for long."""

    rows: Sequence[tuple[Statement, list[Encoded]]]

    def write(self, connection: Connection) -> None:
        """Carry the statements out, in the caller's transaction."""
        for statement, rows in self.rows:
            statement.run(connection, rows)


def runs(dialect: Dialect, stage: str, outcomes: Sequence[Outcome]) -> Encodings:
    """Results and findings. Where the same version has answered before, that answer stands."""
    ran = [
        {"image_id": o.claim.image_id, "stage": stage, **_NO_RUN, **o.run}
        for o in outcomes
        if o.run is not None
    ]
    shown = [
        {
            "image_id": o.claim.image_id,
            "stage": stage,
            "model_version": o.run["model_version"],
            **_NO_FINDING,
            **finding,
        }
        for o in outcomes
        if o.run is not None
        for finding in o.findings
    ]
    return Encodings(
        [
            (statement, statement.encode(dialect, rows))
            for statement, rows in ((_RUN, ran), (_FINDING, shown))
            if rows
        ]
    )


def moves(dialect: Dialect, outcomes: Sequence[Outcome], lease_s: float) -> Encodings:
    """The images' own rows: where they go and what was learned of them."""
    # Most images of a chunk go the same way and learn the same: those are moved together.
    alike: dict[tuple[Step, str], tuple[Outcome, list[str]]] = {}
    for outcome in outcomes:
        key = outcome.step, repr(outcome.facts) if outcome.facts else ""
        alike.setdefault(key, (outcome, []))[1].append(outcome.claim.image_id)
    grouped: dict[Statement, list[dict[str, Any]]] = defaultdict(list)
    for outcome, ids in alike.values():
        step = outcome.step
        values = {"ids": ids, "state": step.state, **outcome.facts}
        values |= {"reason_code": step.reason_code, "reason": step.reason}
        if step.stage is not None:
            values |= {"stage": step.stage, "lease_s": lease_s}
        grouped[_move(step.stage is not None, tuple(outcome.facts))].append(values)
    return Encodings([(s, s.encode(dialect, rows)) for s, rows in grouped.items()])


@cache
def _move(goes_on: bool, facts: tuple[str, ...]) -> Statement:
    """Moves images to one place; `facts` names the columns that are learned of them."""
    columns = {name: images.c[name].type for name in ("state", "reason_code", "reason", *facts)}
    changes: dict[str, Any] = {n: bindparam(n, type_=kind) for n, kind in columns.items()}
    changes |= {"lease_until": null(), "attempts": 0, "last_error": null()}
    if goes_on:
        changes |= {
            "stage": bindparam("stage", type_=Text),
            "queued_at": now_s(),
            "due_at": now_s() + bindparam("lease_s", type_=Float),
            "finished_at": null(),
        }
    else:
        changes |= {"stage": null(), "due_at": null(), "finished_at": now_s()}
    chosen = among(images.c.id, bindparam("ids", type_=Texts()))
    return Statement(lambda _: update(images).where(chosen).values(changes))


def _added(table: Table, timed: Sequence[str] = ()) -> Statement:
    """Adds rows to a table; those that are there already stay as they are."""
    columns: dict[str, Any] = {
        column.name: bindparam(column.name, type_=column.type)
        for column in table.columns
        if column.name not in timed
    }
    columns |= {name: now_s() for name in timed}

    def make(dialect: Dialect) -> ClauseElement:
        insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        return insert(table).values(columns).on_conflict_do_nothing()

    return Statement(make)


def _unknown(table: Table) -> dict[str, None]:
    return {column.name: None for column in table.columns if column.nullable}


_RUN, _NO_RUN = _added(stage_runs, ("created_at",)), _unknown(stage_runs)
_FINDING, _NO_FINDING = _added(findings), _unknown(findings)
