"""Hypothesis drives accept / claim / crash / duplicate / expire / complete in any order (I1-I3)."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import func, select, update

from pipeline import db
from pipeline.flow import PREPARE, Step
from pipeline.records import claims, intake, overdue
from pipeline.records.claims import Claim, Outcome
from pipeline.records.intake import Nudge
from pipeline.settings import Settings
from pipeline.states import TERMINAL, Priority, State
from pipeline.tables import images, stage_runs
from pipeline.uid import new_id

CAP = 3
LEASE_S = 60.0
WALK = {
    PREPARE: Step(State.PREPARED, "gate"),
    "gate": Step(State.GATED, "type"),
    "type": Step(State.DONE),
}


class Core(RuleBasedStateMachine):
    """Messages are a bag that may lose, double and reorder; workers may die or fall asleep."""

    messages = Bundle("messages")
    hands = Bundle("hands")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        config = Settings(data_dir=Path(self.folder.name))
        db.upgrade(config)
        self.engine = db.open_engine(config.database)
        self.job = intake.open_job(self.engine, "api", Priority.ROUTINE)
        self.accepted: set[str] = set()
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        self.heal()
        with self.engine.connect() as connection:
            left = select(func.count()).where(images.c.stage.is_not(None))
            assert connection.execute(left).scalar_one() == 0, "I1: an image never ended"
        self.engine.dispose()
        self.folder.cleanup()

    @rule(target=messages, count=st.integers(1, 3))
    def accept(self, count: int) -> Nudge:
        arrivals = [intake.Arrival(new_id(), "x", sha256="0" * 64) for _ in range(count)]
        _, (nudge,) = intake.admit(self.engine, self.job, arrivals, PREPARE, 16, LEASE_S)
        self.accepted |= {arrival.id for arrival in arrivals}
        return nudge

    @rule(target=hands, nudge=messages)  # not consumed: a message may be delivered any number
    def deliver(self, nudge: Nudge) -> tuple[str, list[Claim]]:
        held = claims.claim(self.engine, nudge.stage, nudge.image_ids, LEASE_S, "w", CAP)
        return nudge.stage, held

    @rule(target=messages, hand=consumes(hands), again=st.booleans())
    def complete(self, hand: tuple[str, list[Claim]], again: bool) -> Nudge:
        nudges = self._complete(*hand)
        if again:  # the same worker writes the same once more
            assert self._complete(*hand) == []
        return nudges[0] if nudges else Nudge("none", PREPARE, 3, [])

    @rule(hand=consumes(hands))
    def crash(self, hand: tuple[str, list[Claim]]) -> None:
        """The worker is gone; its claims stay until the lease ends."""

    @rule(hand=consumes(hands))
    def fail(self, hand: tuple[str, list[Claim]]) -> None:
        stage, held = hand
        claims.fail(self.engine, stage, [(claim, "broken") for claim in held], CAP, 0.0)

    @rule(hand=consumes(hands))
    def give_back(self, hand: tuple[str, list[Claim]]) -> None:
        claims.release(self.engine, hand[1], 0.0, "storage is away")

    @rule()
    def expire(self) -> None:
        """Time passes: every lease and every due date is over."""
        past = db.now_s() - 1
        leases = update(images).where(images.c.lease_until.is_not(None)).values(lease_until=past)
        due = update(images).where(images.c.due_at.is_not(None)).values(due_at=past)
        db.write(self.engine, lambda c: (c.execute(leases), c.execute(due)))

    @rule(target=messages)
    def reconcile(self) -> Nudge:
        found = overdue.scan(self.engine, LEASE_S, CAP, 16, lambda *_: True)
        return found.nudges[0] if found.nudges else Nudge("none", PREPARE, 3, [])

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        with self.engine.connect() as connection:
            rows = connection.execute(select(images)).all()
            runs = connection.execute(
                select(stage_runs.c.image_id, stage_runs.c.stage, stage_runs.c.model_version)
            ).all()
        assert {row.id for row in rows} == self.accepted, "I2"
        assert len(set(runs)) == len(runs), "I3"
        for row in rows:
            terminal = row.state in TERMINAL
            assert terminal == (row.stage is None), "I1: terminal means: waits for nothing"
            assert row.attempts <= CAP, "the cap holds"
            if terminal:  # and stays what it is
                assert self.ended.setdefault(row.id, row.state) == row.state, "I1"

    def heal(self) -> None:
        """What the reconciler and good workers do until all is quiet; bounded."""
        for _ in range(CAP * len(WALK) + 2):
            self.expire()
            for nudge in overdue.scan(self.engine, LEASE_S, CAP, 16, lambda *_: True).nudges:
                self.complete_one(nudge)

    def complete_one(self, nudge: Nudge) -> None:
        held = claims.claim(self.engine, nudge.stage, nudge.image_ids, LEASE_S, "w", CAP)
        for following in self._complete(nudge.stage, held):
            self.complete_one(following)

    def _complete(self, stage: str, held: list[Claim]) -> list[Nudge]:
        run = {
            "model_version": "v1",
            "scores": {},
            "operating_point": "balanced",
            "wait_ms": 0.0,
            "compute_ms": 0.0,
            "worker": "w",
        }
        outcomes = [Outcome(claim, WALK[stage], run=run) for claim in held]
        return claims.complete(self.engine, stage, outcomes, 16, LEASE_S)


TestCore = Core.TestCase
TestCore.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
)
