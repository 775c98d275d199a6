"""The pages: rendered, legible without script, and safe to show foreign names."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from pipeline.api.pages import routes
from pipeline.api.pages.view import size
from pipeline.states import State
from tests.stand_in.finished import FinishedJob

HTML = {"Accept": "text/html"}


def test_every_page_is_whole_and_loads_nothing_from_elsewhere(
    client: TestClient, job: FinishedJob
) -> None:
    image_id = job.chest("a.png")
    for path in ("/", f"/images/{image_id}", f"/jobs/{job.job_id}", "/docs", "/nothing"):
        response = client.get(path, headers=HTML)
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        html = response.text
        assert '<html lang="en">' in html
        assert html.count("<h1") == 1
        assert html.count("not a medical device") == 1
        assert not re.findall(r'(?:src|href)="(?!/|#)', html)
        assert "<style" not in html
        assert " style=" not in html
        assert "<script>" not in html


def test_what_a_page_loads_is_there(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    loaded = set()
    for path in ("/", f"/images/{image_id}", f"/jobs/{job.job_id}"):
        loaded |= set(re.findall(r'(?:src|href)="(/[^"#]*)"', client.get(path).text))
    assert f"/v1/images/{image_id}/heatmaps/Effusion.png" in loaded
    for address in loaded:
        assert client.get(address.replace("&amp;", "&")).status_code == 200, address


def test_scripts_and_pictures_come_only_from_here(client: TestClient) -> None:
    headers = client.get("/").headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    assert client.get("/static/style.css").headers["cache-control"] == "no-cache"


def test_the_home_page_says_what_is_taken(client: TestClient) -> None:
    html = client.get("/").text
    assert "DICOM, PNG, JPEG" in html
    assert "each up to 97.7 kB" in html.replace("\n        ", " ")
    assert "For now of chest" in html


def test_the_result_is_in_words_with_every_finding(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("ward 3.png", header={"modality": "DX", "pixel_spacing": [0.1, 0.2]})
    html = client.get(f"/images/{image_id}").text
    assert "Chest X-ray, abnormal (score 0.91, at the operating point &#39;balanced&#39;)" in html
    assert "data-poll" not in html
    order = re.findall(r'class="finding-name">([^<]+)', html)
    assert order == ["Abnormal overall", "Effusion", "Hernia"]
    assert 'alt="Heatmap of Effusion over the image"' in html
    assert html.count('<span class="mark">experimental</span>') == 2  # the finding, the legend
    assert "0.1, 0.2" in html


def test_an_image_at_work_shows_its_step_and_polls(client: TestClient, job: FinishedJob) -> None:
    image_id = job.add("a.png", State.GATED, stage="type", finished_at=None)
    html = client.get(f"/images/{image_id}").text
    assert f'data-poll="/v1/images/{image_id}"' in html
    assert re.search(r'class="now" aria-current="step">Body part', html)
    assert "In triage: which body part?" in html


def test_a_refused_image_says_why(client: TestClient, job: FinishedJob) -> None:
    image_id = job.add("a.txt", State.REJECTED, reason_code="empty_file", reason="it is empty")
    html = client.get(f"/images/{image_id}").text
    assert "Not triaged: it is empty" in html
    assert "<img" not in html


def test_names_are_shown_as_text(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest('<script>alert("x")</script>.png')
    for path in (f"/images/{image_id}", f"/jobs/{job.job_id}"):
        html = client.get(path).text
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert" in html


def test_a_job_has_counts_and_a_row_for_each_image(client: TestClient, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    job.add("b.txt", State.REJECTED, reason_code="empty_file", reason="it is empty")
    html = client.get(f"/jobs/{job.job_id}").text
    assert "2 of 2 images triaged" in html
    assert "data-poll" not in html
    assert f'href="/images/{image_id}">Chest X-ray, abnormal</a>' in html
    assert "Effusion 0.72" in html
    assert "Hernia (experimental) 0.60" in html
    assert "Not triaged: it is empty" in html
    assert f'href="/v1/jobs/{job.job_id}/results?format=csv"' in html


def test_a_long_job_has_pages(
    client: TestClient, job: FinishedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "ROWS", 2)
    for name in ("a.png", "b.png", "c.png"):
        job.add(name)
    first = client.get(f"/jobs/{job.job_id}").text
    (following,) = re.findall(r'<a rel="next" href="([^"]+)"', first)
    second = client.get(following).text
    assert ("c.png" in first, "c.png" in second) == (False, True)
    assert 'rel="next"' not in second


def test_a_running_job_polls(client: TestClient, job: FinishedJob) -> None:
    job.chest("a.png")
    job.add("b.png", State.PREPARED, stage="gate", finished_at=None)
    html = client.get(f"/jobs/{job.job_id}").text
    assert "Triage is running" in html
    assert f'data-poll="/v1/jobs/{job.job_id}"' in html
    assert '<progress max="100" value="50"' in html


def test_errors_of_pages_are_pages(client: TestClient) -> None:
    response = client.get("/jobs/nope", headers=HTML)
    assert response.status_code == 404
    assert "There is no job with this id." in response.text
    assert client.get("/v1/jobs/nope", headers=HTML).json()["status"] == 404


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2 kB"), (2**28, "256 MB"), (3 * 2**30, "3 GB")],
)
def test_sizes_are_for_people(count: int, words: str) -> None:
    assert size(count) == words


def test_everything_works_below_a_proxys_prefix(app: FastAPI, job: FinishedJob) -> None:
    image_id = job.chest("a.png")
    client = TestClient(app, root_path="/xray")
    html = client.get(f"/xray/images/{image_id}", headers=HTML).text
    assert f'src="/xray/v1/images/{image_id}/preview.png"' in html
    assert client.get("/xray/static/style.css").headers["cache-control"] == "no-cache"
    body = client.get(f"/xray/v1/images/{image_id}", headers=HTML).json()
    assert body["url"] == f"http://testserver/xray/v1/images/{image_id}"
