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


def measured(model: keras.Model, size: int, batch: int, times: int) -> dict:
    """Time forward passes up to the class ids, after two that trace and warm up."""
    photos = tf.random.uniform((batch, size, size, 3), 0, 255)
    masks = tf.function(lambda images: tf.argmax(model(images, training=False), -1))
    milliseconds = []
    for _ in range(2 + times):
        started = time.perf_counter()
        masks(photos).numpy()
        milliseconds.append(1000 * (time.perf_counter() - started))
    lower, median, upper = np.percentile(milliseconds[2:], (25, 50, 75)).tolist()
    return {
        "image_size": size,
        "batch_size": batch,
        "milliseconds": median,
        "quartiles": [lower, upper],
        "photos_per_s": 1000 * batch / median,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20, help="per case")
    parser.add_argument("--fc-units", type=int, default=512)
    parser.add_argument("--fc-kernel", type=int, default=1)
    settings = vars(parser.parse_args())
    print(environment.prepare(seed=0), flush=True)
    head = {name: settings[name] for name in ("fc_units", "fc_kernel")}
    model = fcn.build("8s", 3, weights=None, **head)
    rows = []
    for case in CASES:
        rows.append(measured(model, *case, settings["times"]))
        print(rows[-1], flush=True)
    figures = {"settings": settings, "rows": rows}
    print("written:", environment.write_results("inference", figures).name)


if __name__ == "__main__":
    main()
