"""Jobs: how far they are, and their results in pages and as CSV."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipeline.reports.row import COLUMNS
from pipeline.states import State
from tests.stand_in.finished import FinishedJob
from tests.unit.pipeline.api.memory import problem


def test_counts_name_every_state(client: TestClient, job: FinishedJob) -> None:
    job.chest("a.png")
    job.add("b.txt", State.REJECTED, reason_code="unsupported_format", reason="text")
    job.add("c.png", State.GATED, stage="type")
    body = client.get(f"/v1/jobs/{job.job_id}").json()
    assert set(body["counts"]) == set(State)
    assert {state: count for state, count in body["counts"].items() if count} == {
        "done": 1,
        "rejected": 1,
        "gated": 1,
    }
    assert (body["total"], body["finished"], body["open"]) == (3, 2, False)
    assert body["created_at"].endswith("Z")


@pytest.mark.parametrize("job_id", ["nope", "0" * 32, "%00", "0" * 31 + "G"])
def test_an_unknown_job_is_404(client: TestClient, job_id: str) -> None:
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/results"):
        problem(client.get(path), 404, "not-found")


def test_other_methods_are_405(client: TestClient, job: FinishedJob) -> None:
    response = client.delete(f"/v1/jobs/{job.job_id}")
    problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET"


def pages(client: TestClient, address: str) -> list[list[str]]:
    found = []
    while address:
        body = client.get(address).json()
        found.append([item["name"] for item in body["items"]])
        address = body["next"]
    return found


def test_results_come_in_pages_in_order_of_arrival(client: TestClient, job: FinishedJob) -> None:
    for number in range(5):
        job.add(f"{number}.png")
    address = f"/v1/jobs/{job.job_id}/results?limit=2"
    assert pages(client, address) == [["0.png", "1.png"], ["2.png", "3.png"], ["4.png"]]
    assert pages(client, address.replace("limit=2", "limit=5")) == [[f"{n}.png" for n in range(5)]]


def test_the_link_header_leads_on_too(client: TestClient, job: FinishedJob) -> None:
    job.add("a.png")
    job.add("b.png")
    response = client.get(f"/v1/jobs/{job.job_id}/results?limit=1")
    assert response.links["next"]["url"] == response.json()["next"]
    last = client.get(response.json()["next"])
    assert "link" not in last.headers


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("after=../x", "after"), ("format=xml", "format")],
)
def test_a_wrong_query_is_named(
    client: TestClient, job: FinishedJob, query: str, field: str
) -> None:
    body = problem(client.get(f"/v1/jobs/{job.job_id}/results?{query}"), 422, "invalid")
    assert [error["field"] for error in body["errors"]] == [field]


def rows(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


def test_csv_has_the_columns_of_the_command_line(
    client: TestClient, job: FinishedJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.api.results_csv.PAGE", 2)
    for name in ('odd, "name".png', "b.png", "c.png", "d.png", "e.png"):
        job.chest(name)
    address = f"/v1/jobs/{job.job_id}/results"
    found = rows(client.get(address, headers={"Accept": "text/csv"}))
    assert tuple(found[0]) == COLUMNS
    assert [row["path"] for row in found][:2] == ['odd, "name".png', "b.png"]
    assert len(found) == 5
    assert '/heatmaps/Effusion.png"' in found[0]["heatmaps"]
    assert rows(client.get(address, params={"format": "csv"})) == found


def test_csv_comes_in_pages_where_a_limit_is_given(client: TestClient, job: FinishedJob) -> None:
    for name in ("a.png", "b.png", "c.png"):
        job.add(name)
    response = client.get(f"/v1/jobs/{job.job_id}/results?format=csv&limit=2")
    assert [row["path"] for row in rows(response)] == ["a.png", "b.png"]
    rest = client.get(response.links["next"]["url"])
    assert [row["path"] for row in rows(rest)] == ["c.png"]


def test_the_asked_format_goes_before_the_accepted_one(
    client: TestClient, job: FinishedJob
) -> None:
    address = f"/v1/jobs/{job.job_id}/results?format=json"
    assert client.get(address, headers={"Accept": "text/csv"}).json()["items"] == []
