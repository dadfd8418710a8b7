"""Runs that stop and go on, losses that are no number, and pictures for TensorBoard."""

import keras
import numpy as np
import official_folder
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from utils import callbacks, fcn, pets, training, vgg16

THIN = ((2, 4), (2, 8), (3, 8), (3, 16), (3, 16))
EPOCHS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("official") / "pets")


@pytest.fixture
def photos(folder, tmp_path, monkeypatch):
    """Batches of 4 of 12 photos, shuffled and augmented."""
    monkeypatch.setattr(vgg16, "BLOCKS", THIN)
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
    finally:
        keras.config.set_dtype_policy("float32")
    assert again == told and len(told["loss"]) == EPOCHS
    for one, two, three in zip(
        whole.get_weights(), plain.get_weights(), resumed.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    # What is done is not done again.
    finished = network()
    assert (
        training.fit(finished, photos, checkpoints=tmp_path / "broken", **options)
        == told
    )
    np.testing.assert_array_equal(finished.get_weights()[1], whole.get_weights()[1])


def test_other_seeds_give_other_runs(photos):
    losses = [
        training.fit(network(), photos, epochs=1, seed=seed, verbose=0)["loss"]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]  # dropout differs, the photos do not


def test_the_last_two_checkpoints_are_kept(photos, tmp_path):
    training.fit(network(), photos, epochs=3, checkpoints=tmp_path / "run", verbose=0)
    names = {path.stem for path in (tmp_path / "run").glob("ckpt-*.index")}
    assert names == {"ckpt-2", "ckpt-3"}


def test_another_network_s_checkpoint_is_refused(photos, tmp_path):
    options = {"epochs": 1, "checkpoints": tmp_path / "run", "verbose": 0}
    training.fit(network(), photos, **options)
    other = fcn.build("32s", 3, fc_units=8, fc_kernel=1, weights=None)
    with pytest.raises(ValueError, match="checkpoint of another network") as caught:
        training.fit(other, photos, **options)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(photos, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="checkpoint of epoch 1 cannot be written") as e:
        training.fit(
            network(), photos, epochs=1, checkpoints=tmp_path / "file", verbose=0
        )
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_names_the_files(folder, photos, tmp_path, value):
    """One photo of twelve is poisoned; which batch it is in depends on the order."""
    names = [
        row["file_name"].decode()
        for row in pets.load_examples(
            folder, "trainval", data_dir=tmp_path / "tfds"
        ).as_numpy_iterator()
    ]
    plain = pets.load(
        folder, "trainval", image_size=48, batch_size=12, data_dir=tmp_path / "tfds"
    )
    means = next(iter(plain))[0].numpy().mean((1, 2))  # tells the photos apart
    shuffled = pets.load(
        folder,
        "trainval",
        image_size=48,
        batch_size=4,
        shuffle=True,
        data_dir=tmp_path / "tfds",
    )

    def poisoned(mask, logits):
        return tf.reduce_mean(logits**2)

    inputs = keras.Input((48, 48, 3))
    bad = keras.ops.convert_to_tensor(means[7])

    def poison(x):
        near = keras.ops.all(
            keras.ops.abs(keras.ops.mean(x, (1, 2)) - bad) < 1e-3, axis=-1
        )
        return x + keras.ops.where(near, value, 0.0)[:, None, None, None]

    model = keras.Model(inputs, keras.layers.Lambda(poison)(inputs))
    model.compile("sgd", poisoned, jit_compile=False)
    with pytest.raises(FloatingPointError, match="epoch 1, batch") as caught:
        model.fit(
            shuffled,
            shuffle=False,
            verbose=0,
            callbacks=[
                callbacks.RepeatableEpochs(shuffled, 0),
                callbacks.StopAtNaN(shuffled),
            ],
        )
    said = str(caught.value).split("files: ")[1].split(";")[0].split(", ")
    assert names[7] in said and len(said) == 4 and set(said) <= set(names)
    batch = int(str(caught.value).split("batch ")[1].split(",")[0]) - 1
    pets.set_epoch(shuffled, 0)
    images = list(shuffled)[batch][0].numpy().mean((1, 2))
    for name, mean in zip(said, images, strict=True):
        np.testing.assert_allclose(mean, means[names.index(name)], rtol=1e-5)


def test_fit_stops_at_nan(photos):
    model = network()
    bias = model.get_layer("score_fc7").bias
    bias.assign([np.nan, 0, 0])
    with pytest.raises(FloatingPointError, match=r"epoch 1, batch 1, files: \w+\.jpg,"):
        training.fit(model, photos, epochs=1, verbose=0)


def test_tensorboard_gets_photo_truth_and_prediction(photos, tmp_path):
    images, masks = next(iter(photos))
    names = pets.CLASS_NAMES["trimap"]
    shown = callbacks.MaskImages(tmp_path, images, masks, names)
    training.fit(network(), photos, epochs=2, callbacks=[shown], verbose=0)
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    (tag,) = events.Tags()["tensors"]
    steps = events.Tensors(tag)
    assert [event.step for event in steps] == [0, 1]
    width, height, *pictures = tf.make_ndarray(steps[-1].tensor_proto)
    assert (int(width), int(height), len(pictures)) == (3 * 48, 48, 4)
    drawn = tf.io.decode_png(pictures[0]).numpy()
    np.testing.assert_allclose(
        drawn[:, :48], np.clip(images[0], 0, 255).round(), atol=1
    )


# Passes over the photos


def test_a_pass_does_not_wait_for_a_tuner(photos):
    assert photos.options().autotune.enabled is False
    assert photos.map(lambda image, mask: image).options().autotune.enabled is False
