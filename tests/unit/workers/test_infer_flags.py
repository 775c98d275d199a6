"""The type stage's answer is compared with the header when it is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from models.catalogue import find
from models.stage import Stage
from pipeline.context import Context
from pipeline.flow import PREPARE, Step
from pipeline.prepared import encode_prepared
from pipeline.records import claims, intake, results
from pipeline.records.claims import Outcome
from pipeline.records.intake import Arrival
from pipeline.settings import Settings
from pipeline.states import Priority, State
from pipeline.uid import new_id
from tests.stand_in.stages import StandIn
from tests.unit.pipeline.api.memory import Broker, Store, opened_context
from workers.infer import Infer
from workers.runner import run_chunk

HAND_GRAY, CHEST_GRAY = 150, 80


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    context = opened_context(Settings(data_dir=tmp_path), Store(), Broker())
    yield context
    context.engine.dispose()


def typed(context: Context, gray: int, header: dict[str, Any] | None) -> Any:
    """The row of an image with this header, once the type stage has answered."""
    image_id = new_id()
    job_id = intake.open_job(context.engine, "api", Priority.ROUTINE)
    intake.admit(context.engine, job_id, [Arrival(image_id, "x")], PREPARE, 32, 60.0)
    pixels = np.full((32, 32), gray, np.uint8)
    (ref,) = context.store.put_pack("prepared", [encode_prepared(pixels)])
    for stage, step in (
        (PREPARE, Step(State.PREPARED, "gate")),
        ("gate", Step(State.GATED, "type")),
    ):
        held = claims.claim(context.engine, stage, [image_id], 60.0, "test", 3)
        facts = {"prepared": str(ref), "header": header}
        claims.complete(context.engine, stage, [Outcome(held[0], step, facts)], 32, 60.0)
    infer = Infer(context, find("type"), cast(Stage, StandIn("type")))
    assert run_chunk(context, infer, [image_id], None) == 1
    view = results.image(context.engine, image_id)
    assert view is not None
    return view.row


def test_a_wrong_body_part_is_flagged(context: Context) -> None:
    row = typed(context, CHEST_GRAY, {"body_part_examined": "HAND"})
    assert row["xray_type"] == "chest"
    message = "header says HAND, image looks like CHEST"
    assert row["flags"] == [{"code": "body_part", "message": message}]


@pytest.mark.parametrize("header", [{"body_part_examined": "HAND"}, {}, None])
def test_where_nothing_disagrees_there_is_no_flag(
    context: Context, header: dict[str, Any] | None
) -> None:
    row = typed(context, HAND_GRAY, header)
    assert (row["xray_type"], row["flags"]) == ("hand", None)
