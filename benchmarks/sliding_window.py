"""Time a classifier slid over a photo against the same network as convolutions.

For each photo size, both score the same windows of 224 px at stride 32 in float32: once
as one pass of the convolutional network over the whole photo, once as the classifier
over all windows in batches. Cutting the windows out is not timed. The two take turns,
run by run. Writes results/sliding_window.json.
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from utils import environment, surgery, vgg16

WINDOW, STRIDE = 224, 32
LARGEST_BATCH = 16


def windows(photo: np.ndarray) -> np.ndarray:
    """Cut a photo (1, H, W, 3) into its windows (N, 224, 224, 3), row by row."""
    cut = np.lib.stride_tricks.sliding_window_view(photo[0], (WINDOW, WINDOW), (0, 1))
    cut = cut[::STRIDE, ::STRIDE]  # (rows, columns, 3, 224, 224)
    return cut.reshape(-1, 3, WINDOW, WINDOW).transpose(0, 2, 3, 1)


def batch_size(count: int) -> int:
    """Return the largest batch that divides the windows: no batch of another shape."""
    return max(n for n in range(1, LARGEST_BATCH + 1) if count % n == 0)


def measure(
    classifier: keras.Model, network: keras.Model, size: int, runs: int
) -> dict:
    """Time both ways over one photo."""
    photo = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3))
    photo = photo.astype("float32")
    cut = windows(photo)
    batch = batch_size(len(cut))
    batches = tf.split(tf.constant(cut), len(cut) // batch)
    photo = tf.constant(photo)
    whole = tf.function(lambda images: network(images, training=False))
    window = tf.function(lambda images: classifier(images, training=False))

    def convolutional() -> np.ndarray:
        return whole(photo).numpy()

    def sliding() -> np.ndarray:
        return np.concatenate([window(images).numpy() for images in batches])

    grid = convolutional().shape[1:3]
    if np.prod(grid) != len(sliding()):
        raise RuntimeError(f"{len(cut)} windows do not make a grid of {grid}.")
    ways = (convolutional, sliding)
    once, slid = timing.in_turn(
        {way.__name__: lambda way=way: timing.seconds(way) for way in ways}, runs
    ).values()
    ratio = timing.ratios(slid, once)
    one_window = sum(vgg16.multiply_adds(classifier).values())
    one_pass = sum(vgg16.multiply_adds(network, size).values())
    return {
        "size": size,
        "grid": grid[0],
        "windows": len(cut),
        "batch": batch,
        "multiply_adds_windows": len(cut) * one_window,
        "multiply_adds_convolutional": one_pass,
        "predicted_ratio": len(cut) * one_window / one_pass,
        "seconds_convolutional": once,
        "seconds_windows": slid,
        "measured_ratio": {
            "median": ratio["median"],
            "smallest": ratio["min"],
            "largest": ratio["max"],
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [256, 320, 384, 448, 512, 640]
    parser.add_argument("--sizes", type=int, nargs="+", default=sizes)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    wrong = [size for size in arguments.sizes if size < WINDOW or size % STRIDE]
    if wrong or arguments.runs < 1:
        parser.error("sizes must be multiples of 32 from 224 on, runs at least 1")
    print(environment.prepare(seed=0))
    classifier = vgg16.build()  # random weights: the time does not depend on them
    network = surgery.convolutionize(classifier)
    rows = []
    for size in arguments.sizes:
        rows.append(measure(classifier, network, size, arguments.runs))
        predicted, ratio = rows[-1]["predicted_ratio"], rows[-1]["measured_ratio"]
        print(
            f"{size} px: predicted {predicted:.1f} times, measured {ratio}", flush=True
        )
    figures = {
        "network": "VGG16, fc 4096, 1000 classes, float32, random weights, seed 0",
        "runs": arguments.runs,
        "rows": rows,
    }
    print("written:", environment.write_results("sliding_window", figures).name)


if __name__ == "__main__":
    main()
