"""Losses for segmentation, void left out, and a stop at NaN; on Keras alone."""

import keras
import numpy as np
from keras import ops

from utils.batching import plan_of


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


def check_mask(
    mask: np.ndarray, num_classes: int, ignore_class: int = 255
) -> np.ndarray:
    """Return the mask when it holds nothing but class ids and void.

    Raises:
        ValueError: for any other id; a GPU would train on it without a word.
    """
    found = np.unique(mask)
    unknown = found[((found < 0) | (found >= num_classes)) & (found != ignore_class)]
    if unknown.size:
        raise ValueError(
            f"The mask holds the id {unknown[0]}, but the loss knows 0 to "
            f"{num_classes - 1} and {ignore_class} for void; map it to one of them."
        )
    return mask


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
