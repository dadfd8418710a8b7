"""Measure how good a mask can be that is drawn from a grid of 32, 16 or 8 pixels.

    python -m tools.results.ceilings --dataset path/to/oxford-iiit-pet --tasks trimap

Two references for each stride: the truth reduced to the grid, as in the paper's
appendix, and the best logits the grid can hold, fitted to each photo. No network is
involved. The scores go to results/ceilings.json.
"""

import argparse
import itertools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from tools import evaluate
from tools.results import made
from tools.results import probe as probes
from utils import environment, metrics, pets

STRIDES = (32, 16, 8)
BATCH = 20
MISFIT = (
    "Masks of shape {shape} do not hold whole cells of {stride} pixels; give (B, H, W) "
    "with sides that are multiples of it."
)


def reduced(mask, stride, num_classes, ignore_class=255) -> np.ndarray:
    """Draw a true mask from what is left of it on a grid, as the paper's appendix does.

    In each cell the share of every class is kept, and the shares are enlarged
    bilinearly; the largest wins. A reference, not a bound: a network may choose numbers
    that are no shares, and do better.

    Args:
        mask: class ids (B, H, W), H and W multiples of the stride; else a ValueError.
        stride: side of a cell in pixels.
        num_classes: C.
        ignore_class: id of pixels that do not count.

    Returns:
        Class ids (B, H, W).

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


def fitted(mask, stride, num_classes, ignore_class=255, *, steps=100) -> np.ndarray:
    """Draw a true mask from the best logits that a grid can hold.

    The logits of each cell are fitted to the mask by gradient descent on cross-entropy
    and Dice loss, as a network that knew the truth would choose them. `steps` is of
    Adam: six times as many gain less than one point of mean IoU. All else is as in
    `reduced`.
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
            loss = metrics.cross_entropy(mask, logits, ignore_class)
            loss += metrics.dice(mask, logits, ignore_class)
        optimizer.apply([tape.gradient(loss, cells.value)], [cells])

    for _ in range(steps):
        step()
    return np.argmax(tf.image.resize(cells.value, (height, width)), -1)


REFERENCES = {"reduced": reduced, "fitted": fitted}


def measure(dataset: str, task: str, image_size: int) -> dict:
    """Return the number of test photos, and the scores of each reference and stride."""
    classes, photos = len(pets.CLASS_NAMES[task]), 0
    options = {"task": task, "image_size": image_size, "batch_size": BATCH}
    sums = {case: [0, 0] for case in itertools.product(REFERENCES, STRIDES)}
    for _, masks in pets.load(dataset, "test", **options).as_numpy_iterator():
        photos += len(masks)
        distance = np.stack([metrics.outline_distance(mask) for mask in masks])
        print(f"{task}: {photos} photos", flush=True)
        for (name, stride), kept in sums.items():
            drawn = REFERENCES[name](masks, stride, classes)
            kept[0] += metrics.confusion_matrix(masks, drawn, classes).numpy()
            kept[1] += evaluate.wrong_by_distance(masks, drawn, distance)
    found = {"photos": photos} | {name: {} for name in REFERENCES}
    for (name, stride), (matrix, wrong_and_all) in sums.items():
        found[name][stride] = {
            "mean_iou": float(metrics.scores(matrix)["mean_iou"]),
            "wrong_by_distance": evaluate.shares(wrong_and_all),
        }
    return found


def probe(table: dict) -> dict[str, str]:
    """Measure made masks, as `tools.results.probe` asks."""
    with made.data() as folder:
        found = {task: measure(folder, task, made.SIZE) for task in table["tasks"]}
    return made.flat(found)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure ceilings of coarse grids.")
    option = parser.add_argument
    option("--dataset", default="synthetic_pets", help="as in pets.load")
    option("--tasks", nargs="+", default=["trimap"], choices=pets.CLASS_NAMES)
    option("--image-size", type=int, default=160)
    arguments = parser.parse_args()
    dataset, size = arguments.dataset, arguments.image_size
    if size < 1 or size % max(STRIDES):
        parser.error(f"--image-size: give a multiple of {max(STRIDES)}.")
    try:
        figures = {
            "dataset": pathlib.Path(dataset).name,
            "data": f"test of {pathlib.Path(dataset).name}",
            "image_size": size,
            "ranges": evaluate.RANGES,
            "tasks": {task: measure(dataset, task, size) for task in arguments.tasks},
        }
        figures["probe"] = probes.of("ceilings", figures)
        path = environment.write_results("ceilings", figures)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for task, found in figures["tasks"].items():
        for name in REFERENCES:
            rows = (f"{s}: {found[name][s]['mean_iou']:.3f}" for s in STRIDES)
            print(f"{task:8} {name:8}", *rows)
    print(f"results/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
