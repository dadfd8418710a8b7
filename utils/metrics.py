"""Metrics for segmentation, all from one confusion matrix summed over the data set."""

import keras
import numpy as np
from keras import ops
from scipy import ndimage

# JAX has 32 bits unless told otherwise: 2 ** 31 pixels are 42,000 photos of 224 px.
_WIDE = keras.backend.backend() != "jax"
COUNT, SCORE = ("int64", "float64") if _WIDE else ("int32", "float32")


def confusion_matrix(mask, prediction, num_classes: int, ignore_class: int = 255):
    """Count how often each class was taken for each.

    Args:
        mask: true class ids, any shape, integers below num_classes or ignore_class.
        prediction: predicted class ids, same shape, below num_classes.
        num_classes: C.
        ignore_class: id in the mask of pixels that do not count.

    Returns:
        int64 (C, C): pixels by true class (row) and predicted class (column); int32
        under JAX, which so counts up to 2,147,483,647 pixels a cell.

    Raises:
        ValueError: for an id that is no class; compiled code passes it over.
    """
    if unknown := _unknown_ids(mask, prediction, num_classes, ignore_class):
        raise ValueError(
            f"A mask or a prediction holds the id {unknown[0]}, but the classes are 0 "
            f"to {num_classes - 1}, and void in a mask is {ignore_class}; map it there."
        )
    mask = ops.cast(ops.reshape(mask, (-1,)), "int32")
    prediction = ops.cast(ops.reshape(prediction, (-1,)), "int32")
    counts = ops.cast(mask != ignore_class, "int64")
    # Void pixels add zero, wherever; cell 0 is as good as any.
    cell = ops.where(mask != ignore_class, mask * num_classes + prediction, 0)
    counts = ops.segment_sum(counts, cell, num_segments=num_classes**2)
    return ops.reshape(counts, (num_classes, num_classes))


def _unknown_ids(mask, prediction, num_classes: int, ignore_class: int) -> list[int]:
    """List the first id, where ids have values yet, that is neither class nor void."""
    try:
        pair = [ops.convert_to_numpy(ids).reshape(-1) for ids in (mask, prediction)]
    except Exception:  # in a function being compiled; each backend has its own error
        return []
    counted = np.stack(pair)[:, pair[0] != ignore_class]
    return counted[(counted < 0) | (counted >= num_classes)][:1].tolist()


def scores(confusion: keras.KerasTensor) -> dict[str, keras.KerasTensor]:
    """Compute the FCN paper's metrics, and those per class, from a confusion matrix.

    A class that neither the masks nor the predictions hold is NaN in the per-class
    vectors and left out of the means; one the masks do not hold has no accuracy either.

    Args:
        confusion: (..., C, C), rows true, columns predicted; one matrix, or many at
            once, one a photo for example.

    Returns:
        Float64, under JAX float32, (...) `pixel_accuracy`, `mean_accuracy`, `mean_iou`
        and `frequency_weighted_iou`, and (..., C) `iou`, `precision`, `recall`, `f1`;
        NaN where nothing was counted.

    Source: Long, Shelhamer, Darrell: Fully convolutional networks for semantic
    segmentation, CVPR 2015, section 5.
    """
    confusion = ops.cast(confusion, SCORE)
    correct = ops.diagonal(confusion, axis1=-2, axis2=-1)  # (..., C)
    true, predicted = ops.sum(confusion, axis=-1), ops.sum(confusion, axis=-2)
    present = true + predicted > 0
    anything = ops.any(present, axis=-1)
    iou = _ratio(correct, true + predicted - correct, present)
    recall = _ratio(correct, true, present)
    pixels = ops.sum(true, axis=-1)
    return {
        "pixel_accuracy": _ratio(ops.sum(correct, axis=-1), pixels, anything),
        "mean_accuracy": _mean(recall, true > 0),
        "mean_iou": _mean(iou, present),
        "frequency_weighted_iou": _ratio(
            ops.sum(ops.where(present, true * iou, 0.0), axis=-1), pixels, anything
        ),
        "iou": iou,
        "precision": _ratio(correct, predicted, present),
        "recall": recall,
        "f1": _ratio(2 * correct, true + predicted, present),
    }


def _ratio(part, whole, defined):
    """Divide where defined, 0/0 being 0 there; NaN elsewhere."""
    return ops.where(defined, part / ops.maximum(whole, 1.0), float("nan"))


def _mean(values, chosen):
    """Average the chosen values over the classes; NaN when there is none."""
    total = ops.sum(ops.where(chosen, values, 0.0), axis=-1)
    count = ops.sum(ops.cast(chosen, SCORE), axis=-1)
    return _ratio(total, count, ops.any(chosen, axis=-1))


def bootstrap(confusions: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Draw as many photos again and again, with replacement, and sum their matrices.

    How a score scatters over the draws says how far it hangs on the photos chosen. With
    one seed two networks get the same draws, so they can be compared photo by photo.

    Args:
        confusions: (N, C, C), a confusion matrix for each photo.
        draws: how many times N photos are drawn.
        seed: of the draws.

    Returns:
        (draws, C, C), for `scores`; the 2.5th and the 97.5th percentile of a score
        bound its 95 % interval.

    Source: Efron, Tibshirani: An introduction to the bootstrap, 1993, chapter 13.
    """
    count = len(confusions)
    times = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), draws
    )  # (draws, N): how often each photo was drawn
    return np.tensordot(times, confusions, 1)


@keras.saving.register_keras_serializable(package="learn_fcn")
class SegmentationMetrics(keras.metrics.Metric):
    """The FCN paper's metrics, from one confusion matrix over everything seen.

    Averaging per-batch IoU gives another, wrong number: a class absent from a batch
    has none there.

    Args:
        num_classes: C.
        ignore_class: id in the mask of pixels that do not count.
        kwargs: as for `keras.metrics.Metric`.
    """

    def __init__(self, num_classes: int, ignore_class: int = 255, **kwargs):
        super().__init__(**{"name": "segmentation", **kwargs})
        self.num_classes, self.ignore_class = num_classes, ignore_class
        # Integers: float32 stops counting at 2**24 pixels, some 330 photos of 224 px.
        self.confusion = self.add_variable(
            (num_classes, num_classes), initializer="zeros", dtype=COUNT
        )

    def update_state(self, y_true, y_pred, sample_weight: None = None) -> None:
        """Count a batch.

        Args:
            y_true: mask of class ids (B, H, W).
            y_pred: logits or probabilities (B, H, W, C), or class ids (B, H, W).
            sample_weight: not used; void pixels are marked in the mask.

        Raises:
            ValueError: when the shapes do not fit.
        """
        if len(y_pred.shape) == len(y_true.shape) + 1:
            if y_pred.shape[-1] != self.num_classes:
                raise ValueError(
                    f"The logits have {y_pred.shape[-1]} classes and these metrics "
                    f"{self.num_classes}; give both the same num_classes."
                )
            y_pred = ops.argmax(y_pred, axis=-1)
        elif len(y_pred.shape) != len(y_true.shape):
            raise ValueError(
                f"Predictions of shape {tuple(y_pred.shape)} do not fit masks of shape "
                f"{tuple(y_true.shape)}; give logits (B, H, W, C) or ids (B, H, W)."
            )
        batch = confusion_matrix(y_true, y_pred, self.num_classes, self.ignore_class)
        self.confusion.assign_add(batch)

    def result(self) -> dict[str, keras.KerasTensor]:
        """Return the scalars of `scores`, of everything counted since the last reset.

        `scores(metric.confusion)` has the values per class too.
        """
        found = scores(self.confusion)
        return {name: value for name, value in found.items() if len(value.shape) == 0}

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
        }


def outline_distance(mask: np.ndarray) -> np.ndarray:
    """Measure how far each pixel is from the outline between two classes.

    Args:
        mask: class ids (H, W); void counts as a class of its own.

    Returns:
        Float32 (H, W): pixels from the nearest pixel of another class, 1 right at the
        outline; infinite where there is no other class.
    """
    distance = np.full(mask.shape, np.inf, np.float32)
    for class_id in np.unique(mask):
        inside = mask == class_id
        if not inside.all():
            distance[inside] = ndimage.distance_transform_edt(inside)[inside]
    return distance
