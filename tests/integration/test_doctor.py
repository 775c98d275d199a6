"""The doctor at real servers."""

from collections.abc import Iterator

import pytest
from redis import Redis

from pipeline.doctor import Check, checks
from pipeline.settings import Settings


@pytest.fixture
def broker(settings: Settings) -> Iterator[Redis]:
    assert settings.broker_url is not None
    with Redis.from_url(settings.broker_url) as client:
        yield client
        client.config_set("maxmemory-policy", "noeviction")


def found(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in checks(settings)}


def test_servers_that_are_well(settings: Settings) -> None:
    answers = found(settings)
    for name in ("broker", "broker policy", "storage", "database", "clock"):
        assert answers[name].ok, answers[name]


def test_queues_on_which_nobody_works_are_named(settings: Settings) -> None:
    check = found(settings)["workers"]
    assert not check.ok
    assert "stage.prepare" in check.found
    assert check.mend


def test_a_broker_that_throws_messages_away(settings: Settings, broker: Redis) -> None:
    broker.config_set("maxmemory-policy", "allkeys-lru")
    check = found(settings)["broker policy"]
    assert not check.ok
    assert "noeviction" in check.mend


def test_wrong_keys(settings: Settings) -> None:
    check = found(settings.model_copy(update={"s3_secret_key": "wrong"}))["storage"]
    assert not check.ok
    assert "S3" in check.mend
