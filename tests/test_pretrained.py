"""The network that comes with the series: whole, and the same on every backend."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from conftest import ROOT
from PIL import Image

from utils import fcn, networks, pets, predict


@pytest.mark.slow
def test_every_output_finds_the_cat():
    masks = []
    for variant in ("32s", "16s", "8s"):
        model = networks.pretrained(variant)
        assert networks.trained_on(model).class_names == pets.CLASS_NAMES["trimap"]
        masks.append(predict.predict(model, skimage.data.chelsea()).argmax(-1))
        assert masks[-1].shape == (300, 451)
        assert masks[-1][150, 220] == 0 and masks[-1][5, 5] == 1  # nose and wall
        assert 0.5 < (masks[-1] == 0).mean() < 0.85
    assert (masks[0] != masks[1]).any() and (masks[1] != masks[2]).any()


@pytest.mark.slow
def test_its_weights_are_those_of_the_file():
    bare = fcn.build("at_once", 3, fc_units=512, fc_kernel=1, weights=None)
    number = [weight.path for weight in bare.weights].index("fc6/kernel")
    with np.load(networks.PRETRAINED) as stored:
        kernel, scale = stored[f"{number}"], stored[f"{number} scale"]
    assert kernel.dtype == np.int8 and np.abs(kernel).max() == 127
    layer = networks.pretrained().get_layer("fc6")
    np.testing.assert_array_equal(layer.kernel, kernel * scale)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:4_000_000] + bytes(900) + content[4_000_900:],
        None,
    ],
)
def test_a_damaged_or_missing_file_is_one_sentence(monkeypatch, tmp_path, damage):
    path = tmp_path / networks.PRETRAINED.name
    if damage:
        path.write_bytes(damage(networks.PRETRAINED.read_bytes()))
    monkeypatch.setattr(networks, "PRETRAINED", path)
    with pytest.raises(ValueError, match="is missing or damaged; take it") as caught:
        networks.pretrained()
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_file_of_another_network_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "small.npz"
    small = fcn.build("32s", 3, fc_units=8, fc_kernel=1, weights=None)
    np.savez(path, **{f"{n}": w for n, w in enumerate(small.get_weights())})
    monkeypatch.setattr(networks, "PRETRAINED", path)
    with pytest.raises(ValueError, match="is missing or damaged"):
        networks.pretrained()


def test_another_variant_is_one_sentence():
    with pytest.raises(ValueError, match="'at_once' is unknown; take 32s, 16s or 8s"):
        networks.pretrained("at_once")


@pytest.mark.slow
def test_the_command_line_takes_it_where_no_model_is_given(tmp_path):
    cat = tmp_path / "cat.png"
    Image.fromarray(skimage.data.chelsea()).save(cat)
    command = [sys.executable, "-m", "utils.predict", cat, "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shares = json.loads((tmp_path / "out" / "cat.json").read_text())
    assert shares["share"]["pet"] > 0.5


PROGRAM = """
import sys
import keras, numpy as np, skimage.data
from utils import networks, predict
assert keras.backend.backend() == sys.argv[1]
np.save(sys.argv[2], predict.predict(networks.pretrained(), skimage.data.chelsea()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_see_the_same(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: requirements-backends.txt")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, tmp_path / "logits.npy"],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = predict.predict(networks.pretrained(), skimage.data.chelsea())
    found = np.load(tmp_path / "logits.npy")
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
