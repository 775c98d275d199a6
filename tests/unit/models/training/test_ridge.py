"""The chest head in closed form: what it learns, from whom, and what it leaves alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training import data, ridge
from models.training.data import DataSet
from models.training.labels import CHEST
from models.training.manifest import read_manifest
from models.training.metrics import auc
from models.training.network import PREFIX, MultiHead
from tests.unit.models.training.conftest import tiny_config

CPU = torch.device("cpu")
CONFIG = tiny_config("chest", head_ridge=0.1, shares={"chest": 1.0})
ABNORMAL, MASS, HERNIA = (CHEST.index(name) for name in ("abnormal", "Mass", "Hernia"))


@pytest.fixture(scope="module")
def dataset(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    chests = [r for r in read_manifest(manifest) if r.xray_type == "chest"]
    return data.load(chests, CONFIG, tmp_path_factory.mktemp("c"))


def network() -> MultiHead:
    torch.manual_seed(11)
    return MultiHead(("chest",)).eval()


def head_of(found: MultiHead) -> torch.nn.Linear:
    linear = found.heads[PREFIX + "chest"]
    assert isinstance(linear, torch.nn.Linear)
    return linear


def test_the_head_tells_discs_from_noise_on_a_trunk_that_never_learnt(dataset: DataSet) -> None:
    solved = network()
    ridge.solve(solved, dataset, CONFIG, CPU)
    rows = dataset.rows("val")
    with torch.inference_mode():
        logits = solved(data.inputs(dataset.images[rows], CONFIG.input_spec))["chest"].numpy()
    truth = dataset.targets.chest[rows]
    assert auc(truth[:, ABNORMAL] == 1, logits[:, ABNORMAL]) > 0.9


def test_a_label_that_no_data_set_informs_keeps_what_it_had(dataset: DataSet) -> None:
    before = head_of(network()).weight.detach().clone()
    solved = network()
    ridge.solve(solved, dataset, CONFIG, CPU)
    after = head_of(solved).weight
    assert torch.equal(after[HERNIA], before[HERNIA])
    assert not torch.allclose(after[MASS], before[MASS])
    assert torch.equal(solved.trunk.features.conv0.weight, network().trunk.features.conv0.weight)


def test_a_difference_between_data_sets_teaches_nothing() -> None:
    # Both data sets have the same truths; the feature only says which of them an image is from.
    names = np.repeat(np.array(["adults", "children"]), 20)
    truth = np.tile(np.array([0.0, 1.0], np.float32), 20)
    truth[:5] = 1.0
    features = np.where(names == "adults", 1.0, -1.0)[:, None]
    found = ridge._label(features, truth, names, CONFIG)
    assert found is not None
    assert found[0] == pytest.approx([0.0], abs=1e-12)


def test_a_kept_part_of_the_trained_head_stays_in_the_answer(dataset: DataSet) -> None:
    trained = head_of(network()).weight[ABNORMAL].detach()
    whole, half = network(), network()
    ridge.solve(whole, dataset, CONFIG, CPU)
    ridge.solve(half, dataset, replace(CONFIG, head_keep=0.5), CPU)
    solved, mixed = (head_of(n).weight[ABNORMAL].detach() for n in (whole, half))
    # What is left of the mixture without the solved half points where the trained head did.
    rest = mixed - 0.5 * solved
    assert torch.cosine_similarity(rest, trained, 0) > 0.999


def test_a_data_set_without_a_share_is_not_asked(dataset: DataSet) -> None:
    before = head_of(network()).weight.detach().clone()
    solved = network()
    ridge.solve(solved, dataset, replace(CONFIG, shares={"chest:others": 1.0}), CPU)
    assert torch.equal(head_of(solved).weight, before)
