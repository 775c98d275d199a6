"""Heatmaps: the closed form against autograd, and the picture."""

import io

import numpy as np
import pytest
from PIL import Image

from models.heatmap import grad_cam, has_image, layer, overlay, raw_png


def test_closed_form_is_grad_cam_of_autograd_up_to_a_constant() -> None:
    torch = pytest.importorskip("torch")
    from models.densenet import build

    torch.manual_seed(0)
    network = build(n_labels=3).eval()
    features = network.forward_features(torch.randn(1, 1, 96, 96)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.forward_head(features)[0, 1], features)
    alpha = gradient[0].mean(dim=(1, 2))  # Selvaraju et al. 2017, eq. 1
    expected = torch.relu((alpha[:, None, None] * features[0]).sum(0)).detach().numpy()

    weights = network.classifier.weight[1].detach().numpy()
    result = grad_cam(features[0].detach().numpy(), weights)

    assert expected.max() > 0
    np.testing.assert_allclose(result, expected / expected.max(), atol=1e-5)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        ([[4, 2], [0, -4]], [[1, 0.5], [0, 0]]),
        ([[-1, -3], [-5, -5]], [[1, 0.5], [0, 0]]),
        ([[-1, -1], [-1, -1]], [[0, 0], [0, 0]]),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
    ],
    ids=["negative-is-cut", "all-negative-shows-the-least", "even", "nothing"],
)
def test_evidence_becomes_heat(evidence: list[list[float]], expected: list[list[float]]) -> None:
    features = np.array([evidence, np.ones((2, 2))], np.float32)
    result = grad_cam(features, np.array([1, 0], np.float32))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, expected)


Gray = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def shown(image: Gray, heat: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Gray:
    """The image with the map over it."""
    return decode(overlay(image, layer(heat, image.shape)))


def decode(png: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png)) as picture:
        picture.load()
        return np.asarray(picture)


@pytest.fixture
def image() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)


def test_overlay_has_the_size_of_the_image_and_leaves_cold_parts_alone(image: Gray) -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[1, 3] = 1
    picture = shown(image, heat)
    assert picture.shape == (60, 90, 3)
    np.testing.assert_array_equal(picture[:, :40], np.repeat(image[:, :40, None], 3, axis=2))
    hot = picture[15:30, 75:].astype(int).mean(axis=(0, 1))
    assert hot[0] > hot[2] + 20  # yellow to red, and visible


def test_overlay_of_nothing_is_the_image(image: Gray) -> None:
    picture = shown(image, np.zeros((7, 7), np.float32))
    np.testing.assert_array_equal(picture, np.repeat(image[..., None], 3, axis=2))


def test_overlay_shows_the_anatomy_under_the_hottest_spot() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8).repeat(8), (64, 4))
    picture = shown(stripes, np.ones((2, 2), np.float32)).astype(int)
    assert picture[:, 8:16].mean() - picture[:, :8].mean() > 80


def test_overlay_mixes_the_colour_of_the_level_with_the_gray_below(image: Gray) -> None:
    hottest = np.array([252, 255, 164])  # the upper end of "inferno"
    expected = 0.4 * image[..., None] + 0.6 * hottest
    picture = shown(image, np.ones((3, 2), np.float32))
    np.testing.assert_allclose(picture, expected, atol=0.51)


def test_a_layer_is_small_and_says_that_the_image_is_not_in_it(image: Gray) -> None:
    heat = np.outer(np.hanning(7), np.hanning(7)).astype(np.float32)
    stored = layer(heat, (512, 512))
    assert len(stored) < 512 * 512 / 8
    assert not has_image(stored)
    assert has_image(overlay(image, layer(heat, image.shape)))
    assert has_image(raw_png(heat))


@pytest.mark.parametrize(
    ("heat", "shape"),
    [(np.zeros((2, 2), np.float32), (4, 4, 3)), (np.zeros(4, np.float32), (4, 4))],
)
def test_other_shapes_are_refused(
    heat: np.ndarray[tuple[int, ...], np.dtype[np.float32]], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        layer(heat, shape)


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)], ids=["rgb", "float"]
)
def test_other_images_are_refused(picture: Gray) -> None:
    with pytest.raises(ValueError, match="two-dimensional uint8"):
        overlay(picture, layer(np.zeros((2, 2), np.float32), (4, 4)))


def test_a_layer_of_another_size_or_none_at_all_is_refused(image: Gray) -> None:
    wider = layer(np.ones((2, 2), np.float32), (60, 91))
    for stored, words in ((wider, "60, 91"), (wider[:40], "no picture"), (b"", "no picture")):
        with pytest.raises(ValueError, match=words):
            overlay(image, stored)


def test_the_raw_map_keeps_its_size_and_values() -> None:
    heat = np.array([[0, 0.5, 1], [0.25, 2, -1]], np.float32)
    np.testing.assert_array_equal(decode(raw_png(heat)), [[0, 128, 255], [64, 255, 0]])


def test_single_pixels_are_drawn() -> None:
    assert shown(np.zeros((1, 1), np.uint8), np.ones((1, 1), np.float32)).shape == (1, 1, 3)
