"""Precision by the hardware, memory against counting and measuring, GPU sizes."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from benchmarks import memory
from utils import environment, fcn, training


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        (None, "float32"),
        ((6, 1), "float32"),
        ((7, 0), "mixed_float16"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((9, 0), "mixed_bfloat16"),
    ],
)
def test_precision_follows_the_hardware(monkeypatch, capability, policy):
    gpus = [] if capability is None else ["a GPU"]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": capability},
    )
    assert environment.precision_policy() == policy


def test_memory_is_the_sum_of_its_parts():
    """Counted by hand for FCN-32s of 8 units: VGG16's maps, then 1x1 cells at 32 px."""
    model = fcn.build("32s", 3, fc_units=8, fc_kernel=1, weights=None)
    found = memory.training_memory(model, 32, 2)
    trained = 14_714_688 + (512 * 8 + 8) + (8 * 8 + 8) + (8 * 3 + 3)
    fixed = 3 + 64 * 64 * 3 * 3  # the mean colour, and the kernel of the enlargement
    assert found["weights"] == pytest.approx(4e-9 * (trained + fixed))
    assert found["gradients"] == pytest.approx(4e-9 * trained)
    assert found["optimizer"] == pytest.approx(8e-9 * trained)
    maps = sum(
        side**2 * channels * depth
        for side, channels, depth in (
            (32, 3, 1),  # what the first layer sees
            (32, 64, 2), (16, 64, 1), (16, 128, 2), (8, 128, 1), (8, 256, 3),
            (4, 256, 1), (4, 512, 3), (2, 512, 1), (2, 512, 3), (1, 512, 1),
            (1, 512, 1),  # rescaled
            (1, 8, 4),  # fc6, fc7 and their dropouts
            (1, 3, 1), (3, 3, 1), (96, 3, 1), (32, 3, 2),  # scores, up to the photo
        )
    )  # fmt: skip
    assert found["activations"] == pytest.approx(2 * 4e-9 * maps)
    largest = 512 * 512 * 9
    assert found["passing"] == pytest.approx(
        12e-9 * largest + 2 * 2 * 4e-9 * 32 * 32 * 64
    )
    parts = [value for name, value in found.items() if name != "total"]
    assert found["total"] == pytest.approx(sum(parts))


@pytest.mark.slow
def test_less_is_kept_of_frozen_blocks_and_of_sixteen_bits():
    slim = {"fc_units": 512, "fc_kernel": 1, "weights": None}
    model = fcn.build("8s", 3, **slim)
    whole = memory.training_memory(model, 224, 4)
    training.freeze(model, (1, 2))
    frozen = memory.training_memory(model, 224, 4)
    assert frozen["activations"] < 0.4 * whole["activations"]
    assert frozen["weights"] == whole["weights"]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = memory.training_memory(fcn.build("8s", 3, **slim), 224, 4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert 0.5 < half["activations"] / whole["activations"] < 0.6
    assert half["weights"] > whole["weights"]


@pytest.mark.slow
def test_the_measured_table_has_the_predictions_of_this_code():
    rows = environment.results("memory")["rows"]
    assert len(rows) == len(memory.ROWS)
    for row in rows[3:]:  # the slim ones: the others take a gigabyte to build
        keras.config.set_dtype_policy(row["precision"])
        try:
            head = {name: row[name] for name in ("fc_units", "fc_kernel")}
            model = fcn.build("8s", 3, weights=None, **head)
        finally:
            keras.config.set_dtype_policy("float32")
        training.freeze(model, row["frozen_blocks"])
        found = memory.training_memory(model, row["image_size"], row["batch_size"])
        assert found == pytest.approx(row["predicted_gb"]), (
            "run benchmarks.memory again"
        )
        assert 0.5 < found["total"] / row["measured_gb"] < 1.2


def test_the_measured_step_is_as_fast_as_asked():
    """On the machine that measured it; what it took is in the file, run by run."""
    step = environment.results("train_step")
    assert len(step["fit_over_bare"]["runs"]) >= 5
    assert step["fit_over_bare"]["median"] >= 0.95
    assert step["of_the_product"]["convolutions"]["median"] >= 0.85
    assert step["of_the_product"]["whole"]["median"] >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_sizes_for_a_gpu_are_predicted_to_fit_into_16_gb(policy):
    """Without training: one network of 0.5 GB is built."""
    keras.config.set_dtype_policy(policy)
    try:
        model = fcn.build("8s", 3, weights=None)
    finally:
        keras.config.set_dtype_policy("float32")
    one, sixteen = (memory.training_memory(model, 224, n)["total"] for n in (1, 16))
    assert 2.15 < one < sixteen < 16 * 0.67  # a third left as a margin


# The three stages as a GPU would train them, two steps each, and what that takes.
GPU_SIZES = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
from benchmarks import memory, timing
from utils import fcn, training

keras.config.set_dtype_policy(sys.argv[1])
random = np.random.default_rng(0)
images = random.uniform(0, 255, (1, 224, 224, 3)).astype("float32")
masks = np.zeros((1, 224, 224), "int32")
masks[:, 60:160, 60:160] = 1
steps = tf.data.Dataset.from_tensors((images, masks)).repeat(2)
model, losses = fcn.build("32s", 3, weights=None), []
for stage in ("32s", "16s", "8s"):
    model = fcn.grow(model) if losses else model
    losses.append(training.fit(model, steps, epochs=1, verbose=0)["loss"][0])
print(json.dumps({
    "losses": losses,
    "layers": [layer.compute_dtype for layer in model.layers],
    "one": memory.training_memory(model, 224, 1)["total"],
    "sixteen": memory.training_memory(model, 224, 16)["total"],
    "measured": timing.peak_memory(),
}))
"""


# Minutes and up to 16 GB; some processors take a quarter of an hour for float16.
@pytest.mark.long
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_sizes_for_a_gpu_train_and_fit_into_16_gb(policy):
    command = [sys.executable, "-c", GPU_SIZES, policy]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert np.isfinite(found["losses"]).all()
    assert {policy.removeprefix("mixed_"), "float32"} <= set(found["layers"])
    assert found["one"] < found["sixteen"] < 16 * 0.67  # a third left as a margin
    # Three networks of 0.5 GB and their optimisers are alive at the end.
    assert found["one"] < found["measured"] < 16


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux inherits it")
@pytest.mark.slow
def test_peak_memory_is_the_process_s_own():
    """Not that of a larger parent; and what was held once counts when it is gone."""
    child = (
        "from benchmarks import timing\n"
        "before = timing.peak_memory()\n"
        "held = b'x' * 700_000_000\n"
        "del held\n"
        "print(before, timing.peak_memory())\n"
    )
    parent = (
        "import subprocess, sys\n"
        "held = b'x' * 2_500_000_000\n"
        "del held\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)\n"
    )
    command = [sys.executable, "-c", parent]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    before, after = map(float, done.stdout.split())
    assert 0.01 < before < 2
    assert 0.4 < after - before < 0.9
