"""`report.html` as a person opens it, from the disk: it sorts, filters and asks no network."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlmodel import SQLModel

from models.catalogue import STAGES
from pipeline.db import open_engine
from pipeline.records.intake import open_job
from pipeline.reports.results import About, write_results
from pipeline.states import Priority, State
from tests.stand_in.finished import FinishedJob, MemoryStore

ALL = ["2.png", "10.png", "healthy.png", "hand.png", "cat.png"]
"""The images, as a fresh page orders them: the most abnormal first, those not examined last."""


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Path]:
    """The page of a finished job with chests, a hand and a cat."""
    engine = open_engine(f"sqlite:///{tmp_path}/database/x.sqlite3")
    SQLModel.metadata.create_all(engine)
    job = FinishedJob(engine, MemoryStore(), open_job(engine, "cli", Priority.BULK))
    job.chest("ward/10.png", 0.7)
    job.chest("ward/2.png", 0.9)
    job.chest("ward/healthy.png", 0.1)
    hand = job.add("ward/hand.png")
    job.run(hand, "gate", "xray", {"other": 0.1, "xray": 0.9})
    job.run(hand, "type", "hand", {"chest": 0.1, "hand": 0.9})
    job.add("zoo/cat.png", State.REJECTED, reason_code="not_xray", reason="No X-ray.")
    about = About(("in",), "xraytriage", images=5, seconds=1.0)
    write_results(engine, job.store, STAGES, job.job_id, tmp_path / "out", about)
    yield tmp_path / "out" / "report.html"
    engine.dispose()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The page; whatever its script complains of, and whatever it asks of a network, fails."""
    context = browser.new_context()
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request",
        lambda asked: (
            None if asked.url.startswith(("file:", "data:")) else trouble.append(asked.url)
        ),
    )
    page.goto(report.as_uri())
    yield page
    context.close()
    assert trouble == []


def shown(page: Page) -> list[str]:
    return page.locator(".card:visible h3").all_inner_texts()


def test_it_sorts(page: Page) -> None:
    assert shown(page)[:3] == ALL[:3]
    assert set(shown(page)) == set(ALL)
    page.get_by_role("combobox", name="Sort").select_option("least abnormal first")
    assert shown(page)[:3] == ["healthy.png", "10.png", "2.png"]
    page.get_by_role("combobox", name="Sort").select_option("by path")
    assert shown(page) == ["2.png", "10.png", "hand.png", "healthy.png", "cat.png"]


@pytest.mark.parametrize(
    ("control", "choice", "left"),
    [
        ("Status", "rejected", {"cat.png"}),
        ("Type", "hand", {"hand.png"}),
        ("Verdict", "abnormal", {"2.png", "10.png"}),
        ("Verdict", "not abnormal", {"healthy.png"}),
        ("Verdict", "not examined", {"hand.png", "cat.png"}),
    ],
)
def test_it_filters(page: Page, control: str, choice: str, left: set[str]) -> None:
    page.get_by_role("combobox", name=control).select_option(label=choice)
    assert set(shown(page)) == left
    expect(page.locator("output")).to_have_text(f"{len(left)} of {len(ALL)} shown")
    page.get_by_role("combobox", name=control).select_option(label="all")
    assert set(shown(page)) == set(ALL)


def test_filters_and_words_hold_together(page: Page) -> None:
    page.get_by_role("searchbox", name="Find").fill("EFFUSION")
    assert set(shown(page)) == {"2.png", "10.png"}
    page.get_by_role("combobox", name="Type").select_option("hand")
    assert shown(page) == []
    page.get_by_role("searchbox", name="Find").fill("ward/h")
    assert shown(page) == ["hand.png"]


def test_its_pictures_are_there(page: Page) -> None:
    for picture in page.locator(".card img:visible").all():
        picture.scroll_into_view_if_needed()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.locator(".card img").count() >= 3
