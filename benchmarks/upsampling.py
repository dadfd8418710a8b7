"""Compare the ways to enlarge a score map, by time and by error.

`tf.image.resize` is the reference; against it stand FCN's fixed transposed convolution
with repeated edges (`fcn.upsample`), the same without repeated edges, and Keras's
`UpSampling2D`, each forward and backward, for the factors of FCN-32s, 16s and 8s on a
224-pixel photo. Writes results/upsampling.json.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from utils import environment, fcn, surgery

SIDE = 224  # pixels of the photo


def methods(factor: int, channels: int) -> dict:
    """Return name -> function that enlarges (B, H, W, C) by the factor."""
    cells = SIDE // factor
    scores = keras.Input((cells, cells, channels))
    plain = layers.Conv2DTranspose(
        channels, 2 * factor, strides=factor, padding="same", use_bias=False
    )
    transposed = keras.Model(scores, plain(scores))
    plain.set_weights([surgery.bilinear_kernel(factor, channels)])
    return {
        "tf.image.resize": lambda x: tf.image.resize(x, (SIDE, SIDE)),
        "fcn.upsample": keras.Model(scores, fcn.upsample(scores, factor, "up")),
        "without repeated edges": transposed,
        "UpSampling2D": layers.UpSampling2D(factor, interpolation="bilinear"),
    }


def milliseconds(enlarge, scores: tf.Tensor, times: int) -> float:
    """Time forward and backward; the first call, which traces, is not counted."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(scores)
            total = tf.reduce_sum(enlarge(scores))
        return tf.reduce_sum(tape.gradient(total, scores))

    step().numpy()
    started = time.perf_counter()
    for _ in range(times):
        step().numpy()
    return 1000 * (time.perf_counter() - started) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="photos")
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--times", type=int, default=10, help="per run")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(environment.prepare(seed=0), flush=True)
    rng = np.random.default_rng(0)
    table = {}
    for factor in (32, 16, 8):
        cells = SIDE // factor
        shape = (arguments.batch, cells, cells, arguments.classes)
        scores = tf.constant(rng.normal(size=shape).astype("float32"))
        reference = tf.image.resize(scores, (SIDE, SIDE)).numpy()
        table[str(factor)] = rows = {}
        for name, enlarge in methods(factor, arguments.classes).items():
            runs = [
                milliseconds(enlarge, scores, arguments.times)
                for _ in range(arguments.runs)
            ]
            error = np.abs(enlarge(scores) - reference).max() / np.ptp(reference)
            rows[name] = {
                "milliseconds": statistics.median(runs),
                "min": min(runs),
                "max": max(runs),
                "largest_error": float(error),
            }
            print(f"x{factor:<2} {name:23} {rows[name]}", flush=True)
    figures = {"settings": vars(arguments), "by_factor": table}
    print("written:", environment.write_results("upsampling", figures).name)


if __name__ == "__main__":
    main()
