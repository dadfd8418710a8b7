"""Time a classifier slid over a photo against the same network as convolutions.

For each photo size, both score the same windows of 224 px at stride 32 in float32: once
as one pass of the convolutional network over the whole photo, once as the classifier
over all windows in batches. Cutting the windows out is not timed. The two take turns,
run by run. Writes results/sliding_window.json.
"""

from functools import partial

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from utils import environment, surgery, vgg16

WINDOW, STRIDE = 224, 32
SIZES = [256, 320, 384, 448, 512, 640]  # of the photo, px


def windows(photo: np.ndarray) -> np.ndarray:
    """Cut a photo (1, H, W, 3) into its windows (N, 224, 224, 3), row by row."""
    cut = np.lib.stride_tricks.sliding_window_view(photo[0], (WINDOW, WINDOW), (0, 1))
    cut = cut[::STRIDE, ::STRIDE]  # (rows, columns, 3, 224, 224)
    return cut.reshape(-1, 3, WINDOW, WINDOW).transpose(0, 2, 3, 1)


def measured(classifier: keras.Model, network: keras.Model, size: int, runs: int):
    """Time both ways over one photo."""
    photo = np.float32(np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)))
    cut = windows(photo)
    # The largest batch that divides the windows: none of another shape is compiled.
    batch = max(n for n in range(1, 17) if len(cut) % n == 0)
    batches = tf.split(tf.constant(cut), len(cut) // batch)
    photo = tf.constant(photo)
    whole = tf.function(lambda images: network(images, training=False))
    window = tf.function(lambda images: classifier(images, training=False))
    works = {
        "convolutional": lambda: whole(photo).numpy(),
        "sliding": lambda: np.concatenate([window(part).numpy() for part in batches]),
    }
    grid = works["convolutional"]().shape[1:3]
    if np.prod(grid) != len(cut):
        raise RuntimeError(f"{len(cut)} windows do not make a grid of {grid}.")
    ways = {name: partial(timing.seconds, work) for name, work in works.items()}
    once, slid = timing.in_turn(ways, runs).values()
    one_window = sum(surgery.multiply_adds(classifier).values())
    one_pass = sum(surgery.multiply_adds(network, size).values())
    return {
        "size": size,
        "grid": grid[0],
        "windows": len(cut),
        "batch": batch,
        "predicted_ratio": len(cut) * one_window / one_pass,
        "seconds_convolutional": once,
        "seconds_windows": slid,
        "measured_ratio": timing.ratios(slid, once),
    }


def main() -> None:
    arguments = timing.begin(__doc__, sizes=SIZES, runs=5)
    if any(size < WINDOW or size % STRIDE for size in arguments.sizes):
        raise SystemExit("error: --sizes: give multiples of 32 from 224 on.")
    classifier = vgg16.build()  # random weights: the time does not depend on them
    network = surgery.convolutionize(classifier)
    rows = []
    for size in arguments.sizes:
        rows.append(measured(classifier, network, size, arguments.runs))
        print(rows[-1], flush=True)
    figures = {
        "network": "VGG16, fc 4096, 1000 classes, float32, random weights, seed 0",
        "runs": arguments.runs,
        "rows": rows,
    }
    print("written:", environment.write_results("sliding_window", figures).name)


if __name__ == "__main__":
    main()
