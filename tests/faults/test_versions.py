"""Two model versions side by side, and a new version that answers again what is done."""

from collections import Counter

import pytest
from sqlalchemy import select

from pipeline.db import now_s
from pipeline.flow import state_before
from pipeline.records import intake, overdue
from pipeline.tables import stage_runs
from tests.faults.conftest import NewPlant
from tests.faults.pictures import expected, number_of, told
from tests.faults.plant import Plant
from tests.faults.servers import wait_until

pytestmark = pytest.mark.faults

OLD, NEW = "1.0.0+00000000", "2.0.0+00000000"
MODELS = ("gate", "type", "chest")
COUNT = 120


def test_a_rolling_upgrade_and_a_second_opinion(new_plant: NewPlant) -> None:
    plant = new_plant()
    plant.start("prepare")
    plant.start("reconcile")
    plant.start(*MODELS, name="old", version=OLD, slow_s=0.02)
    plant.ready()
    plant.submit(range(COUNT))
    wait_until(lambda: plant.finished() > 8, "the old version answers")
    plant.start(*MODELS, name="new", version=NEW)
    plant.ready("new")
    plant.kept.add("old")
    plant.submit(range(COUNT, COUNT + 40))
    assert plant.workers["old"].terminate() == 0
    plant.over()
    plant.settle("rolling upgrade to a new model version", answers=False)
    first = _runs(plant)
    assert {version.partition("-")[2] for _, _, version in first} == {OLD, NEW}
    assert set(Counter(key[:2] for key in first).values()) == {1}, "one answer a stage"
    _check_each(plant)

    _requeue_all(plant)
    plant.settle("requeue with a new model version", answers=False)
    second = _runs(plant)
    assert {key: second[key] for key in first} == first, "results stay as they were"
    assert {(i, s) for i, s, v in second if v.endswith(NEW)} == {(i, s) for i, s, _ in first}
    _check_each(plant)

    _requeue_all(plant)
    plant.settle("requeue with the same model version", answers=False)
    assert _runs(plant) == second, "the same version adds nothing"


def _requeue_all(plant: Plant) -> None:
    """As `xraytriage requeue --stage gate` does."""
    context, settings = plant.context, plant.settings
    with context.engine.connect() as connection:
        now = connection.execute(select(now_s())).scalar_one()
    state = state_before("gate", context.stages)
    for nudges in overdue.requeue(
        context.engine, "gate", state, now, settings.chunk_size, settings.lease_s
    ):
        intake.sent(context.engine, context.dispatcher.publish(nudges))
    plant.over()


def _runs(plant: Plant) -> dict[tuple[str, str, str], tuple[object, ...]]:
    with plant.context.engine.connect() as connection:
        rows = connection.execute(select(stage_runs)).all()
    return {(row.image_id, row.stage, row.model_version): tuple(row) for row in rows}


def _check_each(plant: Plant) -> None:
    """Every run of either version says what an undisturbed run says."""
    for view in plant.views().values():
        said = told(view)
        number = number_of(view.row["name"])
        assert number is not None
        wanted = expected(number)
        assert (said.state, said.reason_code) == (wanted.state, wanted.reason_code)
        right = {(stage, *rest) for stage, _, *rest in wanted.runs}
        assert {(stage, *rest) for stage, _, *rest in said.runs} == right
