"""The pipeline: tasks, splits, sizes, reproducibility, the download."""

import functools
import hashlib
import http.client
import http.server
import subprocess
import sys
import threading

import keras
import numpy as np
import official_folder
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import ROOT
from PIL import Image
from scipy import ndimage
from tensorflow_datasets.core.download.download_manager import (
    NonMatchingChecksumError,
)

from data.synthetic_pets import synthetic_pets_dataset_builder as synthetic_builder
from utils import batching, pet_records, pets


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("pets") / "official", 30, 5)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def fresh():
    """Forget the photos held in memory, before and after."""
    pet_records.stored.cache_clear()
    yield
    pet_records.stored.cache_clear()


def names(dataset):
    return [row["file_name"].decode() for row in dataset.as_numpy_iterator()]


def fingerprint(*passes):
    """Hash every byte of some passes over a data set."""
    digest = hashlib.sha256()
    for batches in passes:
        for images, masks in batches.as_numpy_iterator():
            digest.update(images.tobytes() + masks.tobytes())
    return digest.hexdigest()


# Shapes and values


def test_batches_have_the_promised_shapes_and_types(folder, data_dir):
    batches = pets.load(folder, "test", image_size=33, batch_size=2, data_dir=data_dir)
    assert batches.element_spec == (
        tf.TensorSpec((None, 33, 33, 3), tf.float32),
        tf.TensorSpec((None, 33, 33), tf.int32),
    )
    shapes = [(i.shape, m.shape) for i, m in batches.as_numpy_iterator()]
    assert [image[0] for image, _ in shapes] == [2, 2, 1] and len(batches) == 3
    images = np.concatenate([i for i, _ in batches.as_numpy_iterator()])
    assert images.min() >= 0 and 100 < images.max() <= 255


@pytest.mark.parametrize("task", pets.CLASS_NAMES)
def test_masks_follow_the_truth_box(folder, data_dir, task):
    """Against the files themselves, pixel by pixel, at the photos' own size."""
    seen = set()
    for row in pets.load_examples(
        folder, "test", task=task, data_dir=data_dir
    ).as_numpy_iterator():
        name = row["file_name"].decode()
        path = folder / "annotations" / "trimaps" / name.replace(".jpg", ".png")
        trimap = np.asarray(Image.open(path))
        np.testing.assert_array_equal(row["trimap"], trimap)
        pet = 2 if name.startswith("dog") else 1
        expected = {
            "trimap": {1: 0, 2: 1, 3: 2},
            "species": {1: pet, 2: 0, 3: 255},
            "foreground": {1: 1, 2: 0, 3: 255},
        }[task]
        for value, class_id in expected.items():
            assert np.all(row["mask"][trimap == value] == class_id)
        seen |= set(np.unique(row["mask"]))
    known = set(range(len(pets.CLASS_NAMES[task])))
    assert seen == known | (set() if task == "trimap" else {pets.VOID})


@pytest.mark.parametrize("task", pets.CLASS_NAMES)
def test_batches_and_examples_agree(folder, data_dir, task):
    """`load` at the photos' own (square) size equals `load_examples`, in order."""
    square = official_folder.make(data_dir / f"square {task}", 2, 3)
    for number, path in enumerate(sorted((square / "images").iterdir())):
        array = official_folder.photo(number, 48, 48)
        official_folder.save_photo(path, array, format="PNG")
        mask = official_folder.trimap(number, 48, 48)
        Image.fromarray(mask).save(
            square / "annotations" / "trimaps" / f"{path.stem}.png"
        )
    options = dict(task=task, data_dir=data_dir)
    batches = pets.load(square, "test", image_size=48, batch_size=2, **options)
    images, masks = (
        np.concatenate(x) for x in zip(*batches.as_numpy_iterator(), strict=True)
    )
    rows = list(pets.load_examples(square, "test", **options).as_numpy_iterator())
    np.testing.assert_array_equal(images, [row["image"] for row in rows])
    np.testing.assert_array_equal(masks, [row["mask"] for row in rows])


@pytest.mark.parametrize("size", [7, 31, 64, 101])
def test_resizing_invents_no_class_and_keeps_photo_and_mask_together(size):
    trimap = official_folder.trimap(3, 90, 70)
    image = np.stack([trimap * np.uint8(60)] * 3, -1)
    image, mask = pets.records.resize(tf.constant(image), tf.constant(trimap), size)
    assert set(np.unique(mask)) <= {1, 2, 3}
    # Half-pixel centres: the mask's pixel is the one under the centre of the new one.
    rows = ((np.arange(size) + 0.5) * 90 / size).astype(int)
    columns = ((np.arange(size) + 0.5) * 70 / size).astype(int)
    np.testing.assert_array_equal(mask, trimap[rows][:, columns])
    same = np.abs(image.numpy()[..., 0] - 60.0 * mask.numpy()) < 31
    assert same.mean() > 0.9


def test_shrinking_averages_the_photo():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = 255
    image, _ = pets.records.resize(
        tf.constant(stripes), tf.ones((64, 64), tf.uint8), 16
    )
    inside = image.numpy()[2:-2].astype(int)
    assert np.abs(inside - 128).max() <= 4


# Splits


def test_the_split_is_the_same_on_every_machine():
    """Hashes worked out once; another split would make old results meaningless."""
    validation = ["Abyssinian_112", "Abyssinian_168", "american_bulldog_107"]
    validation += ["american_bulldog_193", "Bengal_163"]
    train = ["Abyssinian_100", "Abyssinian_160", "american_bulldog_133"]
    train += ["american_bulldog_202", "Bengal_158"]
    assert all(pets.records.in_validation(f"{name}.jpg") for name in validation)
    assert not any(pets.records.in_validation(f"{name}.jpg") for name in train)


def test_one_photo_in_ten_is_for_validation():
    chosen = [pets.records.in_validation(f"breed_{n}.jpg") for n in range(4000)]
    assert 0.085 < np.mean(chosen) < 0.115


def test_splits_are_disjoint_and_complete(folder, data_dir):
    found = {
        split: names(pets.load_examples(folder, split, data_dir=data_dir))
        for split in ("train", "validation", "trainval", "test")
    }
    assert all(len(set(split)) == len(split) for split in found.values())
    assert not set(found["train"]) & set(found["validation"])
    assert set(found["train"]) | set(found["validation"]) == set(found["trainval"])
    assert not set(found["trainval"]) & set(found["test"])
    assert found["validation"]
    for split, column in (("trainval", 30), ("test", 5)):
        lines = (folder / "annotations" / f"{split}.txt").read_text().splitlines()
        assert set(found[split]) == {line.split()[0] + ".jpg" for line in lines}
        assert len(lines) == column


def test_a_split_without_photos_says_so(data_dir, tmp_path):
    few = official_folder.make(tmp_path / "few", 1, 1)
    assert not pets.records.in_validation("dog_1.jpg")
    with pytest.raises(ValueError, match="the split 'validation' has no photos"):
        pets.load(few, "validation", data_dir=data_dir)


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_the_split_asked_for_is_enough(tmp_path, split):
    few = official_folder.make(tmp_path / "few", 3, 2)
    other = {"trainval": "test", "test": "trainval"}[split]
    (few / "annotations" / f"{other}.txt").unlink()
    options = {"data_dir": tmp_path / "cache"}
    ((images, _),) = pets.load(few, split, image_size=8, **options)
    assert len(images) == len(list(pets.load_examples(few, split, **options)))
    with pytest.raises(FileNotFoundError, match=rf"{other}\.txt is missing"):
        pets.load(few, other, **options)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_smallest_photos_are_augmented(folder, data_dir, size):
    options = OPTIONS | {"image_size": size}
    for images, masks in pets.load(folder, "trainval", data_dir=data_dir, **options):
        assert images.shape[1:] == (size, size, 3) and np.isfinite(images).all()
        assert set(np.unique(masks)) <= {0, 1, 2, pets.VOID}


# Classification


def test_labels_name_species_and_breed(folder, data_dir):
    expected = {}
    for line in (folder / "annotations" / "test.txt").read_text().splitlines():
        name, breed, species, _ = line.split()
        expected[f"{name}.jpg"] = (int(species) - 1, int(breed) - 1)
    rows = pets.load_examples(folder, "test", data_dir=data_dir).as_numpy_iterator()
    for row in rows:
        name = row["file_name"].decode()
        assert (row["species"], row["label"]) == expected.pop(name)
    assert not expected
    assert pets.LABEL_NAMES["breed"][6 - 1] == "Bengal"


# Reproducibility

OPTIONS = dict(image_size=40, batch_size=4, augment=True, shuffle=True, seed=3)


def test_the_same_seed_gives_the_same_batches(folder, data_dir):
    first = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    tf.random.set_seed(99)  # no other generator may matter
    np.random.seed(99)  # noqa: NPY002  the global one, on purpose
    second = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    assert fingerprint(first, first) == fingerprint(second, second)
    other = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS | {"seed": 4})
    assert fingerprint(other) != fingerprint(
        pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    )


@pytest.mark.parametrize("calls", [1, 2, tf.data.AUTOTUNE])
@pytest.mark.parametrize("memory", [0, 2**31])
@pytest.mark.slow
def test_parallel_calls_and_memory_change_nothing(
    folder, data_dir, monkeypatch, fresh, calls, memory
):
    expected = fingerprint(pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS))
    pet_records.stored.cache_clear()
    monkeypatch.setattr(pet_records, "PARALLEL_CALLS", calls)
    monkeypatch.setattr(pet_records, "MEMORY", memory)
    found = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    assert fingerprint(found) == expected


OTHER_PROCESS = """
import sys
sys.path.insert(0, "tests")
from test_pets import OPTIONS, fingerprint
from utils import pets
batches = pets.load(sys.argv[1], "trainval", data_dir=sys.argv[2], **OPTIONS)
print(fingerprint(batches, batches))
"""


@pytest.mark.slow
def test_another_process_sees_the_same_batches(folder, tmp_path, data_dir):
    """It prepares its own copy, too: preparation must not depend on the run."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder), str(tmp_path)]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    here = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    assert other.stdout.decode().split()[-1] == fingerprint(here, here)


def test_each_pass_has_an_order_of_its_own_and_can_be_asked_for(folder, data_dir):
    options = OPTIONS | {"augment": False}
    batches = pets.load(folder, "trainval", data_dir=data_dir, **options)
    first, second, third = (fingerprint(batches) for _ in range(3))
    assert len({first, second, third}) == 3
    resumed = pets.load(folder, "trainval", data_dir=data_dir, **options)
    batching.plan_of(resumed).epoch = 2
    assert fingerprint(resumed) == third
    batching.plan_of(batches).epoch = 0
    assert fingerprint(batches.repeat(3)) == fingerprint(
        *[pets.load(folder, "trainval", data_dir=data_dir, **options).repeat(3)]
    )
    assert batching.plan_of(batches.take(1)) is None


def test_a_pass_shows_every_photo_once(folder, data_dir):
    rows = pets.load_examples(folder, "trainval", data_dir=data_dir)
    plain = pets.load(folder, "trainval", image_size=40, data_dir=data_dir)
    shuffled = pets.load(
        folder, "trainval", image_size=40, shuffle=True, data_dir=data_dir
    )
    in_order = [i.tobytes() for x, _ in plain.as_numpy_iterator() for i in x]
    mixed = [i.tobytes() for x, _ in shuffled.as_numpy_iterator() for i in x]
    assert len(in_order) == len(names(rows)) == 30
    assert sorted(in_order) == sorted(mixed) and in_order != mixed


def test_augmentation_belongs_to_the_photo_not_to_its_place_in_the_batch(
    folder, data_dir
):
    """A photo is changed alike whatever the batch size and the order."""
    seen = []
    for changes in ({}, {"batch_size": 7}, {"shuffle": False}):
        options = OPTIONS | changes
        batches = pets.load(folder, "trainval", data_dir=data_dir, **options)
        seen.append(
            sorted(i.tobytes() for x, _ in batches.as_numpy_iterator() for i in x)
        )
    assert seen[0] == seen[1] == seen[2]


def test_fit_takes_one_pass_an_epoch(folder, data_dir):
    """Keras makes more iterators than it reads; only those read may count."""
    batches = pets.load(folder, "trainval", data_dir=data_dir, **OPTIONS)
    shown = []
    recorded = batches.map(
        lambda x, y: (
            tf.numpy_function(lambda v: shown.append(v.tobytes()) or v, [x], x.dtype),
            y,
        )
    ).map(
        lambda x, y: (tf.ensure_shape(x, (None, 40, 40, 3)), tf.cast(y < 1, "float32"))
    )
    model = keras.Sequential(
        [keras.layers.Conv2D(1, 1), keras.layers.Reshape((40, 40))]
    )
    model.compile("sgd", "mse")
    model.fit(recorded, epochs=2, verbose=0)
    batching.plan_of(batches).epoch = 0
    expected = [x.tobytes() for _ in range(2) for x, _ in batches.as_numpy_iterator()]
    assert shown == expected


# Names, numbers and sources that do not exist


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(dataset="oxford_pets"), "unknown data set 'oxford_pets'"),
        (dict(dataset="no/such/folder"), "unknown data set 'no/such/folder'"),
        (dict(split="val"), "unknown split 'val'"),
        (dict(task="border"), "unknown task 'border'"),
        (dict(on_error="ignore"), "unknown on_error 'ignore'"),
        (dict(image_size=0), "image_size is 0"),
        (dict(image_size=64.0), "image_size is 64.0"),
        (dict(batch_size=-1), "batch_size is -1"),
        (dict(seed=-1), "seed is -1"),
    ],
)
def test_unknown_names_and_numbers_are_refused(folder, data_dir, arguments, message):
    known = dict(dataset=folder, split="train", data_dir=data_dir) | arguments
    with pytest.raises(ValueError, match=message):
        pets.load(known.pop("dataset"), known.pop("split"), **known)


def test_skipped_photos_are_left_out_of_batches(tmp_path, caplog):
    folder = official_folder.make(tmp_path / "official", 6, 2)
    (folder / "images" / "dog_7.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"dog_7.jpg is empty"):
        pets.load(folder, "test", data_dir=tmp_path / "cache")
    batches = pets.load(
        folder, "test", image_size=8, on_error="skip", data_dir=tmp_path / "cache"
    )
    assert [len(images) for images, _ in batches] == [1]
    assert "left out 1 of 8 photos" in caplog.text


# The download


def test_without_a_network_a_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pet_records, "DOWNLOAD", "https://127.0.0.1:9/images.tar.gz")
    with pytest.raises(ConnectionError, match=r'folder .* or "synthetic_pets"'):
        pets.load("oxford_iiit_pet", "train", data_dir=tmp_path)
    assert "811 MB" in capsys.readouterr().out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def mirror(folder, tmp_path, monkeypatch):
    """Serve made archives in the official layout, and point TFDS's builder at them."""
    known = official_folder.pack(folder, tmp_path / "served", mode="w")
    quiet = type(
        "Quiet",
        (http.server.SimpleHTTPRequestHandler,),
        {"log_message": lambda *_: None},
    )
    handler = functools.partial(quiet, directory=tmp_path / "served")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    builder = tfds.builder_cls("oxford_iiit_pet")
    monkeypatch.setattr(sys.modules[builder.__module__], "_BASE_URL", address)
    infos = {
        f"{address}/{name}": tfds.download.checksums.UrlInfo(
            size=size, checksum=checksum, filename=name
        )
        for name, (size, checksum) in known.items()
    }
    monkeypatch.setattr(builder, "url_infos", infos)
    monkeypatch.setattr(pet_records, "DOWNLOAD", f"{address}/images.tar.gz")
    yield infos
    server.shutdown()
    server.server_close()


def test_tfds_own_builder_downloads_checks_and_reads(
    mirror, folder, tmp_path, data_dir
):
    options = OPTIONS | {"image_size": 32}
    downloaded = pets.load(
        "oxford_iiit_pet", "trainval", data_dir=tmp_path / "tfds", **options
    )
    # The same photos from the folder come in the same order, so either source gives
    # the same training run.
    direct = pets.load(folder, "trainval", data_dir=data_dir, **options)
    assert fingerprint(downloaded) == fingerprint(direct)
    for split in ("validation", "test"):
        assert names(
            pets.load_examples("oxford_iiit_pet", split, data_dir=tmp_path / "tfds")
        ) == names(pets.load_examples(folder, split, data_dir=data_dir))


def test_tfds_refuses_archives_with_another_checksum(mirror, tmp_path):
    for info in mirror.values():
        info.checksum = "0" * 64
    with pytest.raises(
        ConnectionError, match=r"images\.tar\.gz cannot be had"
    ) as caught:
        pets.load("oxford_iiit_pet", "train", data_dir=tmp_path / "tfds")
    assert isinstance(caught.value.__cause__, NonMatchingChecksumError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [http.client.BadStatusLine("?"), ValueError("unknown url type"), OSError(5)],
)
def test_whatever_ends_a_download_is_one_sentence(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(pet_records.urllib.request, "urlopen", fail)
    with pytest.raises(ConnectionError, match=r'cannot be had .* "synthetic_pets"'):
        pets.load("oxford_iiit_pet", "train", data_dir=tmp_path)


# Real photographs


@pytest.mark.slow
def test_real_photographs(sample, data_dir):
    batches = pets.load(sample, "validation", image_size=64, data_dir=data_dir)
    images, masks = (
        np.concatenate(x) for x in zip(*batches.as_numpy_iterator(), strict=True)
    )
    assert len(images) == 29
    assert set(np.unique(masks)) == {0, 1, 2}
    share = [(masks == class_id).mean() for class_id in range(3)]
    assert 0.2 < share[0] < 0.45 and 0.4 < share[1] < 0.7 and 0.05 < share[2] < 0.2


# Drawn pictures


def test_the_cat_s_trimap_fits_the_cat():
    """Places found by eye; no pet beside the background, and a thin border."""
    photo, trimap = pets.chelsea()
    assert photo.shape[:2] == trimap.shape and trimap.dtype == np.uint8
    for name, x, y in (("eye", 170, 115), ("nose", 268, 240), ("chest", 100, 290)):
        assert trimap[y, x] == 1, name
    for name, x, y in (("shelf", 440, 10), ("cloth", 8, 60), ("blanket", 400, 280)):
        assert trimap[y, x] == 2, name
    assert set(np.unique(trimap)) == {1, 2, 3}
    near = ndimage.maximum_filter(trimap == 1, 3) & (trimap == 2)
    assert not near.any()
    assert ndimage.binary_opening(trimap == 3, np.ones((13, 13))).sum() == 0


def test_drawn_pets_come_through_the_same_pipeline(tmp_path, monkeypatch):
    """A few of them; the drawing has tests of its own."""
    monkeypatch.setattr(synthetic_builder, "SPLITS", {"train": range(12), "test": [12]})
    batches = pets.load(
        "synthetic_pets", "trainval", image_size=32, data_dir=tmp_path, batch_size=12
    )
    images, masks = next(iter(batches))
    assert images.shape == (12, 32, 32, 3) and set(np.unique(masks)) == {0, 1, 2}
