"""Claims and what they end in, on the other database: the same tests, and what a chunk learns."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, select

from pipeline import db
from pipeline.flow import PREPARE
from pipeline.records import claims, intake, results
from pipeline.records.claims import Outcome
from pipeline.tables import outbox
from tests.stand_in.databases import Databases
from tests.unit.pipeline.records.test_claims import (
    LEASE_S,
    NEXT,
    admit,
    claim,
    row,
    test_a_failed_image_is_sent_alone_and_quarantined_after_the_cap,
    test_a_renewed_claim_holds_and_a_lost_one_stays_lost,
    test_a_result_is_written_once_and_a_new_version_adds_its_own,
    test_an_expired_claim_is_taken_over_and_the_sleeper_writes_nothing,
    test_completing_moves_on_and_announces_the_next_stage_in_one_commit,
)

__all__ = [
    "test_a_failed_image_is_sent_alone_and_quarantined_after_the_cap",
    "test_a_renewed_claim_holds_and_a_lost_one_stays_lost",
    "test_a_result_is_written_once_and_a_new_version_adds_its_own",
    "test_an_expired_claim_is_taken_over_and_the_sleeper_writes_nothing",
    "test_completing_moves_on_and_announces_the_next_stage_in_one_commit",
]


@pytest.fixture
def engine(postgres_databases: Databases) -> Iterator[Engine]:
    """A database with all tables."""
    with postgres_databases.fresh(migrated=True) as url:
        yield db.engine_of(url)


def test_each_image_of_a_chunk_keeps_what_was_learned_of_it(engine: Engine) -> None:
    ids = admit(engine, 3)
    facts = [
        {"width_px": n, "header": {"rows": n, "of": ["ü", None]}, "flags": None} for n in range(3)
    ]
    held = claim(engine, ids)
    done = [Outcome(h, NEXT, facts[ids.index(h.image_id)]) for h in held]
    (nudge,) = claims.complete(engine, PREPARE, done, 16, LEASE_S)
    for image_id, learned in zip(ids, facts, strict=True):
        found = row(engine, image_id)
        assert {name: found[name] for name in learned} == learned
    with engine.connect() as connection:
        announced = connection.execute(select(outbox.c.image_ids).where(outbox.c.id == nudge.id))
        assert sorted(announced.scalar_one()) == sorted(ids)
    intake.sent(engine, [nudge.id])
    assert results.unsent(engine) == 1, "that of their arrival"
