"""Which images a page shows when there are too many."""

from pipeline.reports.selection import Selection
from pipeline.states import State
from tests.stand_in.finished import FinishedJob


def shown(selection: Selection) -> list[str]:
    return [view.row["name"] for view in selection.chosen()]


def test_a_small_job_is_shown_whole_the_most_abnormal_first(job: FinishedJob) -> None:
    for name, score in (("a", 0.2), ("b", 0.9), ("c", 0.5)):
        job.chest(name, score)
    job.add("d", State.REJECTED)
    selection = Selection()
    selection.add(job.views())
    assert shown(selection) == ["b", "c", "a", "d"]


def test_a_large_job_keeps_the_most_abnormal_and_some_of_each_status(job: FinishedJob) -> None:
    for index in range(20):
        job.chest(f"chest {index:02}", index / 20)
        job.add(f"bad {index:02}", State.REJECTED)
    job.add("stuck", State.QUARANTINED)
    selection = Selection(most_abnormal=5, sample=2)
    selection.add(job.views())
    names = shown(selection)
    assert names[:5] == [f"chest {index}" for index in (19, 18, 17, 16, 15)]
    assert len([name for name in names if name.startswith("chest")]) == 7
    assert len([name for name in names if name.startswith("bad")]) == 2
    assert "stuck" in names
    assert selection.seen == 41


def test_the_same_images_make_the_same_choice(job: FinishedJob) -> None:
    for index in range(30):
        job.add(f"{index}", State.REJECTED)
    choices = []
    for _ in range(2):
        selection = Selection(sample=5)
        selection.add(job.views())
        choices.append(shown(selection))
    assert choices[0] == choices[1]


def test_equal_scores_stay_in_the_order_of_arrival(job: FinishedJob) -> None:
    for name in ("b", "a", "c"):
        job.chest(name, 0.7)
    selection = Selection()
    selection.add(job.views())
    assert shown(selection) == ["b", "a", "c"]
