"""What ended and was answered is sent again, some rows a commit; all else stays as it is."""

from sqlalchemy import Engine

from pipeline.records import overdue, results
from pipeline.records.intake import open_job
from pipeline.states import Priority, State
from tests.stand_in.finished import FinishedJob, MemoryStore

BEFORE = 2e9
"""Later than all that a finished job's images ended at."""


def test_answered_images_wait_again_and_others_stay(engine: Engine) -> None:
    job = FinishedJob(engine, MemoryStore(), open_job(engine, "cli", Priority.BULK))
    unanswered = job.add("broken", State.REJECTED)
    answered = [job.chest(f"{number}.png") for number in range(3)]
    job.chest("on its way", stage="chest", state=State.TYPED, finished_at=None)
    late = job.chest("late", finished_at=BEFORE)
    (nudges,) = overdue.requeue(engine, "chest", State.TYPED, BEFORE, 16, 60.0, rows=100)
    assert [i for nudge in nudges for i in nudge.image_ids] == answered
    for image_id in answered:
        view = results.image(engine, image_id)
        assert view is not None
        assert (view.row["stage"], view.row["state"]) == ("chest", State.TYPED)
        assert len(view.runs) == 3, "results stay"
    for image_id in (unanswered, late):
        view = results.image(engine, image_id)
        assert view is not None
        assert view.row["stage"] is None


def test_rows_of_a_commit_are_bounded_and_nobody_is_left_out(engine: Engine) -> None:
    job = FinishedJob(engine, MemoryStore(), open_job(engine, "cli", Priority.BULK))
    ids = [job.add("broken", State.REJECTED), *(job.chest(f"{n}.png") for n in range(5))]
    commits = list(overdue.requeue(engine, "chest", State.TYPED, BEFORE, 16, 60.0, rows=2))
    assert [[i for nudge in nudges for i in nudge.image_ids] for nudges in commits] == [
        ids[1:2],
        ids[2:4],
        ids[4:6],
    ]
