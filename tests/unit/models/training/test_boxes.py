"""Radiologists' boxes become targets that follow the image through its augmentation."""

from pathlib import Path

import pytest
import torch

from models.training import data
from models.training.augment import AugmentConfig, augment
from models.training.boxes import GRID, Box, Drawn, read_boxes
from models.training.errors import ManifestError
from models.training.labels import CHEST
from models.training.loss import box_match
from models.training.manifest import Record, read_manifest
from models.training.network import WHERE, MultiHead
from tests.unit.models.training.conftest import tiny_config

MASS = CHEST.index("Mass")


def test_boxes_need_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text("file,finding,x,y,width,height\na.png,Mass,0.1,0.2,0.3,0.4\n")
    assert read_boxes(path) == [Box("a.png", "Mass", 0.1, 0.2, 0.3, 0.4)]
    path.write_text("file,finding\na.png,Mass\n")
    with pytest.raises(ManifestError, match="needs the columns"):
        read_boxes(path)


def test_a_box_is_drawn_for_its_own_image_and_label_only() -> None:
    records = [Record(Path("data/a.png"), "train", True), Record(Path("data/b.png"), "train", True)]
    boxes = [Box("b.png", "Mass", 0.5, 0.25, 0.25, 0.5), Box("b.png", "Fracture", 0, 0, 1, 1)]
    drawn = Drawn(records, [*boxes, Box("c.png", "Mass", 0, 0, 1, 1)], Path("data"))

    maps = drawn.maps([0, 1])

    assert len(drawn) == 1
    assert float(maps[0].sum()) == 0.0
    assert float(maps[1].sum()) == float(maps[1, MASS].sum()) == GRID / 4 * GRID / 2
    assert float(maps[1, MASS, GRID // 2, GRID // 2]) == 1.0
    assert float(maps[1, MASS, GRID // 2, GRID // 2 - 1]) == 0.0


def test_a_box_stays_on_its_spot_through_the_augmentation() -> None:
    images = torch.zeros(32, 96, 96, dtype=torch.uint8)
    images[:, 60:84, 12:36] = 255
    maps = torch.zeros(32, 1, GRID, GRID)
    maps[:, :, 30:42, 6:18] = 1.0
    quiet = AugmentConfig(
        rotate_deg=20, turn=0.5, contrast=0, gamma=0, invert=0, equalize=0, blur=0, noise=0,
        coarse=0, border=0, marker=0, erase=0,
    )  # fmt: skip

    seen, moved = augment(images, GRID, quiet, torch.Generator().manual_seed(3), maps)

    assert moved is not None
    inside = (seen * moved).sum((1, 2, 3)) / moved.sum((1, 2, 3))
    assert float(inside.min()) > 0.8
    # The square itself did move.
    assert float((moved - maps).abs().amax((1, 2, 3)).min()) > 0.9


def test_box_match_is_least_where_the_evidence_lies_in_the_box() -> None:
    boxes = torch.zeros(1, 2, 8, 8)
    boxes[0, 1, :4, 4:] = 1.0
    right, wrong = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    right[0, 1, :2, 2:] = 8.0
    wrong[0, 1, 2:, :2] = 8.0
    flat = box_match(torch.zeros(1, 2, 4, 4), boxes).item()
    assert box_match(right, boxes).item() < flat < box_match(wrong, boxes).item()
    assert flat == pytest.approx(torch.tensor(16.0).log().item())


def test_without_any_box_the_loss_is_zero_with_a_zero_gradient() -> None:
    maps = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = box_match(maps, torch.zeros(2, 3, 8, 8))
    loss.backward()
    assert loss.item() == 0.0
    assert maps.grad is not None
    assert float(maps.grad.abs().sum()) == 0.0


def test_the_places_of_a_label_add_up_to_its_logit() -> None:
    network = MultiHead(("chest",)).eval()
    with torch.no_grad():
        found = network(torch.randn(2, 1, 64, 64))
    bias = network.heads["to_chest"].bias
    assert torch.allclose(found[WHERE].mean((2, 3)) + bias, found["chest"], atol=1e-5)


def test_learning_from_boxes_needs_boxes(manifest: Path, tmp_path: Path) -> None:
    records = read_manifest(manifest)
    asking = tiny_config("chest", loss={"chest": 1.0, "where": 0.1})
    with pytest.raises(ManifestError, match="--boxes"):
        data.load(records, asking, tmp_path)
    path = tmp_path / "boxes.csv"
    path.write_text("file,finding,x,y,width,height\nelsewhere.png,Mass,0.1,0.2,0.3,0.4\n")
    with pytest.raises(ManifestError, match="no box belongs"):
        data.load(records, asking, tmp_path, path)
