"""Time FCN-8s on photos it has in memory: one at a time, and many.

Latency is the time from a photo to its mask (the largest logit of every pixel); a batch
of eight shows what throughput gains by waiting for more photos. The weights are random:
they do not change the time. Writes results/inference.json.
"""

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from utils import environment, fcn

CASES = [(96, 1), (160, 1), (224, 1), (320, 1), (480, 1), (160, 8), (224, 8)]
HEAD = {"fc_units": 512, "fc_kernel": 1}


def measured(model: keras.Model, size: int, batch: int, times: int) -> dict:
    """Time forward passes up to the class ids, after two that trace and warm up."""
    photos = tf.random.uniform((batch, size, size, 3), 0, 255)
    masks = tf.function(lambda images: tf.argmax(model(images, training=False), -1))
    seconds = [timing.seconds(lambda: masks(photos).numpy()) for _ in range(2 + times)]
    lower, median, upper = (1000 * np.percentile(seconds[2:], (25, 50, 75))).tolist()
    return {
        "image_size": size,
        "batch_size": batch,
        "milliseconds": median,
        "quartiles": [lower, upper],
        "photos_per_s": 1000 * batch / median,
    }


def main() -> None:
    times = timing.begin(__doc__, times=20).times
    model = fcn.build("8s", 3, weights=None, **HEAD)
    rows = []
    for case in CASES:
        rows.append(measured(model, *case, times))
        print(rows[-1], flush=True)
    figures = {"settings": {"times": times, **HEAD}, "rows": rows}
    print("written:", environment.write_results("inference", figures).name)


if __name__ == "__main__":
    main()
