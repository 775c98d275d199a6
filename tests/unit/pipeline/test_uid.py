"""Identifiers sort by time and do not collide."""

from pipeline.uid import new_id


def test_ids_are_unique_and_of_one_form() -> None:
    made = [new_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(len(one) == 32 and int(one, 16) for one in made)


def test_ids_made_one_after_the_other_sort_that_way() -> None:
    made = [new_id() for _ in range(1_000)]
    moments = [one[:14] for one in made]
    assert moments == sorted(moments)
