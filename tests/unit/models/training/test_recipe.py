"""Training: it learns, it resumes to the same result, and it draws what it should."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from models.spec import WEIGHTS_ROOT
from models.training import checkpoint, data, recipe, sampling
from models.training.augment import AugmentConfig, augment, equalize, working_px
from models.training.config import CONFIGS, TrainConfig, load_config, parse_config
from models.training.data import DataSet
from models.training.errors import CheckpointError, ConfigError, ManifestError
from models.training.heads import solve
from models.training.labels import CHEST, HEADS
from models.training.manifest import Record, read_manifest
from models.training.network import PREFIX, Ema, MultiHead, adopt
from tests.unit.models.training.conftest import tiny_config

CPU = torch.device("cpu")


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def dataset(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return data.load(read_manifest(manifest), tiny_config("joint"), tmp_path_factory.mktemp("c"))


def run(config: TrainConfig, dataset: DataSet, out: Path) -> dict[str, torch.Tensor]:
    out.mkdir(exist_ok=True)
    return recipe.train(config, dataset, out, None, CPU, quiet).state_dict()


def test_no_steps_take_the_stage_as_the_other_run_left_it(dataset: DataSet, tmp_path: Path) -> None:
    left = run(tiny_config("joint"), dataset, tmp_path / "joint")
    none = tiny_config("gate", phase=[{"px": 32, "steps": 0, "batch": 4, "lr": 1, "lr_end": 1}])
    (tmp_path / "gate").mkdir()
    taken = recipe.train(none, dataset, tmp_path / "gate", tmp_path / "joint", CPU, quiet)
    assert all(bool((left[name] == value).all()) for name, value in taken.state_dict().items())
    with pytest.raises(ConfigError, match="not below 0"):
        tiny_config(phase=[{"px": 32, "steps": -1, "batch": 4, "lr": 1, "lr_end": 1}])


def test_a_run_may_start_from_a_shipped_stage(dataset: DataSet, tmp_path: Path) -> None:
    shipped = WEIGHTS_ROOT / "chest"
    network = recipe.start(tiny_config("chest"), dataset, shipped)
    with safe_open(shipped / "weights.safetensors", framework="pt") as tensors:
        head = tensors.get_tensor("classifier.weight").float()
        first = tensors.get_tensor("features.conv0.weight").float()
    assert torch.equal(network.state_dict()["heads.to_chest.weight"], head)
    assert torch.equal(network.trunk.features.conv0.weight, first)
    # Another stage takes the trunk and starts with a head of its own.
    other = recipe.start(tiny_config("gate"), dataset, shipped)
    assert torch.equal(other.trunk.features.conv0.weight, first)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        recipe.start(tiny_config("gate"), dataset, tmp_path)


def test_a_few_steps_lower_the_loss(dataset: DataSet, tmp_path: Path) -> None:
    phase = {"px": 32, "steps": 28, "batch": 8, "lr": 2e-3, "lr_end": 2e-3}
    config = tiny_config("gate", phase=[phase])
    network = recipe.start(config, dataset, None)
    optimizer = torch.optim.RAdam(network.parameters())
    weight = recipe.train_weights(dataset, config)
    seen = [
        recipe.one_step(
            network,
            optimizer,
            recipe.draw(dataset, dataset.images, weight, config, step),
            config,
            step,
            CPU,
        )["gate"]
        for step in range(28)
    ]
    assert np.mean(seen[-4:]) < 0.8 * np.mean(seen[:4])


def test_a_resumed_run_ends_where_an_undisturbed_one_does(
    dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("joint")
    whole = run(config, dataset, tmp_path / "whole")
    monkeypatch.setattr(recipe, "SAVE_EVERY", 2)
    plain = recipe.one_step

    def interrupted(*args: object) -> dict[str, float]:
        if args[4] == 3:
            raise KeyboardInterrupt
        return plain(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config, dataset, tmp_path / "stopped")
    monkeypatch.setattr(recipe, "one_step", plain)
    resumed = run(config, dataset, tmp_path / "stopped")

    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_a_checkpoint_of_another_configuration_is_refused(dataset: DataSet, tmp_path: Path) -> None:
    run(tiny_config("gate"), dataset, tmp_path)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(tiny_config("gate", seed=99), dataset, tmp_path)


def test_a_damaged_or_missing_checkpoint_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train that stage first"):
        checkpoint.load(tmp_path)
    (tmp_path / checkpoint.FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(tmp_path)


def test_the_same_step_draws_the_same_batch(dataset: DataSet) -> None:
    config = tiny_config("joint")
    weight = recipe.train_weights(dataset, config)
    first, again, other = (
        recipe.draw(dataset, dataset.images, weight, config, step) for step in (3, 3, 4)
    )
    assert torch.equal(first.x, again.x)
    assert not torch.equal(first.x, other.x)


def test_solved_heads_do_better_and_leave_the_trunk_alone(dataset: DataSet) -> None:
    config = tiny_config("joint", head_images=48, head_l2=1e-3)
    network = MultiHead(config.heads)
    weight = recipe.train_weights(dataset, config)
    batch = recipe.draw(dataset, dataset.images, weight, config, 4)
    trunk = network.trunk.features.conv0.weight.clone()  # type: ignore[operator,union-attr]
    network.eval()
    with torch.no_grad():
        before = sum(float(v) for v in recipe.losses(network(batch.x), batch, config).values())
    solve(network, dataset, config, CPU)
    with torch.no_grad():
        after = sum(float(v) for v in recipe.losses(network(batch.x), batch, config).values())

    assert after < before
    assert torch.equal(trunk, network.trunk.features.conv0.weight)  # type: ignore[arg-type,union-attr]


def test_shares_and_normals_are_kept_by_the_sampler() -> None:
    def chest(abnormal: bool, count: int) -> list[Record]:
        record = Record(Path(), "train", True, "radiograph", "chest", abnormal, dataset="nih")
        return [record] * count

    others = [Record(Path(), "train", False, "ct")] * 500
    limbs = [Record(Path(), "train", True, "radiograph", "hand", dataset="d")] * 9
    records = chest(True, 90) + chest(False, 10) + others + limbs
    weight = sampling.weights(records, {"other": 0.3, "limb": 0.2, "chest": 0.5})

    assert weight[:90].sum().item() == pytest.approx(0.25)
    assert weight[90:100].sum().item() == pytest.approx(0.25)
    assert weight[100:600].sum().item() == pytest.approx(0.3)
    drawn = sampling.batch(weight, 4000, 1, 1)
    assert ((drawn >= 90) & (drawn < 100)).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_small_cells_weigh_as_the_square_root() -> None:
    def kind(name: str, count: int) -> list[Record]:
        return [Record(Path(), "train", True, "radiograph", name, dataset="d")] * count

    weight = sampling.weights(kind("hand", 400) + kind("femur", 4), {"limb": 1.0})
    assert (weight[:400].sum() / weight[400:].sum()).item() == pytest.approx(10.0)


def test_a_part_may_have_a_share_of_its_own() -> None:
    def kind(name: str, count: int) -> list[Record]:
        return [Record(Path(), "train", True, "radiograph", name, dataset="d")] * count

    records = kind("hand", 400) + kind("femur", 4) + kind("wrist", 25)
    weight = sampling.weights(records, {"limb": 0.75, "limb:wrist": 0.25})
    assert weight[404:].sum().item() == pytest.approx(0.25)
    assert (weight[:400].sum() / weight[400:404].sum()).item() == pytest.approx(10.0)


def test_no_image_for_any_share_is_an_error() -> None:
    with pytest.raises(ValueError, match="no image"):
        sampling.weights([Record(Path(), "train", False, "ct")], {"limb": 1.0})


def test_augmentation_keeps_shape_and_range() -> None:
    images = torch.randint(0, 256, (16, working_px(32), working_px(32)), dtype=torch.uint8)
    hard = AugmentConfig(
        turn=0.5, invert=1, equalize=1, blur=1, noise=1, coarse=1, border=1, marker=1, erase=1
    )
    found, _ = augment(images, 32, hard, torch.Generator().manual_seed(1))

    assert found.shape == (16, 1, 32, 32)
    assert 0.0 <= float(found.min()) < float(found.max()) <= 1.0


def test_equalisation_fills_the_range_evenly() -> None:
    dark = torch.rand(2, 1, 64, 64) * 0.1 + 0.2
    found = equalize(dark)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(found.std()) == pytest.approx(12**-0.5, abs=0.05)


def test_the_shipped_densenet_says_what_the_trained_network_said() -> None:
    network = MultiHead(("gate", "chest")).eval()
    x = torch.randn(2, 1, 64, 64)
    single = network.as_densenet("chest")

    assert torch.allclose(single(x), network(x)["chest"], atol=1e-6)
    assert single(x).shape == (2, len(CHEST))


def test_a_stage_starts_from_the_trunk_and_its_own_head() -> None:
    joint, gate = MultiHead(("gate", "chest"), 16), MultiHead(("gate",))
    fresh = adopt(gate, joint.state_dict())

    assert fresh == []
    head = PREFIX + "gate"
    assert torch.equal(gate.heads[head].weight, joint.heads[head].weight)  # type: ignore[arg-type]
    assert adopt(MultiHead(("type",)), joint.state_dict()) == [
        f"heads.{PREFIX}type.bias",
        f"heads.{PREFIX}type.weight",
    ]


def test_the_average_follows_slowly() -> None:
    linear = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(linear.weight)
    ema = Ema(linear, 0.5)
    torch.nn.init.ones_(linear.weight)
    for _ in range(30):
        ema.update(linear)
    assert 0.99 < float(ema.state["weight"]) <= 1.0


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = tiny_config(
        phase=[
            {"px": 32, "steps": 10, "batch": 2, "lr": 1.0, "lr_end": 1.0, "warmup": 4},
            {"px": 64, "steps": 10, "batch": 2, "lr": 1.0, "lr_end": 0.0},
        ]
    )
    rates = [config.at(step)[1] for step in range(21)]
    assert (rates[0], rates[9], rates[20]) == (pytest.approx(0.2), 1.0, 0.0)
    assert rates[15] == pytest.approx(0.5)
    assert (config.steps, config.input_px, config.at(12)[0].px) == (20, 64, 64)


@pytest.mark.parametrize("stage", ["joint", "gate", "type", "chest"])
def test_every_shipped_configuration_is_valid(stage: str) -> None:
    config = load_config(Path(recipe.__file__).parent / "configs" / f"{stage}.toml")
    assert config.stage == stage
    assert set(config.heads) <= set(HEADS)


@pytest.mark.parametrize("path", sorted((CONFIGS / "shipped").glob("*.toml")), ids=lambda p: p.stem)
def test_every_step_of_the_shipped_weights_has_a_valid_configuration(path: Path) -> None:
    config = load_config(path)
    assert config.stage == ("joint" if path.stem[0].isdigit() else path.stem)
    assert f"$C/{path.name}" in (path.parent / "README.md").read_text()


def test_a_wrong_configuration_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match="no such configuration"):
        load_config(path)
    path.write_text("stage = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)
    with pytest.raises(ConfigError, match="missing 'phase'"):
        parse_config({"stage": "gate"}, "c")
    with pytest.raises(ConfigError, match=r"unknown key.*rotate"):
        tiny_config(augment={"rotate": 3})
    with pytest.raises(ConfigError, match="at least one"):
        tiny_config(phase=[])


def test_training_needs_both_splits(manifest: Path, tmp_path: Path) -> None:
    only = [r for r in read_manifest(manifest) if r.split == "train"]
    with pytest.raises(ManifestError, match="both splits"):
        data.load(only, tiny_config(), tmp_path)


def test_the_log_holds_losses_and_validation(dataset: DataSet, tmp_path: Path) -> None:
    run(tiny_config("joint"), dataset, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert set(lines[-1]["val"]) >= {"gate", "type", "tiny_abnormal"}


def test_packed_images_are_kept(manifest: Path, tmp_path: Path) -> None:
    from models.training.pixels import pack, shrink

    records = read_manifest(manifest)[:3]
    first = pack(records, 24, tmp_path)
    assert len(list(tmp_path.glob("pack-*.npy"))) == 1
    assert (pack(records, 24, tmp_path) == first).all()
    assert shrink(first, 12).shape == (3, 12, 12)
    assert shrink(first, 48).shape == (3, 24, 24)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    from models.training.pixels import read_gray

    path = tmp_path / "a.png"
    path.write_bytes(b"text")
    with pytest.raises(ManifestError, match=r"a\.png: can't be read"):
        read_gray(path)
    Image.new("RGB", (1024, 256), (255, 0, 0)).save(path)
    gray = read_gray(path)
    assert (gray.shape, int(gray[0, 0])) == ((128, 512), 76)
