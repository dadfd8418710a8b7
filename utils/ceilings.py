"""How good a mask can be that is drawn from a coarse grid."""

import keras
import numpy as np
import tensorflow as tf

from utils import losses

MISFIT = (
    "Masks of shape {shape} do not hold whole cells of {stride} pixels; give (B, H, W) "
    "with sides that are multiples of it."
)


def reduced(
    mask: np.ndarray, stride: int, num_classes: int, ignore_class: int = 255
) -> np.ndarray:
    """Draw a true mask from what is left of it on a grid, as the paper's appendix does.

    In each cell the share of every class is kept, and the shares are enlarged
    bilinearly; the largest wins. A reference, not a bound: a network may choose numbers
    that are no shares, and do better.

    Args:
        mask: class ids (B, H, W), H and W multiples of the stride.
        stride: side of a cell in pixels.
        num_classes: C.
        ignore_class: id of pixels that do not count.

    Returns:
        Class ids (B, H, W).

    Raises:
        ValueError: when the grid does not fit the mask.

    Source: Shelhamer, Long, Darrell: Fully convolutional networks for semantic
    segmentation, IEEE TPAMI 2017, appendix A.
    """
    if mask.ndim != 3 or mask.shape[1] % stride or mask.shape[2] % stride:
        raise ValueError(MISFIT.format(shape=mask.shape, stride=stride))
    height, width = mask.shape[1:]
    # Void is no class: its row is all zeros, and it takes part in no share.
    truth = tf.one_hot(np.where(mask == ignore_class, -1, mask), num_classes)
    cells = tf.image.resize(truth, (height // stride, width // stride), "area")
    return np.argmax(tf.image.resize(cells, (height, width)), -1)


def fitted(
    mask: np.ndarray,
    stride: int,
    num_classes: int,
    ignore_class: int = 255,
    *,
    steps: int = 100,
) -> np.ndarray:
    """Draw a true mask from the best logits that a grid can hold.

    The logits of each cell are fitted to the mask by gradient descent on cross-entropy
    and Dice loss, as a network that knew the truth would choose them.

    Args:
        mask: class ids (B, H, W), H and W multiples of the stride.
        stride: side of a cell in pixels.
        num_classes: C.
        ignore_class: id of pixels that do not count.
        steps: of Adam; six times as many gain less than one point of mean IoU.

    Returns:
        Class ids (B, H, W).

    Raises:
        ValueError: when the grid does not fit the mask.
    """
    if mask.ndim != 3 or mask.shape[1] % stride or mask.shape[2] % stride:
        raise ValueError(MISFIT.format(shape=mask.shape, stride=stride))
    height, width = mask.shape[1:]
    shape = (len(mask), height // stride, width // stride, num_classes)
    cells = keras.Variable(np.zeros(shape, np.float32))
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(3.0, steps)
    )
    optimizer.build([cells])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = tf.image.resize(cells.value, (height, width))  # (B, H, W, C)
            loss = losses.cross_entropy(mask, logits, ignore_class)
            loss += losses.dice(mask, logits, ignore_class)
        optimizer.apply([tape.gradient(loss, cells.value)], [cells])

    for _ in range(steps):
        step()
    return np.argmax(tf.image.resize(cells.value, (height, width)), -1)
