"""The Dockerfile and what goes into its images."""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "infra/docker/Dockerfile"


def stage(name: str) -> str:
    """The instructions of one build stage."""
    parts = re.split(r"^(?=FROM )", DOCKERFILE.read_text(), flags=re.MULTILINE)
    (found,) = (part for part in parts if re.match(rf"FROM .* AS {name}\n", part))
    return found


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    said = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("target", ["api", "worker"])
def test_an_image_runs_as_nobody_under_tini_and_can_be_asked(target: str) -> None:
    text = stage(target)
    assert "USER 10001:10001" in text
    assert 'ENTRYPOINT ["tini", "--"]' in text
    assert "HEALTHCHECK" in text


def test_code_comes_after_dependencies() -> None:
    assert "COPY models" not in stage("dependencies")
    for target, before in (("api", "dependencies"), ("worker", "runtime")):
        text = stage(target)
        assert text.index(f"--from={before}") < text.index("from=wheel")


def test_what_is_copied_is_let_through() -> None:
    let_through = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert source in let_through


def requirements(build_stage: str, runtime: str = "") -> list[Requirement]:
    """What a build stage installs, as its own command prints it."""
    command = re.search(r"^RUN python (requirements\.py.*?) > ", stage(build_stage), re.MULTILINE)
    assert command is not None
    words = [runtime if word == '"$RUNTIME"' else word for word in command[1].split()]
    said = subprocess.run(
        [sys.executable, DOCKERFILE.with_name(words[0]), *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Requirement(line) for line in said.stdout.splitlines()]


@pytest.mark.parametrize(
    ("build_stage", "runtime", "wanted"),
    [
        ("dependencies", "", {"opentelemetry-sdk"}),
        ("runtime", "cpu", {"opentelemetry-sdk", "onnxruntime"}),
        ("runtime", "models", {"opentelemetry-sdk", "onnxruntime", "torch"}),
    ],
)
def test_the_requirements_of_each_image(build_stage: str, runtime: str, wanted: set[str]) -> None:
    found = {requirement.name for requirement in requirements(build_stage, runtime)}
    assert found >= {"fastapi", "celery"}
    assert found & {"opentelemetry-sdk", "onnxruntime", "torch"} == wanted


def installed(wanted: Iterable[Requirement]) -> set[str]:
    """The distributions that come with these, by their canonical names."""
    found: set[str] = set()
    seen: set[str] = set()
    open_ones = list(wanted)
    while open_ones:
        one = open_ones.pop()
        if str(one) in seen:
            continue
        seen.add(str(one))
        found.add(canonicalize_name(one.name))
        try:
            needs = map(Requirement, requires(one.name) or ())
        except PackageNotFoundError:  # only some other platform wants it
            continue
        extras = ("", *one.extras)
        open_ones += [
            n
            for n in needs
            if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in extras)
        ]
    return found


def missing(build_stage: str, runtime: str = "") -> list[str]:
    """Modules that are here and not in the image."""
    there = installed(requirements(build_stage, runtime)) | {"xraytriage"}
    return [
        module
        for module, owners in packages_distributions().items()
        if not there & {canonicalize_name(owner) for owner in owners}
    ]


BLOCKED = """
import importlib.metadata as metadata, sys

NAMES = set({names})

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in NAMES:
            raise ModuleNotFoundError(name, name=name)

def distribution(name, found=metadata.distribution):
    if name in NAMES:
        raise metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path.insert(0, Blocked())
metadata.distribution = distribution
"""
COMMANDS = """
import pkgutil, importlib, pipeline.commands as folder
for module in pkgutil.iter_modules(folder.__path__):
    importlib.import_module(f"{folder.__name__}.{module.name}")
"""
MIGRATE = (
    "import alembic.command; from pipeline import db; from pipeline.storage import ObjectStore"
)
DOCTOR = """
from pipeline.doctor import checks
from pipeline.settings import Settings
servers = Settings(broker_url="redis://127.0.0.1:9/0", s3_endpoint="http://127.0.0.1:9")
(runtime,) = [check for check in checks(servers) if check.name == "model runtime"]
assert "onnxruntime missing, torch missing" in runtime.found, runtime
assert runtime.ok, runtime
"""
TRACED = """
from pipeline import tracing
from pipeline.settings import Settings
assert tracing.set_up(Settings(otlp_endpoint="http://127.0.0.1:9"), "test")
tracing.shut_down()
"""
ON_CPU = """
import numpy, workers.infer
from models.catalogue import STAGES
from models.stage import load
(answer,) = load(STAGES[0], device="cpu").predict([numpy.zeros((64, 64), numpy.uint8)])
assert answer.answer
"""
API, WORKER = ("dependencies",), ("runtime", "cpu")


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (API, "from pipeline.api.app import create_app; create_app().openapi()"),
        (API, "import pipeline.embedded.monitor, workers.__main__, workers.reconcile"),
        (API, "import workers.prepare, pipeline.dicom.listener, pipeline.delivery"),
        (API, "import flower.command"),
        (API, COMMANDS),
        (API, MIGRATE),
        (API, DOCTOR),
        (API, TRACED),
        (WORKER, ON_CPU),
        (WORKER, TRACED),
    ],
    ids=[
        *("api", "workers", "prepare and DICOM", "flower", "commands", "migrate", "doctor"),
        *("traces of the api", "models on CPUs", "traces of a worker"),
    ],
)
def test_what_an_image_lacks_its_programs_do_without(
    image: tuple[str, ...], code: str, tmp_path: Path
) -> None:
    names = missing(*image)
    assert {"torch", "pytest"} <= set(names)
    said = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=names) + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
