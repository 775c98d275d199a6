"""Where a header contradicts the networks, the API and the pages say so."""

from fastapi.testclient import TestClient

from tests.stand_in.finished import FinishedJob

SAID = "header says HAND, image looks like CHEST"
FLAGS = [{"code": "body_part", "message": SAID}]


def test_the_api_has_the_flag(client: TestClient, job: FinishedJob) -> None:
    flagged, plain = job.chest("a.dcm", flags=FLAGS), job.chest("b.dcm")
    assert client.get(f"/v1/images/{flagged}").json()["flags"] == FLAGS
    assert client.get(f"/v1/images/{plain}").json()["flags"] == []
    items = client.get(f"/v1/jobs/{job.job_id}/results").json()["items"]
    assert [item["flags"] for item in items] == [FLAGS, []]


def test_the_pages_show_it_once_and_only_where_it_is(client: TestClient, job: FinishedJob) -> None:
    flagged, plain = job.chest("a.dcm", flags=FLAGS), job.chest("b.dcm")
    assert client.get(f"/images/{flagged}").text.count(SAID) == 1
    assert client.get(f"/jobs/{job.job_id}").text.count(SAID) == 1
    assert SAID not in client.get(f"/images/{plain}").text


def test_the_csv_keeps_its_columns(client: TestClient, job: FinishedJob) -> None:
    job.chest("a.dcm", flags=FLAGS)
    assert SAID not in client.get(f"/v1/jobs/{job.job_id}/results?format=csv").text
