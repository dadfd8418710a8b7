"""The patch classifier of notebooks 01 and 02, and the results it stands on."""

import json
import os

import keras
import numpy as np
import official_folder
import pytest
from conftest import ROOT

from utils import classifier, environment, pet_records, pets


def test_a_patch_is_labelled_by_the_class_at_its_centre():
    mask = np.arange(20 * 30).reshape(20, 30)
    image = np.stack([mask] * 3, axis=-1)
    patch, label = classifier.centre_patch(image, mask, side=8, top=3, left=11)
    assert patch.shape == (8, 8, 3)
    np.testing.assert_array_equal(patch[4, 4], [label] * 3)


def test_no_random_patch_is_labelled_void():
    mask = np.full((60, 80), pets.VOID)
    mask[25:45, 30:60] = 2
    image = np.zeros((60, 80, 3), np.uint8)
    generator = np.random.default_rng(0)
    for _ in range(50):
        patch, label = classifier.random_patch(image, mask, generator)
        assert label == 2 and patch.shape[0] == patch.shape[1] <= 0.9 * 60


@pytest.mark.slow
def test_patches_come_whole_photos_first_and_the_same_twice():
    images, labels = classifier.patches("synthetic_pets", "validation", 6, seed=3)
    again, _ = classifier.patches("synthetic_pets", "validation", 6, seed=3)
    assert images.shape == (18, 224, 224, 3) and images.dtype == np.uint8
    assert set(labels[:6]) <= {1, 2}, "whole photos show a cat or a dog"
    np.testing.assert_array_equal(images, again)


def test_sliding_is_classifying_each_window_on_its_own():
    image = keras.Input((224, 224, 3))
    pooled = keras.layers.AveragePooling2D(112)(image)
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(pooled))
    model = keras.Model(image, logits)
    photo = np.random.default_rng(0).uniform(0, 255, (289, 320, 3)).astype("float32")
    scores = classifier.slide(model, photo, stride=32)
    assert scores.shape == (3, 4, 3)
    for row, column in np.ndindex(3, 4):
        top, left = 32 * row, 32 * column
        window = photo[top : top + 224, left : left + 224]
        np.testing.assert_allclose(
            scores[row, column], model(window[None])[0], rtol=1e-4, atol=1e-4
        )


def test_a_label_is_painted_around_its_window_s_centre():
    mask = classifier.paint(np.array([[1, 2]]), (224, 256))
    assert mask[112, 112] == 1 and mask[112, 112 + 32] == 2
    assert (mask >= 0).sum() == 2 * 32 * 32
    assert mask[0, 0] == -1


def test_enlarged_photos_fit_the_stride():
    large = classifier.enlarged(np.zeros((100, 143, 3), np.uint8), 256)
    assert large.shape == (256, 352, 3)
    assert classifier.enlarged(np.zeros((200, 60, 3)), 256).shape == (256, 224, 3)


@pytest.mark.slow
def test_a_saved_classifier_is_found_again_and_never_half(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    classifier.save_classifier(small, "synthetic_pets")
    path = classifier.path_of("synthetic_pets")
    assert path.is_file() and path.parent.parent == tmp_path
    kept = path.read_bytes()
    monkeypatch.setattr(small, "save_weights", lambda p: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier.save_classifier(small, "synthetic_pets")
    assert [p.read_bytes() for p in path.parent.iterdir()] == [kept]


def test_a_folder_that_has_changed_gets_a_classifier_of_its_own(tmp_path, monkeypatch):
    """The same path, another photo in it: the old weights are of other data."""
    monkeypatch.setattr(pet_records, "CACHE", tmp_path / "cache")
    folder = official_folder.make(tmp_path / "pets")
    before = classifier.path_of(folder)
    assert classifier.path_of(folder) == before
    image = min((folder / "images").iterdir())
    official_folder.save_photo(image, official_folder.photo(200))
    os.utime(image, (1, 1))  # whatever the clock's resolution
    assert classifier.path_of(folder) != before


def test_results_say_what_is_missing():
    with pytest.raises(FileNotFoundError, match=r"nothing\.json does not exist"):
        environment.results("nothing")


def test_results_name_device_versions_and_command(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment.sys, "argv", [str(tmp_path / "tools/x.py"), "-a"])
    path = environment.write_results("x", {"seconds": 1})
    read = json.loads(path.read_text())
    assert read["command"] == "python -m tools.x -a"
    assert {"device", "versions", "seconds"} <= set(read)
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "results").glob("*.json")), ids=lambda path: path.stem
)
def test_every_committed_result_says_how_it_was_made(path):
    read = json.loads(path.read_text())
    assert {"command", "device", "versions"} <= set(read)
    assert read["command"].startswith("python -m ")
    assert "/work" not in path.read_text() and "/home" not in path.read_text()


def test_cat_against_dog_on_real_photographs_is_at_least_95_percent():
    record = environment.results("cat_or_dog")
    assert record["folds"] == 5 and record["photos"] == 300
    assert record["accuracy"] >= 0.95
    low, high = record["interval_95"]
    assert low <= record["accuracy"] <= high
