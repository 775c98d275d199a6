"""Children of the pool: no message is worked on, or lost, where the set-up is missing."""

import pytest
from celery.exceptions import Reject

from workers.children import Children


def test_a_child_that_is_not_set_up_puts_the_message_back() -> None:
    with pytest.raises(Reject) as refused:
        Children(lambda: lambda ids, _: len(ids)).handle(["a"], None)
    assert refused.value.requeue
