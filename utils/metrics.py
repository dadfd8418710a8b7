"""Losses and metrics for segmentation, void left out, and a stop at NaN."""

import keras
import numpy as np
from keras import ops
from scipy import ndimage

from utils.batching import plan_of

# JAX has 32 bits unless told otherwise: 2 ** 31 pixels are 42,000 photos of 224 px.
_WIDE = keras.backend.backend() != "jax"
COUNT, SCORE = ("int64", "float64") if _WIDE else ("int32", "float32")


def cross_entropy(
    mask: keras.KerasTensor, logits: keras.KerasTensor, ignore_class: int = 255
) -> keras.KerasTensor:
    """Average the cross-entropy over the pixels that are not void.

    Args:
        mask: class ids (B, H, W), below C or ignore_class, which is void.
        logits: (B, H, W, C), float32.
        ignore_class: id of pixels that do not count.

    Returns:
        A scalar; 0 when every pixel is void.
    """
    mask = ops.cast(mask, "int32")
    valid = mask != ignore_class
    # Void becomes class 0 only so that there is something to look up.
    ids = ops.where(valid, mask, 0)
    per_pixel = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
    count = ops.sum(ops.cast(valid, per_pixel.dtype))
    return ops.sum(ops.where(valid, per_pixel, 0.0)) / ops.maximum(count, 1.0)


def dice(
    mask: keras.KerasTensor, logits: keras.KerasTensor, ignore_class: int = 255
) -> keras.KerasTensor:
    """Measure how little predicted probabilities and truth overlap, class by class.

    Cross-entropy counts pixels, so a thin class hardly matters to it; this counts
    classes, as mean IoU does.

    Takes what `cross_entropy` takes.

    Returns:
        A scalar: 1 - 2 |truth and prediction| / (|truth| + |prediction|), averaged over
        the classes, each summed over the batch.

    Source: Milletari, Navab, Ahmadi: V-Net, 3DV 2016, section 3, for several classes.
    """
    mask = ops.cast(mask, "int32")
    valid = ops.cast(mask != ignore_class, logits.dtype)[..., None]  # (B, H, W, 1)
    # Void becomes class 0 only so that it has a row, which is then set to zero.
    ids = ops.where(mask != ignore_class, mask, 0)
    truth = ops.one_hot(ids, logits.shape[-1], dtype=logits.dtype) * valid
    predicted = ops.softmax(logits) * valid  # (B, H, W, C)
    both = ops.sum(truth * predicted, axis=(0, 1, 2))  # (C,)
    either = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(predicted, axis=(0, 1, 2))
    # One pixel more on both sides: a class that is nowhere counts as met.
    return ops.mean(1 - (2 * both + 1) / (either + 1))


@keras.saving.register_keras_serializable(package="learn_fcn")
class SegmentationLoss(keras.losses.Loss):
    """Cross-entropy over the pixels that are not void, plus the Dice loss if wanted.

    Args:
        dice_weight: what the Dice loss is multiplied with; 0 for none.
        kwargs: as for `keras.losses.Loss`.
    """

    def __init__(self, dice_weight: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.dice_weight = dice_weight

    def call(self, y_true, y_pred) -> keras.KerasTensor:
        """Return shape (1,) for masks (B, H, W) and logits (B, H, W, C)."""
        loss = cross_entropy(y_true, y_pred)
        if self.dice_weight:
            loss += self.dice_weight * dice(y_true, y_pred)
        # Of a scalar, Keras adds up what several devices find in place of averaging it.
        return loss[None]

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"dice_weight": self.dice_weight}


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
        ours = {"num_classes": self.num_classes, "ignore_class": self.ignore_class}
        return super().get_config() | ours


def outline_distance(mask: np.ndarray) -> np.ndarray:
    """Measure how far each pixel is from the outline between two classes.

    Takes class ids (H, W), void being a class of its own. Returns float32 (H, W):
    pixels from the nearest pixel of another class, 1 right at the outline; infinite
    where there is no other class.
    """
    distance = np.full(mask.shape, np.inf, np.float32)
    for class_id in np.unique(mask):
        inside = mask == class_id
        if not inside.all():
            distance[inside] = ndimage.distance_transform_edt(inside)[inside]
    return distance


class StopAtNaN(keras.callbacks.Callback):
    """Stops when the loss or a weight is not a finite number, and names the files.

    Args:
        data: what is trained on; file names are known for one of `pets.load`.

    Raises:
        FloatingPointError: while training, as soon as that is seen.
    """

    def __init__(self, data):
        super().__init__()
        self.plan, self.epoch, self.batch = plan_of(data), 0, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the loss: a mean over the epoch so far, so one NaN stays in it."""
        self.batch = batch
        if not np.isfinite(float(logs["loss"])):
            self._stop("The loss is")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look at the weights: the last step may have spoilt them after a good loss."""
        for weight in self.model.trainable_weights:
            if not np.isfinite(ops.convert_to_numpy(weight)).all():
                self._stop(f"The weight {weight.path} is")

    def _stop(self, what: str) -> None:
        files = "unknown"
        if self.plan:
            # The step of the batch before may be the one that went too far.
            suspects = range(self.batch, max(-1, self.batch - 2), -1)
            named = (self.plan.names(self.epoch, batch) for batch in suspects)
            files = " after ".join(", ".join(names) for names in named)
        raise FloatingPointError(
            f"{what} not a finite number in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, files: {files}; look at these photos and masks, or "
            "lower the learning rate."
        )
