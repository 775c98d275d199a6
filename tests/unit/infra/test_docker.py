"""The Dockerfile and what goes into its images."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("extra", [(), ("cpu",), ("models",)])
def test_the_requirements_of_each_image(extra: tuple[str, ...]) -> None:
    script = ROOT / "infra/docker/requirements.py"
    said = subprocess.run(
        [sys.executable, script, *extra], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert ("torch>=" in said) == (extra == ("models",))
    assert ("onnxruntime" in said) == bool(extra)


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
"""
TORCH = {"torch", "torchvision"}
MODELS = TORCH | {"onnx", "onnxruntime", "isal"}
COMMANDS = """
import pkgutil, importlib, pipeline.commands as folder
for module in pkgutil.iter_modules(folder.__path__):
    importlib.import_module(f"{folder.__name__}.{module.name}")
"""
MIGRATE = (
    "import alembic.command; from pipeline import db; from pipeline.storage import ObjectStore"
)
ON_CPU = """
import numpy, workers.infer
from models.catalogue import STAGES
from models.stage import load
(answer,) = load(STAGES[0], device="cpu").predict([numpy.zeros((64, 64), numpy.uint8)])
assert answer.answer
"""


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        (MODELS, "from pipeline.api.app import create_app; create_app().openapi()"),
        (MODELS, "import pipeline.embedded.monitor, workers.__main__, workers.reconcile"),
        (MODELS, "import workers.prepare, pipeline.dicom.listener"),
        (MODELS, COMMANDS),
        (MODELS, MIGRATE),
        (MODELS, "from pipeline.doctor import checks"),
        (TORCH, ON_CPU),
    ],
    ids=["api", "workers", "prepare", "commands", "migrate", "doctor", "models on CPUs"],
)
def test_what_an_image_lacks_its_programs_do_without(
    missing: set[str], code: str, tmp_path: Path
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=missing) + code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
