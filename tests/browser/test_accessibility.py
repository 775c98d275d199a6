"""axe-core over every page, light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipeline.states import State
from tests.browser.conftest import Site, Visit

PAGES = ("home", "abnormal", "clear", "hand", "waiting", "refused", "job", "running", "docs")


@pytest.fixture
def addresses(site: Site) -> dict[str, str]:
    """A page of each kind."""
    job, running = site.job(), site.job()
    running.count = 100
    abnormal, clear = job.chest("a.png"), job.chest("b.png", abnormality=0.1)
    hand = job.add("c.png")
    job.run(hand, "type", "hand", {"hand": 0.9})
    refused = job.add("d.txt", State.REJECTED, reason_code="empty_file", reason="it is empty")
    waiting = running.add("e.png", State.GATED, stage="type", finished_at=None)
    images = {name: f"/images/{image_id}" for name, image_id in locals().items() if name in PAGES}
    jobs = {"job": f"/jobs/{job.job_id}", "running": f"/jobs/{running.job_id}"}
    return {"home": "/", "docs": "/docs"} | images | jobs


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_known_barrier(addresses: dict[str, str], visit: Visit, scheme: str) -> None:
    page = visit("/", color_scheme=scheme)
    found = {}
    for name in PAGES:
        page.goto(addresses[name])
        for details in page.locator("details").all():
            details.evaluate("node => { node.open = true; }")
        results = Axe().run(page)
        assert "color-contrast" in {rule["id"] for rule in results.response["passes"]}
        if results.violations_count:
            found[name] = results.generate_report()
    assert not found, "\n".join(found.values())
