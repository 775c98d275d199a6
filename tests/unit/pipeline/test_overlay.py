"""Overlays: drawn from what is stored, each object read once, each error in its own place."""

import io

import numpy as np
import pytest
from PIL import Image

from models.heatmap import layer
from pipeline.overlay import overlays
from pipeline.prepared import encode_prepared
from pipeline.storage import ObjectMissing, StorageCorrupt
from tests.stand_in.finished import MemoryStore, png

HEAT = np.outer(np.hanning(5), np.hanning(5)).astype(np.float32)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def prepared(store: MemoryStore) -> str:
    """The reference of a gray image."""
    return store.put(encode_prepared(np.full((60, 90), 100, np.uint8)))


def test_the_image_is_seen_where_the_map_is_cold_and_both_where_it_is_hot(
    store: MemoryStore, prepared: str
) -> None:
    (drawn,) = overlays(store, [(prepared, store.put(layer(HEAT, (60, 90))))])
    assert isinstance(drawn, bytes)
    pixels = np.asarray(Image.open(io.BytesIO(drawn)))
    assert pixels.shape == (60, 90, 3)
    np.testing.assert_array_equal(pixels[0, 0], [100, 100, 100])
    np.testing.assert_allclose(pixels[30, 45], [191, 193, 138], atol=3)


def test_each_object_is_read_once(store: MemoryStore, prepared: str) -> None:
    first, second = (store.put(layer(HEAT * share, (60, 90))) for share in (1.0, 0.8))
    drawn = overlays(store, [(prepared, first), (prepared, second), (prepared, first)])
    assert drawn[0] == drawn[2] != drawn[1]
    assert store.asked == [3]


def test_a_picture_of_an_earlier_version_is_shown_as_it_is(store: MemoryStore) -> None:
    old = store.put(png("Mass"))
    assert overlays(store, [(None, old)]) == [png("Mass")]


def test_an_error_stands_in_its_own_place(store: MemoryStore, prepared: str) -> None:
    good, smaller = (store.put(layer(HEAT, shape)) for shape in ((60, 90), (30, 90)))
    gone, no_image = store.put(b"gone"), store.put(encode_prepared(np.zeros((9, 9), np.uint8)))
    del store.blobs[gone], store.blobs[no_image]
    drawn = overlays(
        store,
        [(prepared, gone), (no_image, good), (None, good), (prepared, smaller), (prepared, good)],
    )
    assert [type(each) for each in drawn[:2]] == [ObjectMissing, ObjectMissing]
    assert "image is not stored" in str(drawn[2])
    assert isinstance(drawn[3], StorageCorrupt)
    assert isinstance(drawn[4], bytes)
