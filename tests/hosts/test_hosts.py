"""A worker host is cut off in mid-run, in the ways that cables and firewalls do it.

Needs root for the namespaces. Packets are dropped, never refused: every connection of the host
hangs, and what it holds is taken over by the other host meanwhile.
"""

import pytest

from tests.faults.servers import wait_until
from tests.hosts.crew import Crew
from tests.hosts.promises import settle

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(1800)]

DATABASE = 5432
LONG_S = 180.0
"""A busy machine is slow; none was ever that slow."""
BACK_S = 180.0
"""Bound of I7: so long after the network is whole again each host works again, at the latest."""


def test_a_host_comes_back_with_work_that_others_have_done(crew: Crew) -> None:
    crew.submit(160)
    models = crew.asleep_before_a_write("b")
    held = crew.held_by("b")
    assert held
    crew.net.unplug("b")
    cut_at = crew.now()
    wait_until(lambda: not crew.still_held(held), "c has taken over what b holds", LONG_S)
    wait_until(lambda: crew.by("c", cut_at) >= 40, "c has gone on alone", LONG_S)
    assert crew.by("b", cut_at) == 0
    before = crew.net.unheard("b", DATABASE)
    crew.wake(models)
    wait_until(lambda: bool(crew.net.unheard("b", DATABASE) - before), "b writes into the void")

    crew.net.heal()
    crew.until_both_work(BACK_S)
    settle(crew, LONG_S)
    _late_writes_changed_nothing(crew, {(item.image_id, item.stage) for item in held})


def _late_writes_changed_nothing(crew: Crew, held: set[tuple[str, str]]) -> None:
    """B said that it had done them, and the rows are those of c all the same."""
    written = crew.writers([image_id for image_id, _ in held])
    late = {
        (image_id, chunk["stage"])
        for chunk in crew.chunks("b")
        for image_id in chunk.get("image_ids", [chunk.get("image_id")])
        if (image_id, chunk["stage"]) in held
    }
    assert late, "b came to write what it held"
    assert {written[pair] for pair in late} == {"c"}


@pytest.mark.parametrize("server", ["broker", "database", "storage"])
def test_a_firewall_swallows_the_way_to_one_server(crew: Crew, server: str) -> None:
    crew.submit(64)
    wait_until(lambda: bool(crew.held_by("b")), "b has work in hand")
    crew.net.mute("b", server)
    cut_at = crew.now()
    stuck: set[str] = set()
    if server == "database":
        wait_until(lambda: bool(crew.net.unheard("b", DATABASE)), "b calls")
        stuck = crew.net.unheard("b", DATABASE)
    # The servers give the silent connections up, and nobody on b hears of that.
    crew.forget_connections("b")
    wait_until(lambda: crew.by("c", cut_at) >= 40, "c goes on", LONG_S)
    # A call that was on its way is given up, although its answer can never come.
    wait_until(lambda: not stuck & crew.net.unheard("b", DATABASE), "b gives those calls up")
    crew.net.heal()
    crew.until_both_work(BACK_S)
    settle(crew, LONG_S)
