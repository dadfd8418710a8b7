"""Metrics against scikit-learn, against loops, and however the data is cut up."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import tensorflow as tf

from tools import evaluate
from utils import environment, metrics

VECTORS = ("iou", "precision", "recall", "f1")


def by_loop(mask, prediction, num_classes, ignore_class=255):
    """The definitions, pixel by pixel and class by class."""
    kept = [
        (t, p)
        for t, p in zip(mask.ravel(), prediction.ravel(), strict=True)
        if t != ignore_class
    ]
    iou, accuracy, weighted = {}, {}, 0.0
    for c in range(num_classes):
        both = sum(t == c and p == c for t, p in kept)
        either = sum(t == c or p == c for t, p in kept)
        true = sum(t == c for t, p in kept)
        if either:
            iou[c] = both / either
            weighted += true * iou[c] / len(kept)
        if true:
            accuracy[c] = both / true
    return {
        "pixel_accuracy": sum(t == p for t, p in kept) / len(kept),
        "mean_accuracy": sum(accuracy.values()) / len(accuracy),
        "mean_iou": sum(iou.values()) / len(iou),
        "frequency_weighted_iou": weighted,
    }, [iou.get(c, np.nan) for c in range(num_classes)]


def random_masks(seed, num_classes=5, absent=(), shape=(3, 12, 17)):
    """Random masks with some void, predictions right about half the time."""
    generator = np.random.default_rng(seed)
    ids = np.setdiff1d(np.arange(num_classes), absent)
    mask = generator.choice(ids, shape)
    guess = generator.choice(ids, shape)
    prediction = np.where(generator.random(shape) < 0.5, mask, guess)
    mask[generator.random(shape) < 0.2] = 255
    return mask.astype(np.int32), prediction.astype(np.int32)


@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
def test_agrees_with_scikit_learn_and_a_loop(absent):
    mask, prediction = random_masks(len(absent), absent=absent)
    metric = metrics.SegmentationMetrics(5)
    metric.update_state(mask, prediction)
    result = metrics.scores(metric.confusion)
    result = {key: np.asarray(value) for key, value in result.items()}
    assert set(metric.result()) == set(result) - set(VECTORS)
    kept = mask != 255
    expected = sklearn.metrics.confusion_matrix(
        mask[kept], prediction[kept], labels=range(5)
    )
    np.testing.assert_array_equal(metric.confusion.numpy(), expected)
    scalars, iou = by_loop(mask, prediction, 5)
    for key, value in scalars.items():
        assert result[key] == pytest.approx(value, abs=1e-12), key
    np.testing.assert_allclose(result["iou"], iou, atol=1e-12)
    per_class = sklearn.metrics.precision_recall_fscore_support(
        mask[kept], prediction[kept], labels=range(5), zero_division=np.nan
    )
    for key, value in zip(("precision", "recall", "f1"), per_class, strict=False):
        np.testing.assert_allclose(result[key], value, atol=1e-12)
    for key in VECTORS:
        assert np.flatnonzero(np.isnan(result[key])).tolist() == list(absent)


def test_class_only_predicted_counts_as_wrong():
    mask, prediction = np.zeros((1, 2, 2), int), np.array([[[0, 0], [0, 1]]])
    metric = metrics.SegmentationMetrics(3)
    metric.update_state(mask, prediction)
    result = metrics.scores(metric.confusion)
    np.testing.assert_allclose(result["iou"], [0.75, 0.0, np.nan])
    assert float(result["mean_iou"]) == pytest.approx(0.375)
    # Nothing of class 1 was there to be found, so only class 0 has an accuracy.
    assert float(result["mean_accuracy"]) == pytest.approx(0.75)


def test_nothing_but_void_is_not_a_number():
    metric = metrics.SegmentationMetrics(3)
    metric.update_state(np.full((1, 4, 4), 255), np.zeros((1, 4, 4), int))
    assert all(np.isnan(np.asarray(value)).all() for value in metric.result().values())


def test_streamed_equals_at_once_and_reset_forgets():
    mask, prediction = random_masks(7, shape=(9, 8, 8))
    streamed, once = metrics.SegmentationMetrics(5), metrics.SegmentationMetrics(5)
    streamed.update_state(prediction, prediction)
    streamed.reset_state()
    for start in (0, 4, 8):
        streamed.update_state(mask[start : start + 4], prediction[start : start + 4])
    once.update_state(mask, prediction)
    np.testing.assert_array_equal(streamed.confusion.numpy(), once.confusion.numpy())


def test_void_changes_nothing():
    mask, prediction = random_masks(3)
    first, second = metrics.SegmentationMetrics(5), metrics.SegmentationMetrics(5)
    first.update_state(mask, prediction)
    second.update_state(mask, np.where(mask == 255, 4 - prediction, prediction))
    np.testing.assert_array_equal(first.confusion.numpy(), second.confusion.numpy())


def test_logits_count_as_their_largest():
    mask, prediction = random_masks(5)
    logits = np.random.default_rng(5).random((*mask.shape, 5)).astype(np.float32)
    np.put_along_axis(logits, prediction[..., None], 2.0, axis=-1)
    by_ids, by_logits = metrics.SegmentationMetrics(5), metrics.SegmentationMetrics(5)
    by_ids.update_state(mask, prediction)
    by_logits.update_state(mask, logits)
    np.testing.assert_array_equal(by_ids.confusion.numpy(), by_logits.confusion.numpy())


def test_counts_beyond_what_float32_holds():
    metric = metrics.SegmentationMetrics(2)
    metric.confusion.assign([[2**40, 0], [0, 0]])
    metric.update_state(np.zeros((1, 1, 1), int), np.zeros((1, 1, 1), int))
    assert metric.confusion.numpy()[0, 0] == 2**40 + 1


def test_refuses_shapes_that_do_not_fit():
    metric = metrics.SegmentationMetrics(3)
    mask = np.zeros((1, 4, 4), int)
    with pytest.raises(ValueError, match="have 5 classes and these metrics 3"):
        metric.update_state(mask, np.zeros((1, 4, 4, 5)))
    with pytest.raises(ValueError, match="do not fit masks"):
        metric.update_state(mask, np.zeros((4, 4)))


@pytest.mark.parametrize(
    ("mask", "guess"), [(3, 0), (-1, 0), (0, 3), (0, -1), (0, 255)]
)
def test_an_id_that_is_no_class_is_refused(mask, guess):
    masks, guesses = np.zeros((1, 4, 4), int), np.zeros((1, 4, 4), int)
    masks[0, 1, 2], guesses[0, 1, 2] = mask, guess
    wrong = mask or guess
    for call in (
        lambda: metrics.confusion_matrix(masks, guesses, 3),
        lambda: metrics.SegmentationMetrics(3).update_state(masks, guesses),
    ):
        with pytest.raises(
            ValueError, match=f"holds the id {wrong}, but the"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)
    masks[0, 1, 2] = 255  # under void, nobody looks
    assert metrics.confusion_matrix(masks, guesses, 3)[0, 0] == 15


def test_compiled_code_counts_without_looking_at_the_ids():
    mask, prediction = random_masks(2)
    count = tf.function(lambda *ids: metrics.confusion_matrix(*ids, 5))
    expected = metrics.confusion_matrix(mask, prediction, 5)
    np.testing.assert_array_equal(count(mask, prediction), expected)
    shapeless = tf.TensorSpec([None], tf.int32)
    count = count.get_concrete_function(shapeless, shapeless)
    found = count(tf.constant(mask.ravel()), tf.constant(prediction.ravel()))
    np.testing.assert_array_equal(found, expected)


def test_configuration_survives():
    metric = metrics.SegmentationMetrics(4, ignore_class=9, name="m")
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert (copy.num_classes, copy.ignore_class, copy.name) == (4, 9, "m")


ON_TWO_DEVICES = """
import json, sys
import keras, numpy as np, tensorflow as tf
sys.path.insert(0, sys.argv[1])
from utils import metrics
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
generator = np.random.default_rng(0)
images = generator.random((8, 6, 6, 2)).astype(np.float32)
masks = generator.choice([0, 1, 2, 255], (8, 6, 6)).astype(np.int32)
with strategy.scope():
    model = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(3, 1)])
    loss = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    # At rate 0 nothing moves, so the metric of fit is that of the model as it is.
    model.compile("sgd", loss, metrics=[metrics.SegmentationMetrics(3)])
    model.optimizer.learning_rate = 0.0
data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)
history = model.fit(data, epochs=1, verbose=0, shuffle=False).history
alone = metrics.SegmentationMetrics(3)
alone.update_state(masks, model(images))
print(strategy.num_replicas_in_sync)
print(json.dumps([float(history[k][0]) for k in ("mean_iou", "mean_accuracy")]))
print(json.dumps([float(alone.result()[k]) for k in ("mean_iou", "mean_accuracy")]))
"""


@pytest.mark.slow
def test_same_under_mirrored_strategy_on_two_devices():
    # In a new process: devices cannot be split once TensorFlow has used them.
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, str(environment.ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    replicas, in_fit, alone = map(json.loads, done.stdout.splitlines()[-3:])
    assert replicas == 2
    np.testing.assert_allclose(in_fit[0], alone[0])
    np.testing.assert_allclose(in_fit[1], alone[1])


def test_outline_distance():
    mask = np.zeros((5, 9), int)
    mask[:, 4:] = 1
    expected = np.tile([4, 3, 2, 1, 1, 2, 3, 4, 5], (5, 1))
    np.testing.assert_allclose(metrics.outline_distance(mask), expected)
    assert np.isinf(metrics.outline_distance(np.zeros((3, 3), int))).all()


def test_many_matrices_are_scored_as_each_alone():
    found = []
    for seed, absent in enumerate([(), (2,), (0, 4), ()]):
        mask, prediction = random_masks(seed, absent=absent)
        found.append(np.asarray(metrics.confusion_matrix(mask, prediction, 5)))
    found.append(np.zeros((5, 5), int))  # a photo of nothing but void
    together = metrics.scores(np.stack(found))
    for index, matrix in enumerate(found):
        for name, value in metrics.scores(matrix).items():
            np.testing.assert_array_equal(np.asarray(together[name])[index], value)


@pytest.mark.parametrize("absent", [(), (1,), (0, 1, 2, 3)])
def test_iou_is_scikit_learn_s_jaccard_score(absent):
    mask, prediction = random_masks(11, absent=absent)
    kept = mask != 255
    found = metrics.scores(metrics.confusion_matrix(mask, prediction, 5))
    present = [c for c in range(5) if c not in absent]
    expected = sklearn.metrics.jaccard_score(
        mask[kept], prediction[kept], labels=present, average=None
    )
    np.testing.assert_allclose(np.asarray(found["iou"])[present], expected)
    weighted = sklearn.metrics.jaccard_score(
        mask[kept], prediction[kept], labels=present, average="weighted"
    )
    assert float(found["frequency_weighted_iou"]) == pytest.approx(weighted)


def by_photo(seed, photos=40):
    """One random confusion matrix a photo, some photos far better than others."""
    random = np.random.default_rng(seed)
    quality = random.uniform(1, 20, photos)[:, None, None] * np.eye(3)
    return random.poisson(5 + 10 * quality)


def test_bootstrap_scatters_as_scipy_s():
    matrices = by_photo(0)

    def accuracy(*columns):  # scipy resamples numbers, one a photo, in pairs
        right, pixels = columns
        return right.sum(-1) / pixels.sum(-1)

    right = np.trace(matrices, axis1=1, axis2=2)
    expected = scipy.stats.bootstrap(
        (right, matrices.sum((1, 2))),
        accuracy,
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=1,
    )
    sums = evaluate.bootstrap(matrices, draws=20_000)
    ours = np.asarray(metrics.scores(sums)["pixel_accuracy"])
    width = expected.confidence_interval.high - expected.confidence_interval.low
    np.testing.assert_allclose(
        np.percentile(ours, (2.5, 97.5)),
        expected.confidence_interval,
        atol=0.05 * width,
    )
    assert ours.std() == pytest.approx(expected.standard_error, rel=0.05)


def test_bootstrap_gives_two_networks_the_same_draws():
    matrices = by_photo(1)
    better = matrices + 7 * np.eye(3, dtype=int)
    gain = evaluate.bootstrap(better) - evaluate.bootstrap(matrices)
    # Each draw holds 40 photos, so the difference is the same in all.
    np.testing.assert_array_equal(gain, np.tile(280 * np.eye(3), (len(gain), 1, 1)))
    other = evaluate.bootstrap(matrices, seed=1)
    assert (other != evaluate.bootstrap(matrices)).any()


def test_outline_distance_of_a_mask_with_void_and_with_one_class():
    mask = np.zeros((7, 7), int)
    mask[3, 3] = 255
    expected = [[abs(y - 3) + abs(x - 3) == 1 for x in range(7)] for y in range(7)]
    near = metrics.outline_distance(mask) <= 1
    np.testing.assert_array_equal(near & (mask == 0), expected)
