"""The HTTP API answers 202, and soon, whether or not there is a broker."""

import time

import pytest
from fastapi.testclient import TestClient

from pipeline.api.app import create_app
from tests.faults import ledger
from tests.faults.conftest import NewPlant
from tests.faults.pictures import name_of, number_of, picture

pytestmark = pytest.mark.faults

LIMIT_S = 10.0
"""For storage and database on a busy machine."""


@pytest.mark.parametrize("broker", ["absent", "paused"])
def test_a_submission_is_accepted_without_a_broker(new_plant: NewPlant, broker: str) -> None:
    plant = new_plant(broker=broker == "paused", lease_s=60.0)
    plant.valkey.pause()
    took = []
    with TestClient(create_app(plant.settings)) as client:
        for first in (0, 4, 8):
            files = [("files", (name_of(n), picture(n))) for n in range(first, first + 4)]
            began = time.monotonic()
            answer = client.post("/v1/jobs", files=files)
            took.append(time.monotonic() - began)
            assert answer.status_code == 202, answer.text
            for image in answer.json()["images"]:
                plant.accepted[image["id"]] = number_of(image["name"])
    assert max(took) < plant.settings.publish_timeout_s + LIMIT_S
    ledger.NOTES.append(f"POST /v1/jobs with the broker {broker}: {max(took):.1f} s at most")
    if broker == "absent":
        plant.valkey.start()
    plant.valkey.resume()
    plant.over()
    plant.staff()
    plant.settle(f"API with Redis {broker}")
