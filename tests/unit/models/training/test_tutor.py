"""A tutor is fine-tuned, asked, and learnt from where it has an answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training import checkpoint, data, recipe, session, tutor
from models.training.config import TrainConfig, restored
from models.training.data import DataSet
from models.training.errors import CheckpointError, ConfigError
from models.training.labels import CHEST
from models.training.lite import LiteTrunk
from models.training.loss import masked_match
from models.training.manifest import read_manifest
from models.training.network import MultiHead
from models.training.sampling import epoch_batch
from tests.unit.models.training.conftest import tiny_config

CPU = torch.device("cpu")
TUTOR = {
    "heads": ["chest"],
    "network": "lite0",
    "epochs": True,
    "head_lr": 5.0,
    "loss": {"chest": 1.0},
    "shares": {"chest:tiny": 1.0},
    "phase": [{"px": 32, "steps": 2, "batch": 8, "lr": 1e-3, "lr_end": 1e-3}],
}


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


def plan(config: TrainConfig, out: Path, *tutors: Path) -> session.Plan:
    return session.Plan(config, out, None, out.parent / "cache", tutors=tutors)


@pytest.fixture(scope="module")
def finished(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tutors") / "tutor"
    session.run(plan(tiny_config("joint", **TUTOR), out), read_manifest(manifest), quiet)
    return out


@pytest.fixture(scope="module")
def dataset(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return data.load(read_manifest(manifest), tiny_config("joint"), tmp_path_factory.mktemp("c"))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers")


def test_a_tutor_starts_from_imagenet_and_at_the_labels_odds(dataset: DataSet) -> None:
    network = recipe.start(tiny_config("joint", **TUTOR), dataset, None)
    assert isinstance(network.trunk, LiteTrunk)
    bias = network.state_dict()["heads.to_chest.bias"]
    # Half of the generated chests are abnormal; of Hernia nothing is known.
    assert bias[CHEST.index("abnormal")].item() == pytest.approx(0.0)
    assert bias[CHEST.index("Hernia")].item() == pytest.approx(0.0)
    assert bias[CHEST.index("Edema")].item() < -4.0
    with pytest.raises(ConfigError, match="a tutor is a joint run"):
        tiny_config("chest", network="lite0")
    with pytest.raises(ConfigError, match="a chest head"):
        tiny_config("joint", network="lite0", heads=["gate"], loss={"gate": 1.0})
    with pytest.raises(ConfigError, match="one of densenet121, lite0, lite2"):
        tiny_config("joint", network="lite9")


def test_answers_are_there_for_training_images_of_the_tutors_data_only(
    dataset: DataSet, finished: Path, answers: Path
) -> None:
    taught = tutor.taught(dataset, [finished, finished], answers, CPU)
    chests = [r.xray_type == "chest" and r.split == "train" for r in dataset.records]
    known = ~np.isnan(taught.tutor).any(1)
    assert known.tolist() == chests
    assert taught.tutor.shape[1] == len(CHEST)
    assert taught.teacher.shape == (len(dataset.records), 2 * 1280)
    assert (~np.isnan(taught.teacher)).all(1).tolist() == chests

    # A mirrored image has the same answer; a second question is answered from the cache.
    mirrored = replace(dataset, images=np.ascontiguousarray(dataset.images[:, :, ::-1]))
    again = tutor.taught(mirrored, [finished], answers, CPU)
    assert again.tutor[known] == pytest.approx(taught.tutor[known], abs=1e-4)
    assert len(list(answers.glob("tutor-*.npz"))) == 2


def test_an_answered_image_is_learnt_from_the_tutors_alone(
    dataset: DataSet, finished: Path, answers: Path
) -> None:
    config = tiny_config("joint", heads=["chest"], loss={"chest": 1.0, "tutor": 1.0})
    taught = tutor.taught(dataset, [finished], answers, CPU)
    rows = dataset.chests(config)
    taught.tutor[rows[::2]] = np.nan
    weight = recipe.train_weights(taught, tiny_config("joint", shares={"chest": 1.0}))
    batch = recipe.draw(taught, taught.images, weight, config, 0)
    answered = ~torch.isnan(batch.tutor[:, 0])
    assert 0 < int(answered.sum()) < len(answered)

    left = recipe.unanswered(batch)
    assert bool(torch.isnan(left[answered]).all())
    assert torch.equal(left[~answered].nan_to_num(9), batch.chest[~answered].nan_to_num(9))
    terms = recipe.losses(MultiHead(["chest"]).eval()(batch.x), batch, config)
    assert set(terms) == {"chest", "tutor"}
    assert terms["tutor"].item() > 0.0


def test_logits_that_no_tutor_gave_count_for_nothing() -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([[1.5, torch.nan], [torch.nan, torch.nan]])
    loss = masked_match(logits, target)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.125)
    assert logits.grad is not None
    assert logits.grad.flatten().tolist()[1:] == [0.0, 0.0, 0.0]
    assert masked_match(logits, torch.full((2, 2), torch.nan)).item() == 0.0


def test_a_student_is_trained_from_a_tutor(manifest: Path, finished: Path, tmp_path: Path) -> None:
    config = tiny_config("joint", heads=["chest"], loss={"tutor": 1.0, "teacher": 1.0})
    with pytest.raises(ConfigError, match="--tutor"):
        session.run(plan(config, tmp_path / "none"), read_manifest(manifest), quiet)
    plain = tiny_config("joint", heads=["chest"], loss={"chest": 1.0})
    with pytest.raises(ConfigError, match="leave --tutor out"):
        session.run(plan(plain, tmp_path / "none", finished), read_manifest(manifest), quiet)
    session.run(plan(config, tmp_path / "one", finished), read_manifest(manifest), quiet)
    lines = (tmp_path / "one" / "log.jsonl").read_text().splitlines()
    assert {"tutor", "teacher"} <= set(json.loads(lines[0]))


def test_a_folder_without_a_finished_tutor_is_explained(
    dataset: DataSet, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no configuration of a run"):
        tutor.taught(dataset, [tmp_path], tmp_path, CPU)
    state = checkpoint.load(finished)
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_bytes((finished / "config.json").read_bytes())
    torch.save({**state, "step": 1}, half / checkpoint.FILE)
    with pytest.raises(CheckpointError, match="step 1 of 2"):
        tutor.taught(dataset, [half], tmp_path, CPU)
    gate = tiny_config("joint", heads=["gate"], loss={"gate": 1.0}).as_json()
    (half / "config.json").write_text(json.dumps(gate))
    with pytest.raises(CheckpointError, match="chest head"):
        tutor.taught(dataset, [half], tmp_path, CPU)


def test_a_configuration_survives_its_json() -> None:
    config = tiny_config("joint", **TUTOR)
    assert restored(json.loads(json.dumps(config.as_json())), "test") == config


def test_an_epoch_shows_each_image_once() -> None:
    weight = torch.tensor([0.2, 0.0, 0.3, 0.1, 0.2, 0.2])
    first = torch.cat([epoch_batch(weight, 2, 5, step) for step in (0, 1)])
    assert len(set(first.tolist())) == 4
    assert 1 not in first.tolist()
    later = torch.cat([epoch_batch(weight, 2, 5, step) for step in range(2, 12)])
    assert set(later.tolist()) == {0, 2, 3, 4, 5}
    assert torch.equal(epoch_batch(weight, 2, 5, 7), epoch_batch(weight, 2, 5, 7))
