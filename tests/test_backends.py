"""The same networks, losses and steps on every backend of Keras that is installed.

Each backend runs in a process of its own; in those of JAX and PyTorch TensorFlow cannot
be imported, as on a machine that does not have it.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from conftest import ROOT, THIN

OTHERS = ("jax", "torch")

PROGRAM = f"""
import json, sys
backend, folder = sys.argv[1:]
if backend != "tensorflow":
    from importlib.machinery import PathFinder
    find = PathFinder.find_spec
    PathFinder.find_spec = lambda name, *rest: (
        None if name.partition(".")[0] == "tensorflow" else find(name, *rest)
    )
import keras
import numpy as np
from utils import fcn, metrics, training, vgg16
vgg16.BLOCKS = {THIN}
assert keras.backend.backend() == backend

def fill(model):
    # Weights from NumPy, by the layers' names; the scores' too, which begin as zero.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            random = np.random.default_rng(list(layer.name.encode()))
            layer.set_weights(
                [random.normal(0, 0.2, w.shape) for w in layer.get_weights()]
            )

vgg16.load_imagenet_weights = fill
SLIM = dict(fc_units=8, fc_kernel=1, dropout=0.0, weights="imagenet_convolutions")
random = np.random.default_rng(0)
found, said = {{}}, {{}}
for size in ((64, 64), (97, 161)):
    image = np.float32(random.uniform(0, 255, (1, *size, 3)))
    for variant in fcn.VARIANTS:
        model = fcn.build(variant, 3, **SLIM)
        fill(model)
        for number, logits in enumerate(keras.tree.flatten(model(image))):
            key = f"{{variant}} {{number}} {{size[0]}}"
            found[key] = keras.ops.convert_to_numpy(logits)
np.savez(folder + "/logits.npz", **found)

# One step moves each weight by the rate of its own layer: Adam's first one is the rate.
model = fcn.build("8s", 3, **SLIM)
fill(model)
optimizer = training.AdamW(0.01, backbone_factor=0.25, weight_decay=0.0)
optimizer.build(model.trainable_variables)
before = [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]
ones = [keras.ops.ones(v.shape) for v in model.trainable_variables]
optimizer.apply(ones, model.trainable_variables)
said["moved"] = {{
    v.path: float(np.abs(keras.ops.convert_to_numpy(v) - old).max())
    for v, old in zip(model.trainable_variables, before)
}}

# Stages grow out of each other, on arrays; what is measured is the same everywhere.
images = np.uint8(random.uniform(0, 255, (6, 48, 40, 3)))
images[:, :, :20] //= 4
masks = np.int32(images[..., 0] > 70)
masks[:, :2] = 255
model = fcn.build("32s", 3, **SLIM)
fill(model)
said["losses"] = []
for epochs in (1, 1, 3):
    told = training.fit(
        model, (images, masks), epochs=epochs, learning_rate=1e-3, verbose=0,
        validation=(images, masks),
    )
    said["losses"] += told["loss"]
    scored = training.evaluate(model, (images, masks))
    assert abs(scored["mean_iou"] - told["val_mean_iou"][-1]) < 2e-3, (scored, told)
    model = fcn.grow(model) if epochs == 1 else model
said["stage"] = fcn.variant_of(model)
at_once = fcn.build("at_once", 3, **SLIM)
said["at once"] = training.fit(at_once, (images, masks), epochs=1, verbose=0)["loss"]
said["three scores"] = sorted(training.evaluate(at_once, (images, masks)))
logits = np.float32(random.normal(size=(*masks.shape, 3)))
said["dice"] = float(metrics.dice(masks, logits))
said["counts"] = np.asarray(
    keras.ops.convert_to_numpy(
        metrics.confusion_matrix(masks, np.minimum(masks, 2), 3)
    )
).tolist()
assert backend == "tensorflow" or "tensorflow" not in sys.modules
print(json.dumps(said))
"""


@functools.cache
def run(backend):
    """Return what the program prints, and its logits, under a backend."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: requirements-backends.txt")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, backend, folder],
            cwd=ROOT,
            env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        with np.load(f"{folder}/logits.npz") as logits:
            return json.loads(done.stdout.splitlines()[-1]), dict(logits)


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS)
def test_networks_and_steps_are_the_same_without_tensorflow(backend):
    found, others = run(backend)
    expected, logits = run("tensorflow")
    assert set(logits) == set(others) and len(logits) == 12
    for name, values in logits.items():
        assert np.ptp(values) > 0.1, name
        difference = np.abs(values - others[name]).max() / np.abs(values).max()
        assert difference < 1e-4, name
    assert found["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-3)
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=2e-2)
    assert found["losses"][-1] < found["losses"][0]
    assert found["stage"] == "8s"
    assert found["three scores"] == ["s16", "s32", "s8"]
    assert found["counts"] == expected["counts"]
    assert found["dice"] == pytest.approx(expected["dice"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", *OTHERS])
def test_the_backbone_learns_at_its_own_rate(backend):
    moved = run(backend)[0]["moved"]
    assert len(moved) == 2 * (5 + 2 + 3)
    for path, step in moved.items():
        rate = 0.0025 if path.startswith("block") else 0.01
        assert step == pytest.approx(rate, rel=1e-3), path


SETTINGS = """
import numpy as np
from utils import environment, fcn
try:
    fcn.build("32s", 3, fc_units=4, fc_kernel=1, weights=None)
except ValueError as error:
    print(error)
print(environment.prepare(0))
model = fcn.build("32s", 3, fc_units=4, fc_kernel=1, weights=None)
print(model(np.zeros((1, 32, 40, 3), "float32")).shape, model.weights[1].dtype)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong", [{"image_data_format": "channels_first"}, {"floatx": "float16"}]
)
def test_what_keras_json_says_is_refused_or_overruled(tmp_path, wrong):
    usual = {"image_data_format": "channels_last", "floatx": "float32"}
    (tmp_path / "keras.json").write_text(json.dumps(usual | wrong))
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS],
        cwd=ROOT,
        env=os.environ | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refused, _, after = done.stdout.splitlines()
    assert refused.startswith("Keras is set to") and str(*wrong.values()) in refused
    assert after == "(1, 32, 40, 3) float32"


def test_a_backend_that_is_not_installed_is_named_in_a_sentence():
    command = [sys.executable, "-m", "utils.predict", "photo.jpg"]
    settings = {"KERAS_BACKEND": "torch"}
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is installed here")
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "not installed here (torch)" in done.stderr
