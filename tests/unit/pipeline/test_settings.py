"""Wrong settings are refused in words that name the variable and quote no secret."""

import pytest

from pipeline.settings import Settings, SettingsError, settings


@pytest.fixture(autouse=True)
def _read_anew() -> None:
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgresql://user:hush@host/db"),  # its driver is not installed
        ("DATABASE_URL", "sqlite://"),
        ("BROKER_URL", "http://:hush@host"),
        ("BROKER_URL", "redis://"),
        ("BROKER_URL", "redis://:hush@host:port/0"),
        ("S3_ENDPOINT", "foo"),
        ("S3_ENDPOINT", "s3.example.org:9000"),
        ("S3_ENDPOINT", "http://[::1"),
        ("OTLP_ENDPOINT", "grpc://collector:4317"),
    ],
)
def test_an_address_that_no_client_understands_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"XRAYTRIAGE_{name}", value)
    words = f"XRAYTRIAGE_{name}: is no address .*write .*://"
    with pytest.raises(SettingsError, match=words) as caught:
        settings()
    assert "hush" not in str(caught.value)
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("database_url", "postgresql+psycopg:///xray?host=/run/postgresql"),
        ("database_url", "postgresql+psycopg://user:p%40ss@a:5432/xray"),
        ("database_url", "sqlite:////srv/xray.sqlite3"),
        ("broker_url", "rediss://:secret@redis:6379/0"),
        ("s3_endpoint", "https://s3.example.org"),
        ("s3_endpoint", "http://[::1]:9000"),
    ],
)
def test_an_address_is_taken_as_it_is(name: str, value: str) -> None:
    assert getattr(Settings.model_validate({name: value}), name) == value
