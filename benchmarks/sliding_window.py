"""Time a classifier slid over a photo against the same network as convolutions.

For each photo size, both score the same windows of 224 px at stride 32 in float32: once
as one pass of the convolutional network over the whole photo, once as the classifier
over all windows in batches. Cutting the windows out is not timed. The two take turns,
run by run. Writes results/sliding_window.json.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

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


def compiled(model: keras.Model, shape: tuple) -> tf.types.experimental.GenericFunction:
    """Return the model as a graph for exactly this input shape."""
    signature = [tf.TensorSpec(shape, tf.float32)]
    return tf.function(
        lambda images: model(images, training=False), input_signature=signature
    )


def seconds(work) -> float:
    """Time one call; fetching the numbers waits for a GPU to finish."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(
    classifier: keras.Model, network: keras.Model, size: int, runs: int
) -> dict:
    """Time both ways over one photo, in turn, after one run of each to warm up."""
    photo = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3))
    photo = photo.astype("float32")
    cut = windows(photo)
    batch = batch_size(len(cut))
    batches = tf.split(tf.constant(cut), len(cut) // batch)
    photo = tf.constant(photo)
    whole = compiled(network, photo.shape)
    window = compiled(classifier, batches[0].shape)

    def convolutional() -> np.ndarray:
        return whole(photo).numpy()

    def sliding() -> np.ndarray:
        return np.concatenate([window(images).numpy() for images in batches])

    grid = convolutional().shape[1:3]
    if np.prod(grid) != len(sliding()):
        raise RuntimeError(f"{len(cut)} windows do not make a grid of {grid}.")
    pairs = [(seconds(convolutional), seconds(sliding)) for _ in range(runs)]
    ratios = [slid / once for once, slid in pairs]
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
        "seconds_convolutional": [once for once, _ in pairs],
        "seconds_windows": [slid for _, slid in pairs],
        "measured_ratio": {
            "median": statistics.median(ratios),
            "smallest": min(ratios),
            "largest": max(ratios),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[256, 320, 384, 448, 512, 640]
    )
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    wrong = [size for size in arguments.sizes if size < WINDOW or size % STRIDE]
    if wrong or arguments.runs < 1:
        parser.error("sizes must be multiples of 32 from 224 on, runs at least 1")
    print(environment.prepare(seed=0))
    classifier = vgg16.build()  # random weights: the time does not depend on them
    network = surgery.convolutionize(classifier)
    print(" size   grid  predicted  measured (smallest, largest)  one pass  windows")
    rows = []
    for size in arguments.sizes:
        row = measure(classifier, network, size, arguments.runs)
        ratio = row["measured_ratio"]
        spread = f"({ratio['smallest']:.1f}, {ratio['largest']:.1f})"
        once = statistics.median(row["seconds_convolutional"])
        slid = statistics.median(row["seconds_windows"])
        grid = f"{row['grid']}x{row['grid']}"
        print(
            f"{size:5}  {grid:>5}  {row['predicted_ratio']:8.1f}x"
            f"  {ratio['median']:5.1f}x {spread:21}  {once:6.2f} s  {slid:5.2f} s",
            flush=True,
        )
        rows.append(row)
    network_text = "VGG16, fc 4096, 1000 classes, float32, random weights, seed 0"
    environment.write_results(
        "sliding_window",
        {"network": network_text, "runs": arguments.runs, "rows": rows},
    )


if __name__ == "__main__":
    main()
