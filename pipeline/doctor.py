"""What is misconfigured on this machine, and how to mend it. Changes nothing that stays."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from tempfile import TemporaryFile

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from models.artifact import load_cards
from models.card import ModelCard
from models.catalogue import load_catalogue, operating_points, validate
from models.errors import CatalogueError, ModelError
from models.spec import StageSpec
from pipeline import db
from pipeline.dispatch import BROKER_ERRORS, make_app, queue_of
from pipeline.embedded.record import connect
from pipeline.embedded.servers import MissingServerError, valkey_binary, weed_binary
from pipeline.flow import PREPARE
from pipeline.settings import Device, Settings
from pipeline.storage import ObjectStore, StorageError, free_bytes

PYTHON = (3, 11)
OPEN_FILES = 1024
"""Sockets and files of the busiest process, with room to spare."""
SKEW_S = 5.0
"""Leases run by the database's clock; only times shown to people suffer from a difference."""
ANSWER_S = 3.0

OF_TESTS = ("XRAYTRIAGE_TEST_", "XRAYTRIAGE_FUZZ_")
"""Variables of the test suite, which are no settings."""

NOT_RUNNING = "embedded; starts with the stack"


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    """What to do; empty when all is well."""


def checks(settings: Settings) -> Iterator[Check]:
    """All checks, each as soon as it is done. No answer of a server counts as trouble."""
    yield _python()
    yield _names()
    yield _runtime(settings)
    yield from _binaries(settings)
    yield _folder(settings)
    yield _disk(settings)
    yield _open_files()
    stages, cards, check = _weights(settings)
    yield check
    if settings.operating_point is not None:
        yield _operating_point(settings.operating_point, cards)
    # What is reached by the addresses of a running stack, if one runs here.
    reached = connect(settings) or settings
    yield from _broker(reached, stages)
    yield _storage(reached)
    yield from _database(reached)


def _check(name: str, ok: bool, found: str, mend: str) -> Check:
    return Check(name, ok, found, "" if ok else mend)


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    return _check("python", sys.version_info >= PYTHON, found, f"use Python {wanted} or later")


def _names() -> Check:
    """A misspelled setting would be passed over in silence: the default holds."""
    prefix = str(Settings.model_config["env_prefix"])
    known = [prefix + name.upper() for name in Settings.model_fields]
    given = [name for name in os.environ if name.upper().startswith(prefix)]
    unknown = sorted(
        name for name in given if name.upper() not in known and not name.startswith(OF_TESTS)
    )
    if not unknown:
        return Check("settings", ok=True, found=f"{len(given)} variables {prefix}…")
    close = [match for name in unknown for match in get_close_matches(name, known, 1)]
    mend = "unset what is no setting" + (f"; you may mean {', '.join(close)}" if close else "")
    return Check("settings", ok=False, found=f"unknown: {', '.join(unknown)}", mend=mend)


def _runtime(settings: Settings) -> Check:
    """Something must run the models where they run; CUDA must be there when it is demanded.

    Who has a broker elsewhere may have the workers elsewhere: the image of the API has no runtime.
    """
    has = {name: _version(name) for name in ("onnx", "onnxruntime", "torch")}
    has["CUDA driver"] = "present" if find_library("cuda") else None
    found = ", ".join(f"{name} {number or 'missing'}" for name, number in has.items())
    if settings.device is Device.CUDA:
        ok = bool(has["torch"] and has["CUDA driver"])
        mend = "install torch and the driver, or start with --device cpu"
        return _check("model runtime", ok, found, mend)
    ok = bool((has["onnx"] and has["onnxruntime"]) or has["torch"])
    if not ok and settings.broker_url is not None:
        return Check("model runtime", ok=True, found=f"{found}; the workers elsewhere need one")
    return _check("model runtime", ok, found, "pip install 'xraytriage[models]'")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _binaries(settings: Settings) -> Iterator[Check]:
    """The servers that no setting replaces must be installed."""
    wanted = []
    if settings.broker_url is None:
        wanted.append(("valkey", valkey_binary))
    if settings.s3_endpoint is None:
        wanted.append(("seaweedfs", weed_binary))
    for name, binary in wanted:
        try:
            yield Check(f"{name} program", ok=True, found=str(binary()))
        except MissingServerError as error:
            yield Check(f"{name} program", ok=False, found="missing", mend=str(error))


def _folder(settings: Settings) -> Check:
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    # Permissions don't tell it of a read-only file system, a quota or a full disk; a file does.
    try:
        with TemporaryFile(dir=existing) as file:
            file.write(b"doctor")
    except OSError as error:
        found = f"{folder} (not writable: {error.strerror})"
        mend = "choose another with XRAYTRIAGE_DATA_DIR"
        return Check("data folder", ok=False, found=found, mend=mend)
    return Check("data folder", ok=True, found=f"{folder} (writable)")


def _disk(settings: Settings) -> Check:
    free = free_bytes(settings.data_dir)
    least = settings.disk_watermark_bytes
    found = f"{free / 2**30:.1f} GiB free, new work is refused below {least / 2**30:.1f} GiB"
    mend = "free space, or move the data folder; work goes on by itself"
    return _check("disk", free >= least, found, mend)


def _open_files() -> Check:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    ok = limit == resource.RLIM_INFINITY or limit >= OPEN_FILES
    return _check("open files", ok, f"limit {limit}", f"ulimit -n {OPEN_FILES * 4}")


def _weights(
    settings: Settings,
) -> tuple[tuple[StageSpec, ...], dict[str, ModelCard], Check]:
    """The catalogue fits together, and every stage's weights are those of its card."""
    try:
        stages = load_catalogue(settings.catalogue)
        cards = load_cards(stages)
        validate(stages, cards)
    except ModelError as error:
        mend = "correct what it names; the shipped weights come back with the repository"
        return (), {}, Check("weights", ok=False, found=str(error), mend=mend)
    found = ", ".join(f"{name} {card.model_version}" for name, card in cards.items())
    return stages, cards, Check("weights", ok=True, found=found)


def _operating_point(wanted: str, cards: dict[str, ModelCard]) -> Check:
    try:
        points = operating_points(wanted, cards)
    except CatalogueError as error:
        mend = "correct or unset XRAYTRIAGE_OPERATING_POINT"
        return Check("operating point", ok=False, found=str(error), mend=mend)
    used = ", ".join(
        f"{stage} {point or cards[stage].default_operating_point}"
        for stage, point in points.items()
        if cards[stage].operating_points
    )
    return Check("operating point", ok=True, found=used)


def _broker(settings: Settings, stages: tuple[StageSpec, ...]) -> Iterator[Check]:
    if settings.broker_url is None:
        yield Check("broker", ok=True, found=NOT_RUNNING)
        return
    with Redis.from_url(
        settings.broker_url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
    ) as client:
        try:
            client.ping()
        except RedisError as error:
            mend = "start the broker, or correct XRAYTRIAGE_BROKER_URL"
            yield Check("broker", ok=False, found=str(error), mend=mend)
            return
        yield Check("broker", ok=True, found="answers")
        yield _eviction(client)
    yield _consumers(settings, stages)


def _eviction(client: Redis) -> Check:
    try:
        answer: dict[str, str] = client.config_get("maxmemory-policy")  # type: ignore[assignment]
    except ResponseError:
        return Check("broker policy", ok=True, found="hosted; it tells nobody its policy")
    policy = answer.get("maxmemory-policy", "unknown")
    mend = "CONFIG SET maxmemory-policy noeviction: any other one throws messages away"
    return _check("broker policy", policy == "noeviction", policy, mend)


def _consumers(settings: Settings, stages: tuple[StageSpec, ...]) -> Check:
    wanted = {queue_of(name) for name in (PREPARE, *(stage.name for stage in stages))}
    app = make_app(settings)
    try:
        # Not `inspect`, which takes replicas of one service, alike in name, for one worker.
        answers = app.control.broadcast("active_queues", reply=True, timeout=1.0) or []
    except BROKER_ERRORS:
        answers = []
    finally:
        app.close()
    served = {q["name"] for answer in answers for queues in answer.values() for q in queues}
    alone = sorted(wanted - served)
    found = f"{len(answers)} workers answer"
    if alone:
        found += f"; nobody works on {', '.join(alone)}"
    return _check(
        "workers", not alone, found, "start `python -m workers STAGE`, or look at its log"
    )


def _storage(settings: Settings) -> Check:
    """Write, read and remove one small object."""
    if settings.s3_endpoint is None:
        return Check("storage", ok=True, found=NOT_RUNNING)
    hasty = settings.model_copy(update={"s3_attempts": 1, "s3_timeout_s": ANSWER_S})
    store = ObjectStore(hasty)
    try:
        store.ensure_bucket()
        ref = store.put_pack("doctor", [os.urandom(16)])[0]
        store.get(ref)
        store.delete(ref.key)
    except StorageError as error:
        mend = "correct XRAYTRIAGE_S3_ENDPOINT, …_S3_BUCKET or the keys, or start the storage"
        return Check("storage", ok=False, found=str(error), mend=mend)
    return Check("storage", ok=True, found=f"bucket {settings.s3_bucket} can be written and read")


def _database(settings: Settings) -> Iterator[Check]:
    if settings.database_url is None and not settings.sqlite_path.exists():
        yield Check("database", ok=True, found=f"{NOT_RUNNING} ({settings.sqlite_path})")
        return
    engine = db.engine(settings)
    try:
        yield _migrated(engine, settings)
        yield _clock(engine)
    except SQLAlchemyError as error:
        mend = "start the database, or correct XRAYTRIAGE_DATABASE_URL"
        yield Check("database", ok=False, found=str(getattr(error, "orig", error)), mend=mend)


def _migrated(engine: Engine, settings: Settings) -> Check:
    head = ScriptDirectory.from_config(db.migrations(settings)).get_current_head()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    mend = "start the stack once: it brings the tables up to date"
    return _check(
        "database", current == head, f"answers; tables at {current}, code at {head}", mend
    )


def _clock(engine: Engine) -> Check:
    with engine.connect() as connection:
        before = time.time()
        theirs = float(connection.execute(select(db.now_s())).scalar_one())
    skew_s = theirs - (before + time.time()) / 2
    mend = "let NTP set both clocks"
    return _check("clock", abs(skew_s) < SKEW_S, f"database is {skew_s:+.2f} s from here", mend)
