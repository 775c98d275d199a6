"""What a person does: drop an image, wait, read the answer, look at the heatmap, sort a job."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from pipeline.states import State
from tests.browser.conftest import Site, Visit

PHONE = {"width": 360, "height": 740}


def chest() -> bytes:
    """A picture that passes for a film: a bright spine, ribs and two dark lungs."""
    y, x = np.mgrid[0:1:256j, 0:1:224j]
    lungs = np.exp(-(((abs(x - 0.5) - 0.22) / 0.13) ** 2) - ((y - 0.45) / 0.3) ** 2)
    ribs = 0.12 * (np.sin(y * 60 + 6 * abs(x - 0.5)) > 0.4)
    film = (0.75 - 0.6 * lungs + ribs * lungs).clip(0, 1)
    buffer = io.BytesIO()
    Image.fromarray((film * 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


DROP = """
(frame, files) => {
  const data = new DataTransfer();
  for (const [name, bytes] of files) {
    const buffer = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
    data.items.add(new File([buffer], name));
  }
  for (const type of ["dragover", "drop"]) {
    frame.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true }));
  }
}
"""


def drop(page: Page, **files: bytes) -> None:
    encoded = [[name, base64.b64encode(data).decode()] for name, data in files.items()]
    page.locator("#drop").evaluate(DROP, encoded)


def image_id_of(page: Page) -> str:
    page.wait_for_url(re.compile(r"/images/[0-9a-f]{32}$"))
    return page.url.rpartition("/")[2]


def strength(page: Page) -> float:
    """The opacity of the heatmap as it is seen."""
    return float(page.locator("#overlay").evaluate("node => getComputedStyle(node).opacity"))


def test_drop_an_image_and_see_the_answer(site: Site, visit: Visit) -> None:
    page = visit("/")
    drop(page, **{"chest.png": chest()})
    image_id = image_id_of(page)
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("In triage: reading the file")

    site.worker.prepare(image_id)
    expect(heading).to_have_text("In triage: is it an X-ray?")
    expect(page.get_by_alt_text("The submitted image")).to_be_visible()
    site.worker.answer(image_id, "gate", "xray", {"other": 0.02, "xray": 0.98})
    expect(heading).to_have_text("In triage: which body part?")
    expect(page.locator("[aria-current=step]")).to_have_text("Body part")
    site.worker.answer(image_id, "type", "chest", {"chest": 0.97, "hand": 0.03})
    scores = {"abnormal": 0.93, "Effusion": 0.81, "Hernia": 0.6, "Mass": 0.1}
    site.worker.answer(image_id, "chest", None, scores, "abnormal", "Effusion", "Hernia")

    words = "Chest X-ray, abnormal (score 0.93, at the operating point 'balanced')"
    expect(heading).to_have_text(words)
    expect(page).to_have_title(f"{words} · xraytriage")
    expect(page.locator("[aria-current=step]")).to_have_count(0)
    expect(page.locator(".finding-name")).to_have_text(["Abnormal overall", "Effusion", "Hernia"])
    expect(page.locator(".finding .mark")).to_have_text(["experimental"])


@pytest.fixture
def finished(site: Site) -> str:
    """Id of an abnormal chest that every stage has answered."""
    return site.job().chest("chest.png")


def test_the_heatmap_can_be_chosen_weakened_and_hidden(visit: Visit, finished: str) -> None:
    page = visit(f"/images/{finished}")
    overlay = page.locator("#overlay")
    expect(overlay).to_have_attribute("alt", "Heatmap of Effusion over the image")
    page.get_by_label("Hernia").check()
    expect(overlay).to_have_attribute("alt", "Heatmap of Hernia over the image")
    expect(page.locator("#overlay-label")).to_have_text("Hernia")
    overlay.evaluate("node => node.decode()")  # the picture of the other label is there

    assert strength(page) == 1
    page.get_by_label("Strength").fill("40")
    assert strength(page) == pytest.approx(0.4)
    page.get_by_label("Show the heatmap").uncheck()
    assert strength(page) == 0
    expect(page.get_by_label("Strength")).to_be_disabled()


def test_a_heatmap_that_is_lost_is_said_to_be(site: Site, visit: Visit) -> None:
    job = site.job()
    image_id = job.chest("a.png", abnormality=0.3)
    job.find(image_id, "Mass", 0.6)
    page = visit("/")
    page.route("**/heatmaps/*", lambda route: route.fulfill(status=200, body="no picture"))
    page.goto(f"/images/{image_id}")
    expect(page.get_by_role("alert")).to_have_text(re.compile("could not be loaded"))


def test_everything_works_from_the_keyboard(visit: Visit, finished: str, tmp_path: Path) -> None:
    page = visit("/")
    # Early: were it first asked for with the key press, Chromium might open its own dialog.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Choose images")).to_be_focused()
    outline = "node => getComputedStyle(node).outlineStyle"
    assert page.locator("label.button").evaluate(outline) == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    (tmp_path / "hand.png").write_bytes(chest())
    chooser.value.set_files(tmp_path / "hand.png")
    image_id_of(page)

    page.goto(f"/images/{finished}")
    page.get_by_label("Effusion").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#overlay-label")).to_have_text("Hernia")


def test_several_images_lead_to_their_job(site: Site, visit: Visit) -> None:
    page = visit("/")
    page.get_by_label("Stat").check()
    drop(page, **{"a.png": chest(), "notes.txt": b"text"})
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f]{32}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Triage is running")
    expect(page.locator("#progress")).to_have_text("1 of 2 images triaged")
    expect(page.get_by_text("Stat, sent")).to_be_visible()
    image_id = page.locator("#rows a", has_text="In triage").get_attribute("href")
    assert image_id is not None
    site.worker.prepare(image_id[-32:])
    site.worker.answer(image_id[-32:], "gate", "other", {"other": 0.9, "xray": 0.1})
    expect(page.get_by_role("heading", level=1)).to_have_text("Results")
    expect(page.locator("#progress")).to_have_text("2 of 2 images triaged")
    expect(page.locator("#rows a.result")).to_have_text(
        ["Not an X-ray", re.compile("Not triaged: ")]
    )


def test_a_refusal_is_told_in_words_and_another_try_is_possible(visit: Visit) -> None:
    page = visit("/")
    alert = page.get_by_role("alert")
    drop(page, **{"notes.txt": b"text", "empty.png": b""})
    expect(alert.get_by_role("listitem")).to_have_text(
        [
            re.compile(r"^notes\.txt: the file is text; read are DICOM"),
            re.compile(r"^empty\.png: .*no bytes|empty"),
        ]
    )
    drop(page, **{"huge.png": b"x" * 200_001})
    expect(alert).to_have_text("Larger than 195 kB: huge.png.")
    drop(page, **{"chest.png": chest()})
    image_id_of(page)


def test_a_server_that_is_gone_is_told_in_words(visit: Visit) -> None:
    page = visit("/")
    page.route("**/v1/jobs", lambda route: route.abort())
    drop(page, **{"chest.png": chest()})
    expect(page.get_by_role("alert")).to_have_text(re.compile("server cannot be reached"))


def test_a_lost_connection_is_told_and_healed(site: Site, visit: Visit) -> None:
    image_id = site.job().add("a.png", State.RECEIVED, stage="prepare", finished_at=None)
    page = visit("/")
    page.clock.install()
    page.route("**/v1/images/*", lambda route: route.abort())
    page.goto(f"/images/{image_id}")
    page.clock.run_for(1000)
    lost = page.get_by_text("The connection to the server is lost")
    expect(lost).to_be_visible()
    page.unroute("**/v1/images/*")
    page.clock.run_for(10_000)
    expect(lost).to_be_hidden()


def test_a_job_is_sorted_and_filtered(site: Site, visit: Visit) -> None:
    job = site.job()
    for name, abnormality in (("b.png", 0.3), ("c.png", 0.95), ("a.png", 0.6)):
        job.chest(name, abnormality)
    hand = job.add("d.png")
    job.run(hand, "type", "hand", {"hand": 0.9})
    job.add("e.txt", State.REJECTED, reason_code="empty_file", reason="it is empty")
    page = visit(f"/jobs/{job.job_id}")
    names = page.locator("#rows tr:visible .name")
    expect(names).to_have_text(["c.png", "a.png", "b.png", "d.png", "e.txt"])
    page.get_by_label("Order").select_option("as they arrived")
    expect(names).to_have_text(["b.png", "c.png", "a.png", "d.png", "e.txt"])
    page.get_by_label("Order").select_option("by name")
    page.get_by_label("Type").select_option("chest")
    expect(names).to_have_text(["a.png", "b.png", "c.png"])
    expect(page.locator("#shown")).to_have_text("3 of 5 shown")
    page.get_by_label("Type").select_option("all")
    page.get_by_label("Status").select_option("Rejected")
    expect(names).to_have_text(["e.txt"])


def test_a_long_job_loads_its_further_pages(
    site: Site, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.pages.routes.ROWS", 2)
    job = site.job()
    for number in range(5):
        job.chest(f"{number}.png", abnormality=number / 10)
    page = visit(f"/jobs/{job.job_id}")
    expect(page.locator("#rows .name")).to_have_text([f"{n}.png" for n in (4, 3, 2, 1, 0)])
    expect(page.locator("#more a")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, {"width": 1280, "height": 800}], ids=["phone", "desk"])
def test_no_page_is_wider_than_its_window(
    site: Site, visit: Visit, viewport: dict[str, int], scheme: str, tmp_path: Path
) -> None:
    job = site.job()
    image_id = job.chest("a_very_long_name_without_any_place_to_break_it_" * 4 + ".dcm")
    page = visit("/", viewport=viewport, color_scheme=scheme)
    for name, path in {
        "home": "/",
        "image": f"/images/{image_id}",
        "job": f"/jobs/{job.job_id}",
        "docs": "/docs",
    }.items():
        page.goto(path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= viewport["width"], name
