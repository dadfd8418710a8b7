"""The results in the repository, how they are written, and what judged cat and dog."""

import json
import os
from unittest import mock

import numpy as np
import official_folder
import pytest
from conftest import ROOT

from tools.results import cross_validate
from utils import environment, pet_records, pets


def test_a_random_patch_is_labelled_by_its_centre_and_never_void():
    mask = np.full((60, 80), pets.VOID)
    mask[25:45, 30:60] = np.arange(20 * 30).reshape(20, 30) + pets.VOID + 1
    image = np.stack([mask] * 3, axis=-1)
    generator = np.random.default_rng(0)
    for _ in range(50):
        patch, label = cross_validate.random_patch(image, mask, generator)
        side = len(patch)
        assert patch.shape == (side, side, 3) and side <= 0.9 * 60
        assert label != pets.VOID
        np.testing.assert_array_equal(patch[side // 2, side // 2], [label] * 3)


@pytest.mark.parametrize("shape", [(60, 80), (2, 2), (1, 1)])
def test_a_photo_without_a_class_gives_no_patch_and_is_left_out(
    shape, monkeypatch, capsys
):
    image, void = np.zeros((*shape, 3), np.uint8), np.full(shape, pets.VOID)
    generator = np.random.default_rng(0)
    assert cross_validate.random_patch(image, void, generator) is None
    patch, label = cross_validate.random_patch(image, 0 * void, generator)
    assert label == 0 and patch.size
    photos = [{"image": image, "mask": m, "species": 1} for m in (0 * void, void)]
    found = mock.Mock(as_numpy_iterator=lambda: iter(photos))
    monkeypatch.setattr(pets, "load_examples", lambda *_, **__: found)
    images, labels = cross_validate.labelled_images("any", "train", 9, 0)
    assert images.shape == (3, 224, 224, 3) and labels.tolist() == [2, 0, 0]
    assert "hold no class: 1" in capsys.readouterr().out


@pytest.mark.slow
def test_images_come_whole_photos_first_and_the_same_twice():
    images, labels = cross_validate.labelled_images(
        "synthetic_pets", "validation", 6, 3
    )
    again, _ = cross_validate.labelled_images("synthetic_pets", "validation", 6, 3)
    assert images.shape == (18, 224, 224, 3) and images.dtype == np.uint8
    assert set(labels[:6]) <= {1, 2}, "whole photos show a cat or a dog"
    np.testing.assert_array_equal(images, again)


def test_too_few_photos_of_a_species_for_the_folds_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pet_records, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(environment, "prepare", lambda seed: "")
    folder = official_folder.make(tmp_path / "pets", trainval=3, test=1)
    words = ["cross_validate", "--dataset", str(folder)]
    monkeypatch.setattr(cross_validate.sys, "argv", words)
    with pytest.raises(SystemExit, match="has 1 photos of a species; give 5"):
        cross_validate.main()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    with environment.replacing(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(ZeroDivisionError), environment.replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert [one.read_text() for one in path.parent.iterdir()] == ["whole"]


def test_a_folder_whose_photos_have_changed_is_in_another_state(tmp_path, monkeypatch):
    """The same path, another photo in it: weights kept by the old state do not fit."""
    monkeypatch.setattr(pet_records, "CACHE", tmp_path / "cache")
    folder = official_folder.make(tmp_path / "pets")
    before = pet_records.state(folder)
    assert pet_records.state(folder) == before
    image = min((folder / "images").iterdir())
    official_folder.save_photo(image, official_folder.photo(200))
    os.utime(image, (1, 1))  # whatever the clock's resolution
    assert pet_records.state(folder) != before


def test_results_say_what_is_missing():
    with pytest.raises(
        FileNotFoundError, match=r"results.nothing\.json does not exist"
    ):
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


def test_make_held_less_than_four_gigabytes_in_a_process():
    memory = environment.results("fresh_clone").get("peak_memory_gb")
    if memory is None:
        pytest.skip("tools.try_fresh has not been run since it takes memory")
    assert max(memory.values()) < 4


def test_cat_against_dog_on_real_photographs_is_at_least_95_percent():
    record = environment.results("cat_or_dog")
    assert record["folds"] == 5 and record["photos"] == 300
    assert record["accuracy"] >= 0.95
    low, high = record["interval_95"]
    assert low <= record["accuracy"] <= high
