"""Compare the ways to enlarge a score map, by time and by error.

`tf.image.resize` is the reference; against it stand FCN's fixed transposed convolution
with repeated edges (`fcn.upsample`), the same without repeated edges, and Keras's
`UpSampling2D`, each forward and backward, for the factors of FCN-32s, 16s and 8s on a
224-pixel photo. Writes results/upsampling.json.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks import timing
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


def milliseconds(enlarge, scores: tf.Tensor, times: int) -> Callable[[], float]:
    """Return what times forward and backward."""

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(scores)
            total = tf.reduce_sum(enlarge(scores))
        return tf.reduce_sum(tape.gradient(total, scores))

    return lambda: 1000 * timing.seconds(lambda: step().numpy(), times)


def main() -> None:
    arguments = timing.begin(__doc__, batch=4, classes=3, times=10, runs=5)
    rng = np.random.default_rng(0)
    table = {}
    for factor in (32, 16, 8):
        cells = SIDE // factor
        shape = (arguments.batch, cells, cells, arguments.classes)
        scores = tf.constant(rng.normal(size=shape).astype("float32"))
        reference = tf.image.resize(scores, (SIDE, SIDE)).numpy()
        ways = methods(factor, arguments.classes)
        measures = {
            n: milliseconds(w, scores, arguments.times) for n, w in ways.items()
        }
        table[str(factor)] = rows = {}
        for name, runs in timing.in_turn(measures, arguments.runs).items():
            error = np.abs(ways[name](scores) - reference).max() / np.ptp(reference)
            rows[name] = {
                "milliseconds": timing.summary(runs),
                "largest_error": float(error),
            }
            print(f"x{factor:<2} {name:23} {rows[name]}", flush=True)
    figures = {"settings": vars(arguments), "by_factor": table}
    print("written:", environment.write_results("upsampling", figures).name)


if __name__ == "__main__":
    main()
