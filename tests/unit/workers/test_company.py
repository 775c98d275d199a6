"""Many side by side, or one alone: nobody meets whom they must not meet."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Barrier, Event, Lock, Thread

import pytest

from workers.company import Company

PATIENCE_S = 20.0


class Visitor(Thread):
    """Enters, says so, and stays until it is told to go."""

    def __init__(self, way_in: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(daemon=True)
        self._way_in = way_in
        self.inside, self.go = Event(), Event()
        self.start()

    def run(self) -> None:
        """Visit."""
        with self._way_in():
            self.inside.set()
            self.go.wait(PATIENCE_S)


def _leaves(visitor: Visitor) -> None:
    visitor.go.set()
    visitor.join(PATIENCE_S)
    assert not visitor.is_alive()


def test_many_are_there_side_by_side() -> None:
    company = Company()
    visitors = [Visitor(company.joined) for _ in range(3)]
    assert all(visitor.inside.wait(PATIENCE_S) for visitor in visitors)
    for visitor in visitors:
        _leaves(visitor)


def test_who_wants_to_be_alone_waits_for_the_others_and_goes_before_newcomers() -> None:
    company = Company()
    first = Visitor(company.joined)
    assert first.inside.wait(PATIENCE_S)
    loner = Visitor(company.alone)
    while not company._waiting:
        assert loner.is_alive()
    newcomer = Visitor(company.joined)
    assert not loner.inside.is_set()
    _leaves(first)
    assert loner.inside.wait(PATIENCE_S)
    assert not newcomer.inside.is_set()
    _leaves(loner)
    assert newcomer.inside.wait(PATIENCE_S)
    _leaves(newcomer)


def test_nobody_meets_a_loner_whatever_the_order() -> None:
    company, lock, start = Company(), Lock(), Barrier(8)
    present = {"joined": 0, "alone": 0}
    met: list[dict[str, int]] = []

    def visit(kind: str) -> None:
        start.wait(PATIENCE_S)
        for _ in range(200):
            with company.alone() if kind == "alone" else company.joined():
                with lock:
                    present[kind] += 1
                    if present["alone"] > 1 or (present["alone"] and present["joined"]):
                        met.append(dict(present))
                with lock:
                    present[kind] -= 1

    kinds = ("joined", "alone") * 4
    threads = [Thread(target=visit, args=(kind,), daemon=True) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "somebody waits for ever"
    assert met == []


def test_an_error_leaves_the_place_free() -> None:
    company = Company()
    for way_in in (company.joined, company.alone):
        with pytest.raises(ValueError, match="of the work"), way_in():
            raise ValueError("of the work")
    with company.alone():
        pass
