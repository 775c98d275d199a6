"""Our own programs as parts of the stack: API, stage workers, reconciler, Flower."""

import socket
import sys
import time
from collections.abc import Iterator

from models.catalogue import load_catalogue
from pipeline.dispatch import BROKER_ERRORS, make_app
from pipeline.embedded.part import Part, Tier, environment
from pipeline.embedded.ports import LOOPBACK
from pipeline.reach import answers, listens, reachable
from pipeline.settings import Settings

# -P: a folder called `models` or `workers` where the user stands must not be taken for ours.
PYTHON = (sys.executable, "-P", "-m")

FIRST_START_S = 600.0
"""A model worker loads its libraries and its model, on a busy machine."""


def api(settings: Settings) -> Part:
    """The HTTP API on `settings.host` and `settings.port`."""
    return Part(
        name="api",
        argv=[
            *PYTHON,
            "uvicorn",
            "--factory",
            "pipeline.api.app:create_app",
            f"--host={settings.host}",
            f"--port={settings.port}",
            "--no-access-log",
            "--timeout-graceful-shutdown=5",
        ],
        env=environment(settings),
        ready=lambda: answers(reachable(settings.host), settings.port, "/healthz"),
        tier=Tier.FRONT,
        address=api_url(settings),
    )


def api_url(settings: Settings) -> str:
    """Where a browser on this machine finds the API."""
    host = reachable(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def flower(settings: Settings) -> Part:
    """Flower, for whoever sits at this machine; its API refuses who has not signed in."""
    env = environment(settings)
    env.pop("FLOWER_UNAUTHENTICATED_API", None)
    return Part(
        name="flower",
        argv=[
            *PYTHON,
            "celery",
            "--app=pipeline.embedded.monitor",
            "flower",
            f"--address={LOOPBACK}",
            f"--port={settings.flower_port}",
            "--persistent=False",
            "--read_only=True",
            "--max_tasks=20000",
            "--purge_offline_workers=300",
        ],
        env=env,
        ready=lambda: answers(LOOPBACK, settings.flower_port, "/healthcheck"),
        tier=Tier.FRONT,
        vital=False,
        address=f"http://{LOOPBACK}:{settings.flower_port}",
    )


def dicom(settings: Settings) -> Part:
    """The DICOM listener on `settings.dicom_host` and `settings.dicom_port`."""
    host, port = settings.dicom_host, settings.dicom_port or 0
    return Part(
        name="dicom",
        argv=[*PYTHON, "pipeline.dicom.listener"],
        env=environment(_with_own_metrics(settings, "dicom")),
        ready=lambda: listens(reachable(host), port),
        tier=Tier.FRONT,
        grace_s=settings.drain_s + 5.0,  # it waits that long itself for what is half received
        address=f"dicom://{settings.dicom_ae_title}@{reachable(host)}:{port}",
    )


def workers(settings: Settings) -> Iterator[Part]:
    """A worker for preparing, one for each stage of the catalogue, and the reconciler."""
    roll = RollCall(settings)
    for name in _pools(settings):
        yield Part(
            name=name,
            argv=[*PYTHON, "workers", name],
            env=environment(_with_own_metrics(settings, name)),
            ready=lambda name=name: roll.present(name),  # type: ignore[misc]
            tier=Tier.WORKER,
            ready_s=FIRST_START_S,
            grace_s=settings.drain_s,
        )
    yield Part(
        name="reconcile",
        argv=[*PYTHON, "workers", "reconcile"],
        env=environment(_with_own_metrics(settings, "reconcile")),
        ready=lambda: True,  # it serves nobody; that it stays alive is watched
        tier=Tier.WORKER,
        grace_s=settings.drain_s,
    )


def _pools(settings: Settings) -> list[str]:
    return ["prepare", *(stage.name for stage in load_catalogue(settings.catalogue))]


def _with_own_metrics(settings: Settings, name: str) -> Settings:
    """On one machine each process needs a port of its own: they count up from the setting."""
    if not settings.metrics_port:
        return settings
    place = [*_pools(settings), "reconcile", "dicom", "dicom-send"].index(name)
    return settings.model_copy(update={"metrics_port": settings.metrics_port + place})


def sender(settings: Settings) -> Part:
    """What sends results to `settings.dicom_destination`."""
    return Part(
        name="dicom-send",
        argv=[*PYTHON, "pipeline.delivery"],
        env=environment(_with_own_metrics(settings, "dicom-send")),
        ready=lambda: True,  # it serves nobody; that it stays alive is watched
        tier=Tier.WORKER,
        grace_s=settings.drain_s,
    )


class RollCall:
    """Which Celery workers of this host answer; one call serves all who ask within a second."""

    def __init__(self, settings: Settings) -> None:
        """Remember the broker; nobody is called yet."""
        self._settings = settings
        self._asked_at = 0.0
        self._present: frozenset[str] = frozenset()

    def present(self, worker: str) -> bool:
        """Whether the worker `worker@<this host>` answered the last call."""
        if time.monotonic() - self._asked_at > 1.0:
            self._present = frozenset(self._call())
            self._asked_at = time.monotonic()
        return f"{worker}@{socket.gethostname()}" in self._present

    def _call(self) -> Iterator[str]:
        app = make_app(self._settings)
        try:
            for answer in app.control.ping(timeout=0.5):
                yield from answer
        except BROKER_ERRORS:
            return
        finally:
            app.close()
