"""A stage in front of a fake runtime: order, batches, bad images, failures, decisions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.card import ModelCard
from models.errors import CardError, DeviceLostError, DeviceMemoryError, InferenceError, ModelError
from models.runtime import Float32
from models.stage import Stage

CardMaker = Callable[..., ModelCard]
Image = NDArray[np.uint8]


class FakeRuntime:
    """Gives each image the logits that its own mean calls for, and fails where told to."""

    name = "fake:cpu"

    def __init__(self, logits: Callable[[float], list[float]], capacity: int = 99) -> None:
        self.logits = logits
        self.capacity = capacity
        self.batches: list[int] = []
        self.asked_for_features: list[bool] = []

    def run(self, batch: Float32, *, features: bool) -> tuple[Float32, Float32 | None]:
        self.batches.append(len(batch))
        self.asked_for_features.append(features)
        if len(batch) > self.capacity:
            raise DeviceMemoryError
        rows = [self.logits(float(image.mean())) for image in batch]
        maps = np.zeros((len(batch), 2, 2, 2), np.float32)
        maps[:, 0, 0, 1] = 1
        maps[:, 1, 1, 0] = 2
        return np.array(rows, np.float32), maps if features else None


def image(value: int, shape: tuple[int, int] = (20, 30)) -> Image:
    return np.full(shape, value, np.uint8)


def bright_is_xray(mean: float) -> list[float]:
    return [-mean, mean]


def gate(card: ModelCard, runtime: FakeRuntime, **options: Any) -> Stage:
    return Stage(card, runtime, np.eye(2, dtype=np.float32), **options)


def test_answers_come_in_order_and_in_batches(make_card: CardMaker) -> None:
    runtime = FakeRuntime(bright_is_xray)
    stage = gate(make_card(), runtime, max_batch=2)

    predictions = stage.predict([image(250), image(0), image(200), image(10), image(255)])

    answers = [prediction.answer for prediction in predictions]
    assert answers == ["xray", "other", "xray", "other", "xray"]
    assert runtime.batches == [2, 2, 1]
    assert not any(runtime.asked_for_features)
    assert predictions[0].positives == ()
    assert predictions[0].heatmaps == {}
    assert sum(predictions[0].scores.values()) == pytest.approx(1)


def test_no_images_no_work(make_card: CardMaker) -> None:
    runtime = FakeRuntime(bright_is_xray)
    assert gate(make_card(), runtime).predict([]) == []
    assert runtime.batches == []


@pytest.mark.parametrize(("point", "expected"), [("balanced", "other"), ("sensitive", "xray")])
def test_the_operating_point_decides_the_gate(
    make_card: CardMaker, point: str, expected: str
) -> None:
    runtime = FakeRuntime(lambda _: [0.0, -0.5])  # softmax: 0.38 for "xray"
    stage = gate(make_card(), runtime, operating_point=point)
    assert stage.operating_point == point
    assert stage.predict([image(9)])[0].answer == expected


def test_an_unknown_operating_point_is_refused(make_card: CardMaker) -> None:
    with pytest.raises(CardError, match="no operating point 'brave'; choose one of: sensitive"):
        gate(make_card(), FakeRuntime(bright_is_xray), operating_point="brave")


@pytest.mark.parametrize(("logits", "expected"), [([3, 0, 0], "hand"), ([0.2, 0, 0], "unknown")])
def test_the_type_is_the_top_label_or_unknown(
    make_card: CardMaker, logits: list[float], expected: str
) -> None:
    card = make_card(("hand", "chest", "knee"), stage="type", unknown={"threshold": 0.5})
    stage = Stage(card, FakeRuntime(lambda _: logits), np.eye(3, 2, dtype=np.float32))
    assert stage.predict([image(1)])[0].answer == expected


@pytest.fixture
def chest_card(make_card: CardMaker) -> ModelCard:
    return make_card(("abnormal", "Mass", "Edema"), stage="chest", activation="sigmoid")


HEAD = np.array([[1, 0], [0, 1], [-1, 1]], np.float32)


def test_positive_labels_get_heatmaps(chest_card: ModelCard) -> None:
    runtime = FakeRuntime(lambda _: [1.0, 2.0, -3.0])
    (prediction,) = Stage(chest_card, runtime, HEAD).predict([image(1)])

    assert prediction.answer is None
    assert prediction.positives == ("Mass", "abnormal")
    assert prediction.scores["Mass"] == pytest.approx(1 / (1 + np.exp(-2)))
    assert set(prediction.heatmaps) == {"abnormal", "Mass"}
    np.testing.assert_array_equal(prediction.heatmaps["abnormal"], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(prediction.heatmaps["Mass"], [[0, 0], [1, 0]])
    assert runtime.asked_for_features == [True]


def test_an_abnormal_image_shows_its_top_finding(chest_card: ModelCard) -> None:
    stage = Stage(chest_card, FakeRuntime(lambda _: [1.0, -2.0, -1.0]), HEAD)
    (prediction,) = stage.predict([image(1)])
    assert prediction.positives == ("abnormal",)
    assert list(prediction.heatmaps) == ["abnormal", "Edema"]
    np.testing.assert_array_equal(prediction.heatmaps["Edema"], [[0, 0], [1, 0]])


def test_a_normal_image_has_no_heatmap(chest_card: ModelCard) -> None:
    (prediction,) = Stage(chest_card, FakeRuntime(lambda _: [-1.0] * 3), HEAD).predict([image(1)])
    assert prediction.positives == ()
    assert prediction.heatmaps == {}


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((0, 4), np.uint8),
    ],
    ids=["colour", "float", "empty"],
)
def test_a_bad_image_fails_alone(make_card: CardMaker, bad: Any) -> None:
    predictions = gate(make_card(), FakeRuntime(bright_is_xray)).predict([image(250), bad])
    assert predictions[0].answer == "xray"
    assert predictions[1].error is not None
    assert "uint8" in predictions[1].error
    assert predictions[1].scores == {}


def test_only_bad_images_need_no_forward_pass(make_card: CardMaker) -> None:
    runtime = FakeRuntime(bright_is_xray)
    (prediction,) = gate(make_card(), runtime).predict([np.zeros((4, 4, 3), np.uint8)])
    assert prediction.error
    assert runtime.batches == []


def test_a_failing_batch_is_halved_down_to_the_one_to_blame(make_card: CardMaker) -> None:
    def logits(mean: float) -> list[float]:
        if mean < -1.9:  # the black image
            raise InferenceError("cannot stand black")
        return bright_is_xray(mean)

    runtime = FakeRuntime(logits)
    images = [image(250), image(240), image(0), image(230), image(220)]
    predictions = gate(make_card(), runtime, max_batch=8).predict(images)

    assert [p.error for p in predictions] == [None, None, "cannot stand black", None, None]
    assert [p.answer for p in predictions] == ["xray", "xray", None, "xray", "xray"]
    assert runtime.batches == [5, 2, 3, 1, 2]


def test_memory_shortage_halves_the_batch_and_goes_on(make_card: CardMaker) -> None:
    runtime = FakeRuntime(bright_is_xray, capacity=2)
    predictions = gate(make_card(), runtime, max_batch=8).predict([image(250)] * 8)
    assert [p.answer for p in predictions] == ["xray"] * 8
    assert runtime.batches == [8, 4, 2, 2, 4, 2, 2]


def test_memory_shortage_for_one_image_is_no_fault_of_the_image(make_card: CardMaker) -> None:
    stage = gate(make_card(), FakeRuntime(bright_is_xray, capacity=0))
    with pytest.raises(DeviceMemoryError, match="lower the batch size"):
        stage.predict([image(250)] * 2)


def test_a_lost_device_blames_no_image(make_card: CardMaker) -> None:
    def lost(_: float) -> list[float]:
        raise DeviceLostError

    with pytest.raises(DeviceLostError, match="started again"):
        gate(make_card(), FakeRuntime(lost)).predict([image(250)])


def test_a_wrong_number_of_outputs_is_refused(make_card: CardMaker) -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 3\) instead of \(1, 2\)"):
        gate(make_card(), FakeRuntime(lambda _: [0.0, 1.0, 2.0])).predict([image(1)])


def test_a_number_that_is_none_is_an_error(make_card: CardMaker) -> None:
    def logits(mean: float) -> list[float]:
        return [0.0, float("nan") if mean < 0 else 1.0]

    first, second = gate(make_card(), FakeRuntime(logits)).predict([image(0), image(255)])
    assert first.error == "The network gave no finite number for this image."
    assert second.answer == "xray"


def test_three_channels_see_the_same_image(make_card: CardMaker) -> None:
    card = make_card(channels=3, mean=[0.5, 0.25, 0.0], std=[0.25, 0.5, 1.0], input_px=32)
    pixels = gate(card, FakeRuntime(bright_is_xray)).prepare(image(255))
    assert pixels.shape == (3, 32, 32)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 0, 0], [2.0, 1.5, 1.0])
