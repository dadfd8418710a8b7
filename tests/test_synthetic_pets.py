"""The drawn pictures: features as in TFDS's own set, equal bytes, sane masks."""

import hashlib
import io
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from scipy import ndimage

from data.synthetic_pets import drawing, synthetic_pets_dataset_builder
from data.synthetic_pets.canvas import Canvas, Pen

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOME = range(0, 600, 13)  # 13 and the 8 breeds have no common factor
PIECE = {"train": range(6), "test": range(480, 484)}


@pytest.fixture(scope="module")
def drawn():
    """Every 13th picture: (breed, image, trimap)."""
    breeds = [drawing.BREEDS[index % len(drawing.BREEDS)] for index in SOME]
    return [
        (breed, *drawing.draw(breed, seed=0, index=index))
        for breed, index in zip(breeds, SOME, strict=True)
    ]


def prepare(folder):
    builder = synthetic_pets_dataset_builder.Builder(data_dir=os.fspath(folder))
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """The first pictures of either split, prepared by TFDS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_pets_dataset_builder, "SPLITS", PIECE)
        return prepare(tmp_path_factory.mktemp("pets"))


def hashes(folder) -> dict[str, str]:
    return {
        os.fspath(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file()
    }


def test_features_are_those_of_oxford_iiit_pet_without_boxes(builder, tmp_path):
    original = tfds.builder("oxford_iiit_pet", data_dir=tmp_path).info.features
    assert set(builder.info.features) == set(original) - {"head_bbox"}
    for name, feature in builder.info.features.items():
        other = original[name]
        assert type(feature) is type(other), name
        if name == "label":  # invented breeds; the rest is the same
            assert feature.dtype == other.dtype
        else:
            assert feature.to_json() == other.to_json(), name
            assert feature.get_serialized_info() == other.get_serialized_info(), name
    assert builder.info.features["species"].names == original["species"].names


def test_records_hold_what_was_drawn(builder):
    for split, indices in PIECE.items():
        examples = {
            example["file_name"].decode(): example
            for example in tfds.as_numpy(builder.as_dataset(split=split))
        }
        assert len(examples) == len(indices)
        for index in indices:
            breed = drawing.BREEDS[index % 8]
            example = examples[f"{breed}_{index}.jpg"]
            image, trimap = drawing.draw(breed, seed=0, index=index)
            np.testing.assert_array_equal(example["segmentation_mask"][..., 0], trimap)
            difference = np.abs(example["image"].astype(float) - image)
            assert difference.mean() < 3  # JPEG
            features = builder.info.features
            assert features["label"].int2str(example["label"]) == breed
            species = features["species"].int2str(example["species"])
            assert breed.endswith(species.lower())


def test_masks_have_three_values_and_their_pictures_size(drawn):
    sizes = set()
    for _, image, trimap in drawn:
        assert image.dtype == trimap.dtype == np.uint8
        assert image.shape == (*trimap.shape, 3)
        assert set(np.unique(trimap)) == {1, 2, 3}
        assert 90 <= min(trimap.shape) < max(trimap.shape) <= 184
        sizes.add(trimap.shape)
    assert len(sizes) > len(drawn) / 2


def test_shares_of_area_are_like_those_of_photographs(drawn):
    shares = np.array([[(mask == v).mean() for v in (1, 2, 3)] for *_, mask in drawn])
    pet, background, border = shares.mean(0)
    assert 0.24 < pet < 0.40
    assert 0.50 < background < 0.66
    assert 0.07 < border < 0.14
    assert shares[:, 0].min() > 0.03


def test_a_border_lies_between_pet_and_background_everywhere(drawn):
    cross = ndimage.generate_binary_structure(2, 1)
    for *_, trimap in drawn:
        pet, background, border = (trimap == value for value in (1, 2, 3))
        beside = ndimage.binary_dilation(border, cross)
        assert (beside & pet).any() and (beside & background).any()
        assert not (ndimage.binary_dilation(pet, np.ones((3, 3))) & background).any()
        # A band: no border pixel lies deep inside it.
        assert ndimage.distance_transform_cdt(border, "chessboard").max() <= 7


def test_the_band_is_five_pixels_wide_along_a_straight_outline():
    pet = np.zeros((40, 40), bool)
    pet[:, 20:] = True
    row = drawing.trimap(pet)[20]
    assert row.tolist() == [2] * 17 + [3] * 5 + [1] * 18


def test_what_stands_in_front_is_background_and_half_covered_pixels_round():
    canvas = Canvas(40, 30, (0.0, -1.0))
    animal = Pen(canvas, np.eye(2, 3), truth=1.0)
    animal.paint([np.array([(5.5, 5), (35, 5), (35, 25), (5.5, 25)])], (1, 0, 0))
    assert 0 < canvas.pet[15, 5] < 1  # anti-aliased ...
    thing = Pen(canvas, np.eye(2, 3))
    thing.paint([np.array([(20, 5), (35, 5), (35, 25), (20, 25)])], (0, 1, 0))
    mask = drawing.trimap(canvas.pet > 0.5)
    assert set(np.unique(mask)) == {1, 2, 3}  # ... and yet no value between
    assert mask[15, 12] == 1 and mask[15, 30] == 2
    np.testing.assert_allclose(canvas.rgb[:, 15, 30], (0, 1, 0), atol=1e-6)


def test_whiskers_leave_the_truth_alone():
    canvas = Canvas(20, 20, (0.0, -1.0))
    Pen(canvas, np.eye(2, 3), truth=None).paint(
        [np.array([(0, 0), (20, 0), (20, 20)])], (1.0, 1.0, 1.0)
    )
    assert canvas.rgb.max() == 1 and canvas.pet.max() == 0


def test_splits_are_disjoint_and_hold_every_breed_evenly():
    splits = synthetic_pets_dataset_builder.SPLITS
    assert {name: len(indices) for name, indices in splits.items()} == {
        "train": 480,
        "test": 120,
    }
    assert not set(splits["train"]) & set(splits["test"])
    for indices in splits.values():
        counts = np.bincount([index % 8 for index in indices], minlength=8)
        assert len(set(counts)) == 1
    assert sorted({breed.split("_")[1] for breed in drawing.BREEDS}) == ["cat", "dog"]


def test_pictures_differ(drawn):
    small = [
        np.asarray(Image.fromarray(image).resize((16, 16)), float)
        for _, image, _ in drawn
    ]
    apart = [
        np.abs(one - other).mean() for i, one in enumerate(small) for other in small[:i]
    ]
    assert min(apart) > 5


def test_colour_does_not_tell_the_species(drawn):
    """The mean colours of cats and of dogs overlap: their ranges are wide and alike."""
    means = {"cat": [], "dog": []}
    for breed, image, trimap in drawn:
        means[breed.split("_")[1]].append(image[trimap == 1].mean(0))
    cats, dogs = (np.array(means[name]) for name in ("cat", "dog"))
    spread = np.concatenate([cats, dogs]).std(0)
    assert (np.abs(cats.mean(0) - dogs.mean(0)) < spread).all()


@pytest.mark.slow
def test_same_bytes_in_another_folder_and_process(builder, tmp_path):
    """The other process has another hash seed, so no order of a set can show."""
    code = (
        "import sys\n"
        "from data.synthetic_pets import synthetic_pets_dataset_builder as module\n"
        f"module.SPLITS = {PIECE!r}\n"
        "module.Builder(data_dir=sys.argv[1]).download_and_prepare()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.fspath(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", code, os.fspath(tmp_path)],
        check=True, env=environment, capture_output=True, timeout=300,
    )  # fmt: skip
    first = pathlib.Path(builder.data_dir).parents[1]
    assert hashes(first) == hashes(tmp_path)
    assert any("tfrecord" in name for name in hashes(tmp_path))


@pytest.mark.long
def test_the_whole_set_prepares_twice_with_the_same_bytes(tmp_path):
    builders = [prepare(tmp_path / name) for name in ("one", "two")]
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    counts = {
        name: split.num_examples for name, split in builders[0].info.splits.items()
    }
    assert counts == {"train": 480, "test": 120}


def test_masks_are_stored_as_they_are():
    example = synthetic_pets_dataset_builder.draw_example(3)
    mask = Image.open(io.BytesIO(example["segmentation_mask"].getvalue()))
    assert (mask.format, mask.mode) == ("PNG", "L")
    assert Image.open(example["image"]).format == "JPEG"
