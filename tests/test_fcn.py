"""The networks against `tf.image.resize`, against each other, and at awkward sizes."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import skimage
import tensorflow as tf

from utils import environment, fcn, metrics, training, vgg16

SLIM = {"fc_units": 16, "fc_kernel": 1, "weights": None}
WIDE = vgg16.BLOCKS

pytestmark = pytest.mark.usefixtures("thin")


@pytest.fixture
def policy():
    """Sets a dtype policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def scoring(model, seed=0):
    """Give the zero-initialised scores something to say."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name.startswith("score_") and not layer.kernel.numpy().any():
            layer.set_weights([generator.normal(size=w.shape) for w in layer.weights])
    return model


def cat(height, width):
    """Return scikit-image's cat, resized: (1, height, width, 3), 0..255."""
    return tf.image.resize(np.float32(skimage.data.chelsea())[None], (height, width))


def outputs_of(model, image):
    return keras.tree.flatten(model(image))


def relative(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


# Upsampling


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 3)])
def test_upsampling_equals_resizing_everywhere(factor, size):
    scores = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, fcn.upsample(inputs, factor, "up"))
    expected = tf.image.resize(scores, (factor * size[0], factor * size[1]))
    np.testing.assert_allclose(model(scores), expected, atol=1e-5)


def test_upsampling_is_fixed_or_learned_as_asked():
    for upsampling, trained in (("bilinear", 0), ("learned", 3)):
        model = fcn.build("8s", 3, upsampling=upsampling, **SLIM)
        names = [weight.path for weight in model.trainable_weights]
        assert sum(name.startswith("up") for name in names) == trained
        grown = fcn.grow(fcn.build("16s", 3, upsampling=upsampling, **SLIM))
        assert {w.path for w in grown.trainable_weights} == set(names)


# Shapes


@pytest.mark.parametrize("variant", fcn.VARIANTS)
def test_logits_have_the_size_of_the_image(variant):
    model = scoring(fcn.build(variant, 3, **SLIM))
    for size in (
        (1, 1),
        (31, 31),
        (32, 32),
        (33, 33),
        (97, 161),
        (224, 224),
        (500, 375),
    ):
        for logits in outputs_of(model, cat(*size)):
            assert logits.shape == (1, *size, 3)
            assert logits.dtype == "float32"
            assert np.isfinite(logits).all()


def test_unknown_size_in_a_graph():
    model = scoring(fcn.build("8s", 3, **SLIM))
    data = tf.data.Dataset.from_generator(
        lambda: ((np.full((1, s, s + 5, 3), 9.0),) for s in (20, 70)),
        output_signature=(tf.TensorSpec((None, None, None, 3)),),
    )
    shapes = [model.predict_on_batch(image).shape for (image,) in data]
    assert shapes == [(1, 20, 25, 3), (1, 70, 75, 3)]


def test_padding_changes_nothing_when_the_size_fits():
    """And where it does not fit, the pixels keep their places."""
    pad = fcn.PadToStride(32)
    image = cat(64, 96)
    np.testing.assert_array_equal(pad(image), image)
    padded = np.asarray(pad(image[:, :33, :65]))
    assert padded.shape == (1, 64, 96, 3)
    np.testing.assert_array_equal(padded[:, :33, :65], image[:, :33, :65])
    subtracted = vgg16.MeanSubtraction()(padded)
    np.testing.assert_allclose(subtracted[:, 33:], 0, atol=1e-4)


def test_shifting_the_photo_by_a_cell_shifts_the_logits():
    """Seven cells of 32 px off each side: what padding can reach."""
    model = scoring(fcn.build("at_once", 3, fc_units=16, fc_kernel=7, weights=None))
    image = cat(736, 736)
    here, there = model(image[:, :704, :704]), model(image[:, 32:, 32:])
    near, far = 7 * 32, 704 - 7 * 32
    for name, logits in here.items():
        expected = logits[:, near + 32 : far, near + 32 : far].numpy()
        actual = there[name][:, near : far - 32, near : far - 32].numpy()
        assert expected.std() > 1e-3
        assert relative(actual, expected) < 1e-4


# Scores, stages, growing


def test_untrained_logits_are_zero():
    for logits in outputs_of(fcn.build("at_once", 3, **SLIM), cat(64, 64)):
        assert not logits.numpy().any()


def test_all_at_once_is_the_three_in_one():
    together = scoring(fcn.build("at_once", 3, **SLIM))
    image = cat(70, 90)
    results = together(image)
    assert list(results) == ["s32", "s16", "s8"]
    for variant in ("32s", "16s", "8s"):
        alone = fcn.build(variant, 3, **SLIM)
        for layer in alone.layers:
            layer.set_weights(together.get_layer(layer.name).get_weights())
            if isinstance(layer, keras.layers.Rescaling):
                layer.scale = together.get_layer(layer.name).scale
        np.testing.assert_allclose(alone(image), results[f"s{variant[:-1]}"], rtol=1e-5)


def test_grow_starts_as_its_parents_scores_through_the_finer_chain():
    parent = scoring(fcn.build("32s", 3, **SLIM))
    image = cat(96, 128)
    for scores, sizes in (
        ("score_fc7", [(6, 8), (96, 128)]),
        ("fused_pool4", [(12, 16), (96, 128)]),
    ):
        expected = keras.Model(parent.input, parent.get_layer(scores).output)(image)
        for size in sizes:
            expected = tf.image.resize(expected, size)
        child = fcn.grow(parent)
        assert relative(child(image).numpy(), expected.numpy()) < 1e-5
        held = {weight.path: weight.numpy() for weight in child.weights}
        for weight in parent.weights:
            if not weight.path.startswith(("up32", "up16")):
                np.testing.assert_array_equal(weight, held[weight.path])
        parent = scoring(child, seed=1)
    assert fcn.variant_of(parent) == "8s"


def step(model, optimizer, image, mask):
    """Take one step, without compiling, and return the loss and the gradients."""
    with tf.GradientTape() as tape:
        logits = keras.tree.flatten(model(image, training=True))
        loss = sum(metrics.cross_entropy(mask, one) for one in logits)
    gradients = tape.gradient(loss, model.trainable_weights)
    optimizer.apply(gradients, model.trainable_weights)
    return float(loss), gradients


def test_training_one_variant_changes_no_other():
    parent = scoring(fcn.build("16s", 3, **SLIM))
    child = fcn.grow(parent)
    for trained, kept in ((child, parent), (parent, child)):
        before, start = kept.get_weights(), trained.get_weights()
        mask = np.arange(64 * 64, dtype=np.int32).reshape(1, 64, 64) % 3
        step(trained, keras.optimizers.Adam(1e-3), cat(64, 64), mask)
        for old, new in zip(before, kept.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        pairs = zip(start, trained.get_weights(), strict=True)
        moved = [not np.array_equal(old, new) for old, new in pairs]
        assert sum(moved) > len(trained.trainable_weights) / 2


@pytest.mark.parametrize("variant", fcn.VARIANTS)
@pytest.mark.slow
def test_gradient_reaches_every_weight_after_one_step(variant):
    model = fcn.build(
        variant, 3, fc_units=64, fc_kernel=3, upsampling="learned", weights=None
    )
    image = cat(64, 64)
    mask = np.random.default_rng(0).integers(0, 3, (1, 64, 64)).astype(np.int32)

    optimizer = keras.optimizers.Adam(1e-3)
    step(model, optimizer, image, mask)
    _, gradients = step(model, optimizer, image, mask)
    silent = [
        weight.path
        for weight, gradient in zip(model.trainable_weights, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert silent == []


def test_batch_normalised_from_nothing_with_two_classes():
    model = fcn.build(
        "at_once", 2, batch_norm=True, fc_units=32, fc_kernel=1, weights=None
    )
    mask = (np.arange(64) < 32)[None, :, None] * np.ones((2, 1, 64), np.int32)
    image = 255.0 * np.repeat(mask[..., None], 3, axis=-1).astype(np.float32)
    optimizer = keras.optimizers.Adam(3e-3)
    losses = [step(model, optimizer, image, mask)[0] for _ in range(8)]
    assert min(losses) < 0.9 * losses[0]


# Feature scale


@pytest.mark.parametrize("variant", fcn.VARIANTS)
def test_pools_are_divided_by_their_spread(variant):
    model = fcn.build(variant, 3, **SLIM)
    spread = vgg16.feature_spread(model)
    used = {"32s": ["pool5"], "16s": ["pool4", "pool5"]}.get(variant, list(spread))
    found = {
        layer.name.removesuffix("_rescaled"): 1 / layer.scale
        for layer in model.layers
        if isinstance(layer, keras.layers.Rescaling)
    }
    assert found == pytest.approx({name: spread[name] for name in used})


@pytest.mark.slow
def test_trains_alike_with_every_feature_forty_times_as_large(monkeypatch):
    """So Caffe's weights differ from torchvision's: the spread alone may not matter."""
    curves = []
    for factor in (1, 40):

        def load(model, factor=factor):
            generator = np.random.default_rng(0)
            for layer in model.layers:
                if isinstance(layer, keras.layers.Conv2D):
                    shape = layer.kernel.shape
                    size = np.sqrt(2 / np.prod(shape[:3]))
                    first = layer.name == "block1_conv1"
                    kernel = generator.normal(0, size, shape) * (factor if first else 1)
                    bias = generator.normal(0, 1, shape[-1:]) * factor
                    layer.set_weights([kernel, bias])

        monkeypatch.setattr(vgg16, "load_imagenet_weights", load)
        keras.utils.set_random_seed(0)
        model = fcn.build(
            "8s",
            3,
            fc_units=16,
            fc_kernel=1,
            dropout=0,
            weights="imagenet_convolutions",
        )
        training.freeze(model, (1, 2))
        mask = np.asarray(cat(64, 64))[..., 0] // 90
        data = tf.data.Dataset.from_tensors((cat(64, 64), mask.astype(np.int32)))
        data = data.repeat(20).apply(tf.data.experimental.assert_cardinality(20))
        curves.append(training.fit(model, data.take(1), epochs=20, verbose=0)["loss"])
    assert curves[0][-1] < 0.8 * curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.03)


# Precision, files, size


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_logits_stay_float32_under_mixed_precision(policy, name):
    policy(name)
    model = scoring(fcn.build("at_once", 3, **SLIM))
    assert model.get_layer("block3_conv1").compute_dtype == name.removeprefix("mixed_")
    for logits in outputs_of(model, cat(33, 40)):
        assert logits.dtype == "float32"
        assert np.isfinite(logits).all()
    grown = fcn.grow(fcn.build("16s", 3, **SLIM))
    assert grown(cat(33, 40)).dtype == "float32"


LOAD_ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import keras, numpy as np
from utils import fcn
image = np.load(sys.argv[2] + "/image.npy")
for name in ("grown", "at_once"):
    model = keras.saving.load_model(f"{sys.argv[2]}/{name}.keras", safe_mode=True)
    logits = keras.tree.flatten(model(image))
    np.save(f"{sys.argv[2]}/{name}.npy", np.stack(logits))
"""


@pytest.mark.slow
def test_saved_model_gives_the_same_in_a_new_process(tmp_path):
    models = {
        "grown": scoring(fcn.grow(fcn.build("16s", 3, **SLIM))),
        "at_once": scoring(fcn.build("at_once", 3, upsampling="learned", **SLIM)),
    }
    np.save(tmp_path / "image.npy", cat(45, 70))
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ELSEWHERE, str(environment.ROOT), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name, model in models.items():
        expected = np.stack(outputs_of(model, cat(45, 70)))
        np.testing.assert_allclose(
            np.load(tmp_path / f"{name}.npy"), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.slow
def test_size_of_the_whole_network_and_of_the_slim_one(monkeypatch):
    monkeypatch.setattr(vgg16, "BLOCKS", WIDE)
    monkeypatch.setattr(vgg16, "load_imagenet_weights", loaded_all_but())
    convolutions, fc6, fc7 = 14_714_688, 102_764_544, 16_781_312
    scores = 3 * (4096 + 512 + 256 + 3)
    fixed = 9 * (4**2 + 4**2 + 16**2) + 3  # upsampling kernels, and the mean
    whole = fcn.build("8s", 3, weights="imagenet")
    assert whole.count_params() == convolutions + fc6 + fc7 + scores + fixed
    names = {layer.name for layer in whole.layers}
    assert "pool5_rescaled" not in names, "pretrained fc6 takes pool5 as it is"
    slim = fcn.build("8s", 3, fc_units=512, fc_kernel=1, weights=None)
    scores = 3 * (512 + 512 + 256 + 3)
    assert slim.count_params() == convolutions + 2 * (512**2 + 512) + scores + fixed


# Refusals


def loaded_all_but(*unfilled):
    return lambda model: vgg16.LoadedWeights("a made source", (), unfilled)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("4s", 3), "Variant '4s' is unknown"),
        (("8s", 1), "needs at least 2"),
        (("8s", 3, {"fc_kernel": 2}), "odd kernel"),
        (("8s", 3, {"upsampling": "nearest"}), "Upsampling 'nearest' is unknown"),
        (("8s", 3, {"weights": "random"}), "Weights 'random' is unknown"),
        (("8s", 3, {"fc_units": 512}), "imagenet_convolutions"),
    ],
)
def test_build_refuses(arguments, sentence):
    variant, num_classes, *options = arguments
    with pytest.raises(ValueError, match=sentence) as caught:
        fcn.build(variant, num_classes, **(options[0] if options else {}))
    assert "\n" not in str(caught.value)


def test_imagenet_without_dense_weights_is_refused(monkeypatch):
    monkeypatch.setattr(vgg16, "load_imagenet_weights", loaded_all_but("fc6", "fc7"))
    # Small ones stand in for 4096 7x7 filters: the refusal is what the source lacks.
    monkeypatch.setattr(fcn, "_check", lambda *arguments: None)
    with pytest.raises(ValueError, match=r'a made source.*"imagenet_convolutions"'):
        fcn.build("8s", 3, fc_units=8, fc_kernel=1, weights="imagenet")


def test_grow_refuses_the_finest():
    for variant in ("8s", "at_once"):
        with pytest.raises(ValueError, match="grow a 32s or a 16s"):
            fcn.grow(fcn.build(variant, 3, **SLIM))
    with pytest.raises(ValueError, match=r"no network of fcn\.build"):
        fcn.grow(vgg16.build(3, fc_units=8, input_size=32))


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_than_three_channels_are_refused(channels):
    model = fcn.build("32s", 3, **SLIM)
    for call in (model, model.predict_on_batch):
        with pytest.raises(ValueError, match="incompatible"):
            call(np.zeros((1, 32, 32, channels), np.float32))


def test_a_frozen_learned_upsampling_stays_learned_in_the_next_stage():
    model = fcn.build("32s", 3, upsampling="learned", **SLIM)
    model.get_layer("up32").trainable = False
    grown = fcn.grow(model)
    assert grown.get_layer("up2_fc7").trainable and grown.get_layer("up16").trainable
    fixed = fcn.grow(fcn.build("32s", 3, **SLIM))
    assert not fixed.get_layer("up16").trainable
