"""Augmentation: photo and mask stay together, void is where nothing is known."""

import numpy as np
import official_folder
import pytest
import tensorflow as tf
from PIL import Image

from utils import batching, pets

SIZE = 48


def draws(count, seed=0):
    return np.random.default_rng(seed).random(
        (count, batching.NUM_DRAWS), dtype=np.float32
    )


def coordinates(count):
    """Return photos whose first two channels are y and x, and such a mask each."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.uint8)
    images = np.stack([y, x, np.full_like(x, 7)], -1)
    return np.stack([images] * count), np.stack([y] * count), np.stack([x] * count)


def crop(images, masks, numbers):
    boxes = batching.windows(numbers[:, :4])
    cut = map(batching.crop, np.float32(images), masks, boxes)
    return map(np.stack, zip(*cut, strict=True))


@pytest.mark.parametrize("axis", [0, 1])
def test_photo_and_mask_are_read_at_the_same_places(axis):
    """Where the photo shows its own coordinate, the mask holds it, rounded."""
    images, *masks = coordinates(64)
    found, cut = crop(images, masks[axis], draws(64))
    known = cut != batching.VOID
    assert 0.5 < known.mean() < 1
    off = np.abs(found[..., axis] - cut)[known]
    assert off.max() <= 0.5 + 1e-3


def test_windows_against_numpy():
    """Each pixel comes from where a loop over flip, zoom and place says."""
    images, _, _ = coordinates(20)
    numbers = draws(20, seed=5)
    found, cut = crop(images, np.ones((20, SIZE, SIZE), np.uint8), numbers)
    steps = np.arange(SIZE) / (SIZE - 1)
    for photo, mask, (flip, zoom, y, x) in zip(
        found, cut, numbers[:, :4].astype(float), strict=True
    ):
        side = 1 / np.exp(
            (1 - zoom) * np.log(batching.MIN_ZOOM) + zoom * np.log(batching.MAX_ZOOM)
        )
        rows = (y * (1 - side) + steps * side) * (SIZE - 1)
        columns = (x * (1 - side) + steps * side) * (SIZE - 1)
        columns = columns[::-1] if flip < 0.5 else columns
        inside = lambda line: (line >= 0) & (line <= SIZE - 1)  # noqa: E731
        sure = np.ones((SIZE, SIZE), bool)  # not within rounding of the frame
        sure[np.minimum(abs(rows), abs(rows - SIZE + 1)) < 1e-3] = False
        sure[:, np.minimum(abs(columns), abs(columns - SIZE + 1)) < 1e-3] = False
        known = inside(rows)[:, None] & inside(columns)[None]
        np.testing.assert_array_equal(mask[sure] == 1, known[sure])
        np.testing.assert_array_equal(mask[sure] == batching.VOID, ~known[sure])
        both = sure & known
        expected = np.stack(np.broadcast_arrays(rows[:, None], columns[None]), -1)
        assert np.abs(photo[..., :2] - expected)[both].max() < 1e-2
        assert np.all(photo[sure & ~known] == batching.FILL)


def test_the_middle_of_all_draws_is_the_photo_itself():
    images, masks, _ = coordinates(1)
    whole = np.log(1 / batching.MIN_ZOOM) / np.log(
        batching.MAX_ZOOM / batching.MIN_ZOOM
    )
    numbers = np.array([[0.9, whole, 0.3, 0.6, 0.5, 0.5]], np.float32)
    found, cut = batching.augment(images, masks, numbers)
    np.testing.assert_allclose(found, images, atol=1e-3)
    np.testing.assert_array_equal(cut, masks)


def test_light_against_numpy():
    images = np.stack([official_folder.photo(n) for n in range(8)]).astype(np.float32)
    numbers = draws(8, seed=2)
    for photo, row in zip(images, numbers, strict=True):
        shift = batching.MAX_BRIGHTNESS * (2 * float(row[4]) - 1)
        factor = 1 + batching.MAX_CONTRAST * (2 * float(row[5]) - 1)
        brighter = np.clip(photo.astype(float) + shift, 0, 255)
        np.testing.assert_allclose(
            batching.lit(photo, row[4], 0.5), brighter, atol=1e-3
        )
        mean = photo.astype(float).mean()
        spread = np.clip(mean + factor * (photo - mean), 0, 255)
        np.testing.assert_allclose(batching.lit(photo, 0.5, row[5]), spread, atol=1e-2)
        mean = brighter.mean()
        expected = np.clip(mean + factor * (brighter - mean), 0, 255)
        np.testing.assert_allclose(batching.lit(photo, *row[4:]), expected, atol=1e-2)


def test_every_kind_of_change_happens():
    boxes = batching.windows(draws(400)[:, :4])
    mirrored = boxes[:, 1] > boxes[:, 3]
    sides = boxes[:, 2] - boxes[:, 0]
    assert 0.4 < mirrored.mean() < 0.6
    assert sides.min() < 0.7 and sides.max() > 1.3
    assert 0.3 < (sides < 1).mean() < 0.8
    np.testing.assert_allclose(abs(boxes[:, 3] - boxes[:, 1]), sides, rtol=1e-5)


def test_each_row_depends_on_its_own_draws_alone():
    images = np.stack([official_folder.photo(n, SIZE, SIZE) for n in range(6)])
    masks = np.stack([official_folder.trimap(n, SIZE, SIZE) for n in range(6)])
    together, _ = batching.augment(images, masks, draws(6))
    for n in range(6):
        alone, _ = batching.augment(
            images[n : n + 1], masks[n : n + 1], draws(6)[n : n + 1]
        )
        np.testing.assert_array_equal(together[n], alone[0])


def test_a_photo_that_shows_its_mask_still_shows_it_in_the_batches(
    tmp_path, monkeypatch
):
    """From the file to the batch, every colour is above its class, else void."""
    monkeypatch.setattr(batching, "MAX_BRIGHTNESS", 0.0)
    monkeypatch.setattr(batching, "MAX_CONTRAST", 0.0)
    folder = official_folder.make(tmp_path / "official", 20, 1)
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        trimap = official_folder.trimap(number, SIZE, SIZE)
        Image.fromarray(trimap).save(
            folder / "annotations" / "trimaps" / f"{path.stem}.png"
        )
        colours = np.stack([trimap * np.uint8(20)] * 3, -1)
        official_folder.save_photo(path, colours, format="PNG")
    batches = pets.load(
        folder, "trainval", image_size=SIZE, augment=True, data_dir=tmp_path / "cache"
    )
    images, masks = (
        np.concatenate(x) for x in zip(*batches.as_numpy_iterator(), strict=True)
    )
    void = masks == pets.VOID
    assert 0 < void.mean() < 0.5
    np.testing.assert_array_equal(void, np.abs(images - batching.FILL).max(-1) < 1e-3)
    expected = np.select([masks == 0, masks == 1, masks == 2], [20.0, 40.0, 60.0])
    # Away from edges, where all nine neighbours are of one class, colours are exact.
    mask = tf.cast(masks, tf.float32)[..., None]
    most = tf.nn.max_pool2d(mask, 3, 1, "SAME")
    least = -tf.nn.max_pool2d(-mask, 3, 1, "SAME")
    flat = (most == least).numpy()[..., 0] & ~void
    assert flat.mean() > 0.4
    assert np.abs(images - expected[..., None])[flat].max() < 0.1
    # At edges bilinear colours lie between the neighbours, nearest takes the closer.
    assert np.abs(images - expected[..., None])[~void].max() <= 40
    assert (np.abs(images - expected[..., None]).max(-1) < 11)[~void].mean() > 0.97


def test_the_same_as_tensorflow_s_crop_and_resize():
    images = np.stack([official_folder.photo(n, SIZE, SIZE) for n in range(32)])
    masks = np.stack([official_folder.trimap(n, SIZE, SIZE) for n in range(32)])
    numbers = draws(32, seed=3)
    numbers[:, 4:] = 0.5  # no other light
    found, cut = batching.augment(images, masks, numbers)
    boxes = np.float32(batching.windows(numbers[:, :4]))
    size, which = (SIZE, SIZE), np.arange(32)
    expected = tf.image.crop_and_resize(
        images, boxes, which, size, "bilinear", batching.FILL
    )
    ids = tf.image.crop_and_resize(
        masks[..., None], boxes, which, size, "nearest", batching.VOID
    )
    # TensorFlow's own float32 puts a line of pixels outside that lies on the frame.
    same = np.abs(found - expected.numpy()).max(-1) < 0.02
    inside = same & (cut == ids.numpy()[..., 0])
    assert inside.mean() > 0.999
