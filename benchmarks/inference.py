"""Time FCN-8s on photos it has in memory: one at a time, and many.

Latency is the time from a photo to its mask (the largest logit of every pixel); a batch
of eight shows what throughput gains by waiting for more photos. The weights are random:
they do not change the time. Writes results/inference.json.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf

from utils import environment, fcn

CASES = [(96, 1), (160, 1), (224, 1), (320, 1), (480, 1), (160, 8), (224, 8)]


def milliseconds(model: keras.Model, size: int, batch: int, times: int) -> np.ndarray:
    """Time forward passes up to the class ids, after two that trace and warm up."""
    photos = tf.random.uniform((batch, size, size, 3), 0, 255)
    masks = tf.function(lambda images: tf.argmax(model(images, training=False), -1))
    for _ in range(2):
        masks(photos).numpy()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        masks(photos).numpy()
        found.append(1000 * (time.perf_counter() - started))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="per case")
    parser.add_argument("--fc-units", type=int, default=512)
    parser.add_argument("--fc-kernel", type=int, default=1)
    arguments = parser.parse_args()
    print(environment.prepare(seed=0), flush=True)
    model = fcn.build(
        "8s",
        3,
        fc_units=arguments.fc_units,
        fc_kernel=arguments.fc_kernel,
        weights=None,
    )
    rows = []
    for size, batch in CASES:
        found = milliseconds(model, size, batch, arguments.times)
        rows.append(
            {
                "image_size": size,
                "batch_size": batch,
                "milliseconds": float(np.median(found)),
                "quartiles": np.percentile(found, (25, 75)).tolist(),
                "photos_per_s": float(1000 * batch / np.median(found)),
            }
        )
        print(rows[-1], flush=True)
    figures = {"settings": vars(arguments), "rows": rows}
    print("written:", environment.write_results("inference", figures).name)


if __name__ == "__main__":
    main()
