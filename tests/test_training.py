"""Loss, optimiser, frozen backbone and cache, against NumPy and against themselves."""

import os

import keras
import numpy as np
import official_folder
import pytest
import tensorflow as tf
from PIL import Image

from utils import (
    batching,
    environment,
    fcn,
    metrics,
    networks,
    pet_records,
    pets,
    training,
    vgg16,
)

WIDE = vgg16.BLOCKS
pytestmark = pytest.mark.usefixtures("thin")

SLIM = {"fc_units": 16, "fc_kernel": 1, "weights": None}


def batch(seed=0, shape=(2, 6, 7), num_classes=3):
    """A mask with about a fifth of void, and logits."""
    generator = np.random.default_rng(seed)
    mask = generator.integers(0, num_classes, shape).astype(np.int32)
    mask[generator.random(shape) < 0.2] = 255
    return mask, generator.normal(size=(*shape, num_classes)).astype(np.float32)


def softmax(logits):
    powers = np.exp(np.float64(logits) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


# Losses


def test_cross_entropy_is_the_mean_over_pixels_that_count():
    mask, logits = batch()
    probabilities = softmax(logits)
    terms = [
        -np.log(probabilities[place][mask[place]])
        for place in np.ndindex(mask.shape)
        if mask[place] != 255
    ]
    loss = metrics.cross_entropy(mask, logits)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-6)


def test_dice_is_the_overlap_of_each_class():
    mask, logits = batch()
    kept = mask != 255
    probabilities, truth = softmax(logits)[kept], np.eye(3)[mask[kept]]
    expected = [
        1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        for p, t in zip(probabilities.T, truth.T, strict=True)
    ]
    assert float(metrics.dice(mask, logits)) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("loss", [metrics.cross_entropy, metrics.dice])
def test_void_changes_neither_loss_nor_gradient(loss):
    mask, logits = batch()
    other = np.where((mask == 255)[..., None], 7 - 3 * logits, logits)
    results = []
    for values in (logits, other):
        values = tf.constant(values)
        with tf.GradientTape() as tape:
            tape.watch(values)
            result = loss(mask, values)
        gradient = tape.gradient(result, values).numpy()
        assert not gradient[mask == 255].any()
        results.append((float(result), gradient[mask != 255]))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("loss", [metrics.cross_entropy, metrics.dice])
def test_nothing_but_void_has_no_gradient(loss):
    logits = tf.Variable(batch()[1])
    with tf.GradientTape() as tape:
        result = loss(np.full((2, 6, 7), 255, np.int32), logits)
    assert np.isfinite(float(result))
    assert not np.any(tape.gradient(result, logits))


@pytest.mark.parametrize("unknown", [3, -1, 254])
def test_unknown_id_is_refused(unknown):
    mask, _ = batch()
    assert batching.check_mask(mask, 3) is mask
    mask[0, 0, 0] = unknown
    with pytest.raises(ValueError, match=f"holds the id {unknown}, but") as caught:
        batching.check_mask(mask, 3)
    assert "\n" not in str(caught.value)
    model = fcn.build("32s", 3, **SLIM)
    data = tf.data.Dataset.from_tensors((np.zeros((2, 6, 7, 3), np.float32), mask))
    with pytest.raises(ValueError, match=f"holds the id {unknown}, but"):
        training.fit(model, data, epochs=1, verbose=0)


# Arrays in place of a data set


def arrays(count=5):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 40, 48, 3), np.uint8)
    return images, np.int64(images[..., 0] > 99)


def test_arrays_are_seen_once_an_epoch_in_an_order_of_seed_and_epoch():
    images, masks = arrays()
    batches = batching.Batches(images, masks, batch_size=2, shuffle=True, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        batches.plan.epoch = epoch
        pairs = [batches[number] for number in range(len(batches))]
        seen = np.concatenate([image for image, _ in pairs])
        order = [int(np.argmax((images == one).all((1, 2, 3)))) for one in seen]
        np.testing.assert_array_equal(
            np.concatenate([mask for _, mask in pairs]), masks[order]
        )
        names = [n for b in range(len(batches)) for n in batches.plan.names(epoch, b)]
        assert names == [f"photo {number}" for number in order]
        orders.append(order)
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(5)) and len(pairs[-1][0]) == 1
    in_order = batching.Batches(images, masks)
    np.testing.assert_array_equal(in_order[0][1], masks)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda images, masks: (images, masks[:-1]), "as many masks as images"),
        (lambda images, masks: (images[0], masks[0]), "as many masks as images"),
        (lambda images, masks: (images, masks[..., None]), "as many masks as images"),
        (lambda images, masks: (images / 255, masks), "multiply them by 255"),
        (lambda images, masks: (images, masks / 2), "give class ids as whole numbers"),
        (lambda images, masks: (images, masks + 2), "holds the id 3, but the loss"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(change, sentence):
    model, changed = fcn.build("32s", 3, **SLIM), change(*arrays())
    forms = [changed]
    if len(changed[0]) == len(changed[1]):
        forms.append(tf.data.Dataset.from_tensors(changed))
    for train, validation in [(d, None) for d in forms] + [
        (arrays(), d) for d in forms
    ]:
        with pytest.raises(ValueError, match=sentence) as caught:
            training.fit(model, train, epochs=1, validation=validation, verbose=0)
        assert "\n" not in str(caught.value)


def test_images_scaled_to_0_1_are_not_scored():
    model, (images, masks) = fcn.build("32s", 3, **SLIM), arrays()
    scaled = images / 255, masks
    for data in (scaled, iter([scaled]), tf.data.Dataset.from_tensors(scaled)):
        with pytest.raises(ValueError, match="multiply them by 255"):
            training.evaluate(model, data)


# Optimiser, freezing


def test_backbone_learns_at_its_own_rate():
    """Adam's first step is the rate itself, whatever the gradient."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="block3_conv1")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="score")(hidden))
    before = model.get_weights()
    optimizer = training.AdamW(0.01, backbone_factor=0.2, weight_decay=0.0)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.backbone_factor == 0.2
    model.compile(copy, "mse")
    model.fit(np.ones((1, 3)), np.full((1, 2), 9.0), verbose=0)
    steps = [
        np.abs(new - old).max()
        for new, old in zip(model.get_weights(), before, strict=True)
    ]
    np.testing.assert_allclose(steps, [0.002, 0.002, 0.01, 0.01], rtol=1e-3)


def test_freeze_stops_the_blocks_named_and_thaws_the_others():
    model = fcn.build("8s", 3, **SLIM)
    for blocks in ((1, 2), (1, 2, 3, 4, 5), ()):
        training.freeze(model, blocks)
        trained = {w.path[5] for w in model.trainable_weights if w.path[:5] == "block"}
        assert trained == set("12345") - {str(block) for block in blocks}
    assert "score_pool3/kernel" in {weight.path for weight in model.trainable_weights}


# Heads on a frozen backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("official") / "pets")


@pytest.fixture
def data(folder, tmp_path, monkeypatch):
    """Eight made-up photos of 48 px, which is no multiple of 32."""
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    where = tmp_path / "tfds"
    return pets.load(folder, "trainval", image_size=48, batch_size=4, data_dir=where)


@pytest.mark.parametrize("variant", ["16s", "at_once"])
@pytest.mark.slow
def test_heads_on_stored_features_are_the_whole_network(variant, data):
    model = fcn.build(variant, 3, **SLIM)
    training.freeze(model, (1, 2, 3, 4, 5))
    frozen = [w.numpy() for w in model.weights if w.path.startswith("block")]
    features = networks.backbone_features(model, data)
    heads = networks.heads(model)
    history = training.fit(heads, features.batch(4), epochs=4, verbose=0)
    assert history["loss"][-1] < history["loss"][0]
    assert 0 <= history["mean_iou"][-1] <= 1
    for old, new in zip(
        frozen,
        [w.numpy() for w in model.weights if w.path.startswith("block")],
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)
    whole = training.evaluate(model, data)
    behind = training.evaluate(heads, features.batch(4))
    for name in ("s16", "s8") if variant == "at_once" else ("only",):
        first, second = (s[name] if name != "only" else s for s in (whole, behind))
        assert first["mean_iou"] == pytest.approx(second["mean_iou"], abs=0.01)
        assert first["pixel_accuracy"] > 0.4


def test_evaluate_counts_every_photo_once(data):
    model = fcn.build("32s", 3, **SLIM)
    model.get_layer("score_fc7").bias.assign([0.0, 1.0, 0.0])
    masks = np.concatenate([mask for _, mask in data])
    result = training.evaluate(model, data)
    share = (masks == 1).mean()
    assert result["pixel_accuracy"] == pytest.approx(share)
    assert result["iou"] == pytest.approx([0.0, share, 0.0])


# Files and cache


@pytest.mark.slow
def test_a_network_in_training_can_be_saved_whole_and_grown(tmp_path, data):
    """What `fit` compiles the network with is known when it is read again."""
    model = fcn.build("32s", 3, **SLIM)
    training.freeze(model, (1, 2, 3, 4, 5))
    training.fit(model, data, epochs=1, dice_weight=0.5, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", safe_mode=True)
    assert again.loss.dice_weight == 0.5
    assert int(again.optimizer.iterations) == len(data)
    losses = [m.evaluate(data, verbose=0)[0] for m in (model, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    grown = fcn.grow(model)
    assert not grown.compiled
    training.fit(grown, data, epochs=1, verbose=0)


@pytest.mark.slow
def test_save_leaves_the_optimiser_out_and_load_brings_the_same_back(
    tmp_path, data, monkeypatch
):
    monkeypatch.setattr(vgg16, "BLOCKS", WIDE)  # where weights are most of the file
    model = fcn.build("16s", 3, **SLIM)
    training.freeze(model, (1, 2, 3, 4, 5))
    training.fit(model, data, epochs=1, verbose=0)
    networks.save_model(model, tmp_path / "models" / "m.keras")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["m.keras"]
    size = (tmp_path / "models" / "m.keras").stat().st_size
    assert size < 4.2 * model.count_params()
    image = next(iter(data))[0]
    loaded = networks.load_model(tmp_path / "models" / "m.keras")
    np.testing.assert_allclose(loaded(image), model(image), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_trained_keeps_each_stage_and_trains_none_twice(folder, data, monkeypatch):
    monkeypatch.setattr(vgg16, "load_imagenet_weights", lambda model: None)
    fits = []
    fit = training.fit

    def counting(model, train, **options):
        fits.append(model)
        return fit(model, train, **options)

    monkeypatch.setattr(training, "fit", counting)
    small = {"image_size": 32, "epochs": 1}
    first = networks.trained_fcn("16s", folder, **small)
    assert fcn.variant_of(first) == "16s"
    assert len(fits) == 2
    again = networks.trained_fcn("16s", folder, **small)
    coarse = networks.trained_fcn("32s", folder, **small)
    assert len(fits) == 2
    assert fcn.variant_of(coarse) == "32s"
    image = next(iter(data))[0]
    np.testing.assert_allclose(again(image), first(image), rtol=1e-5, atol=1e-6)
    networks.trained_fcn("16s", folder, task="species", **small)
    assert len(fits) == 4
    with pytest.raises(ValueError, match="Variant '8' is unknown"):
        networks.trained_fcn("8", folder)

    def failing(model, path):
        raise OSError("no room; give another folder.")

    monkeypatch.setattr(networks, "save_model", failing)
    with pytest.warns(UserWarning, match="Not kept for the next time: no room"):
        alone = networks.trained_fcn("32s", folder, image_size=64, epochs=1)
    assert fcn.variant_of(alone) == "32s"


@pytest.mark.slow
def test_trained_knows_a_data_set_by_its_content(tmp_path, monkeypatch):
    """Not by its name, its place or its files' dates."""
    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(pet_records, "CACHE", tmp_path)
    monkeypatch.setattr(vgg16, "load_imagenet_weights", lambda model: None)
    fits = []
    monkeypatch.setattr(training, "fit", lambda *args, **options: fits.append(1))
    small = {"image_size": 32, "epochs": 1}
    here, there = (tmp_path / name / "pets" for name in ("here", "there"))
    for folder in (here, there):
        official_folder.make(folder)
    for image in (here / "images").iterdir():
        os.utime(image, (1, 1))
    monkeypatch.chdir(tmp_path / "here")
    networks.trained_fcn("32s", "pets", **small)
    networks.trained_fcn("32s", there, **small)
    assert len(fits) == 1
    # One mask of the other folder changes; both are called by the same relative name.
    mask = min((there / "annotations" / "trimaps").iterdir())
    Image.fromarray(official_folder.trimap(7)).save(mask)
    monkeypatch.chdir(tmp_path / "there")
    networks.trained_fcn("32s", "pets", **small)
    assert len(fits) == 2
    networks.trained_fcn("32s", here, **small)
    assert len(fits) == 2


@pytest.mark.slow
def test_trained_fine_tunes_everything_on_a_gpu(folder, data, monkeypatch):
    monkeypatch.setattr(environment, "on_gpu", lambda: True)
    monkeypatch.setattr(vgg16, "load_imagenet_weights", lambda model: None)
    seen = []
    fit = training.fit

    def watched(model, train, **options):
        before = model.get_weights()
        history = fit(model, train, **options)
        seen.append((model, train, before))
        return history

    monkeypatch.setattr(training, "fit", watched)
    model = networks.trained_fcn("16s", folder, image_size=32, epochs=3)
    assert [fcn.variant_of(one) for one, _, _ in seen] == ["32s", "16s"]
    network, train, before = seen[-1]
    plan = batching.plan_of(train)
    assert plan.augment and plan.shuffle
    names = [w.path for w in network.weights]
    moved = dict(zip(names, before, strict=True))
    for weight in network.trainable_weights:
        assert not np.array_equal(weight.numpy(), moved[weight.path]), weight.path
    assert fcn.variant_of(model) == "16s"


def test_threads_are_kept_where_a_network_has_several_outputs():
    data = batching.Batches(*arrays(), batch_size=2)
    data.workers = 3
    several = training._as_batches(data, ["s32", "s8"])
    assert several.workers == 3 and len(several) == 3
    assert set(several[0][1]) == {"s32", "s8"}
