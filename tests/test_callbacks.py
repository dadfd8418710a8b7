"""Runs that stop and go on, and losses that are no number."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import official_folder
import pytest
import tensorflow as tf
from conftest import ROOT, THIN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils import batching, fcn, metrics, pets, training

EPOCHS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("official") / "pets")


@pytest.fixture
def photos(folder, tmp_path, thin):
    """Batches of 4 of 12 photos, shuffled and augmented."""
    return pets.load(
        folder,
        "trainval",
        image_size=48,
        batch_size=4,
        augment=True,
        shuffle=True,
        data_dir=tmp_path / "tfds",
    )


def network():
    keras.utils.set_random_seed(0)
    return fcn.build("32s", 3, fc_units=16, fc_kernel=1, weights=None)


class Dies(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.steps:
            raise KeyboardInterrupt


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.slow
def test_a_run_goes_on_as_if_nothing_had_happened(photos, tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    try:
        options = {"epochs": EPOCHS, "seed": 3, "verbose": 0}
        whole = network()
        told = training.fit(whole, photos, checkpoints=tmp_path / "whole", **options)
        plain = network()
        training.fit(plain, photos, **options)
        with pytest.raises(KeyboardInterrupt):
            training.fit(
                network(),
                photos,
                checkpoints=tmp_path / "broken",
                callbacks=[Dies(2 * len(photos) + 1)],
                **options,
            )
        next(iter(photos))  # somebody looks at the photos in between
        resumed = network()
        resumed.set_weights([2 * w + 1 for w in resumed.get_weights()])
        again = training.fit(
            resumed, photos, checkpoints=tmp_path / "broken", **options
        )
        # What is done is not done again.
        finished = network()
        last = training.fit(
            finished, photos, checkpoints=tmp_path / "broken", **options
        )
    finally:
        keras.config.set_dtype_policy("float32")
    assert last == again == told and len(told["loss"]) == EPOCHS
    for other in (plain, resumed, finished):
        for one, two in zip(whole.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_other_seeds_give_other_runs(photos):
    losses = [
        training.fit(network(), photos, epochs=1, seed=seed, verbose=0)["loss"]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]  # dropout differs, the photos do not


@pytest.mark.slow
def test_the_last_two_checkpoints_are_kept(photos, tmp_path):
    training.fit(network(), photos, epochs=3, checkpoints=tmp_path / "run", verbose=0)
    assert sorted(os.listdir(tmp_path / "run")) == ["epoch_0002.npz", "epoch_0003.npz"]


@pytest.mark.slow
def test_another_network_s_checkpoint_is_refused(photos, tmp_path):
    options = {"epochs": 1, "checkpoints": tmp_path / "run", "verbose": 0}
    training.fit(network(), photos, **options)
    other = fcn.build("32s", 3, fc_units=8, fc_kernel=1, weights=None)
    with pytest.raises(ValueError, match="checkpoint of another network") as caught:
        training.fit(other, photos, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_named(photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"epoch_0001.npz cannot be written") as e:
        training.fit(
            network(), photos, epochs=1, checkpoints=tmp_path / "file", verbose=0
        )
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_names_the_files(folder, tmp_path, value):
    """One photo of twelve is poisoned; which batch it is in depends on the order."""
    options = {"data_dir": tmp_path / "tfds"}
    rows = pets.load_examples(folder, "trainval", **options).as_numpy_iterator()
    names = [row["file_name"].decode() for row in rows]
    options |= {"image_size": 48}
    plain = pets.load(folder, "trainval", batch_size=12, **options)
    means = next(iter(plain))[0].numpy().mean((1, 2))  # tells the photos apart
    shuffled = pets.load(folder, "trainval", batch_size=4, shuffle=True, **options)

    def poison(images):
        apart = keras.ops.abs(keras.ops.mean(images, (1, 2)) - means[7])
        found = keras.ops.all(apart < 1e-3, axis=-1)
        return images + keras.ops.where(found, value, 0.0)[:, None, None, None]

    inputs = keras.Input((48, 48, 3))
    model = keras.Model(inputs, keras.layers.Lambda(poison)(inputs))
    model.compile("sgd", lambda mask, x: tf.reduce_mean(x**2), jit_compile=False)
    watch = [
        batching.RepeatableEpochs(shuffled, 0),
        metrics.StopAtNaN(shuffled),
    ]
    with pytest.raises(FloatingPointError, match="epoch 1, batch") as caught:
        model.fit(shuffled, shuffle=False, verbose=0, callbacks=watch)
    said = str(caught.value).split("files: ")[1].split(";")[0].split(" after ")
    this, *before = (batch.split(", ") for batch in said)
    assert names[7] in this and len(this) == 4
    number = int(str(caught.value).split("batch ")[1].split(",")[0]) - 1
    assert len(before) == (number > 0)
    batching.plan_of(shuffled).epoch = 0
    shown = [images.numpy().mean((1, 2)) for images, _ in shuffled]
    for batch, content in zip([this, *before], shown[number::-1], strict=False):
        for name, mean in zip(batch, content, strict=True):
            np.testing.assert_allclose(mean, means[names.index(name)], rtol=1e-5)


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_not_kept(photos, tmp_path):
    """A last step may spoil them after a loss that was still good."""

    class Spoils(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 2 * len(photos):
                self.model.get_layer("fc6").bias.assign([np.inf] * 16)

    options = {"epochs": 3, "checkpoints": tmp_path / "run", "verbose": 0}
    with pytest.raises(FloatingPointError, match=r"weight fc6/bias .* epoch 2, batch"):
        training.fit(network(), photos, callbacks=[Spoils()], **options)
    assert os.listdir(tmp_path / "run") == ["epoch_0001.npz"]
    assert len(training.fit(network(), photos, **options)["loss"]) == 3


@pytest.mark.slow
def test_a_damaged_checkpoint_gives_way_to_the_one_before(photos, tmp_path):
    options = {"epochs": 3, "checkpoints": tmp_path / "run", "verbose": 0}
    told = training.fit(network(), photos, **options)
    last = tmp_path / "run" / "epoch_0003.npz"
    last.write_bytes(last.read_bytes()[:1000])
    assert training.fit(network(), photos, **options) == told
    for path in (tmp_path / "run").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged; remove that folder"):
        training.fit(network(), photos, **options)


@pytest.mark.slow
def test_checkpoints_lie_wherever_a_folder_may(photos, tmp_path):
    folder = tmp_path / "[1] a**b? {x}" / "run"
    for epochs in (1, 2):
        options = {"epochs": epochs, "checkpoints": folder, "verbose": 0}
        told = training.fit(network(), photos, **options)
        assert len(told["loss"]) == epochs == len(list(folder.iterdir()))


@pytest.mark.slow
def test_fit_stops_at_nan(photos):
    model = network()
    bias = model.get_layer("score_fc7").bias
    bias.assign([np.nan, 0, 0])
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1, files: \w+\.jpg,"):
        training.fit(model, photos, epochs=1, verbose=0)


@pytest.mark.slow
def test_keras_s_own_callbacks_can_show_what_is_measured(photos, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path, write_graph=False)
    log = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    told = training.fit(network(), photos, epochs=2, callbacks=[board, log], verbose=0)
    events = EventAccumulator(str(tmp_path / "train"), size_guidance={"tensors": 0})
    events.Reload()
    shown = events.Tensors("epoch_mean_iou")
    values = [float(tf.make_ndarray(event.tensor_proto)) for event in shown]
    np.testing.assert_allclose(values, told["mean_iou"], rtol=1e-6)
    assert np.ndim(list(told.values())) == 2  # a number an epoch, whatever the name
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert {"epoch", *told} <= set(lines[0].split(",")) and len(lines) == 3


# Passes over the photos


def test_a_pass_does_not_wait_for_a_tuner(photos):
    assert photos.options().autotune.enabled is False
    assert photos.map(lambda image, mask: image).options().autotune.enabled is False


# Several devices

TWO_CPUS = f"""
import json, sys
import keras
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])
from utils import fcn, training, vgg16
vgg16.BLOCKS = {THIN}
random = np.random.default_rng(0)
images = random.uniform(0, 255, (8, 32, 32, 3)).astype("float32")
masks = (images[..., 0] > 127).astype("int32")
batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)
for strategy in (
    tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
):
    keras.utils.set_random_seed(0)
    folder = sys.argv[1] + "/" + str(strategy.num_replicas_in_sync)
    with strategy.scope():
        model = fcn.build("8s", 3, fc_units=8, fc_kernel=1, dropout=0.0, weights=None)
    told = training.fit(model, batches, epochs=4, checkpoints=folder, verbose=0)
    print(json.dumps([told["loss"], told["pixel_accuracy"]]))
"""


@pytest.mark.slow
def test_two_devices_train_as_one_does(tmp_path):
    command = [sys.executable, "-c", TWO_CPUS, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, two = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert len(one[0]) == 4 and one[0][-1] < one[0][0]
    np.testing.assert_allclose(two[0], one[0], atol=1e-5)  # the losses
    # A sum in another order may turn a pixel around that is at a tie between classes.
    assert np.abs(np.subtract(two[1], one[1])).max() * 8 * 32 * 32 <= 4
