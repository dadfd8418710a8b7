"""Compare the predicted memory of a training step of FCN-8s with the measured one.

Each row is measured in a process of its own, in three steps: the most memory it held,
less what it held before the network was built. Writes results/memory.json.
"""

import concurrent.futures
import multiprocessing

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from utils import environment, fcn, networks, training

LARGE = {"fc_units": 4096, "fc_kernel": 7}
SLIM = {"fc_units": 512, "fc_kernel": 1}
ROWS = [  # head, side of the photos, photos a step, precision, frozen blocks
    (LARGE, 224, 2, "float32", ()),
    (LARGE, 224, 8, "float32", ()),
    (LARGE, 224, 8, "mixed_bfloat16", ()),
    (SLIM, 224, 2, "float32", ()),
    (SLIM, 224, 8, "float32", ()),
    (SLIM, 224, 8, "mixed_bfloat16", ()),
    (SLIM, 160, 8, "float32", (1, 2)),
]


def train(model: keras.Model, image_size: int, batch_size: int) -> None:
    """Train three steps on black photos."""
    images = np.zeros((batch_size, image_size, image_size, 3), np.float32)
    masks = np.zeros(images.shape[:3], np.int32)
    batches = tf.data.Dataset.from_tensors((images, masks)).repeat(3)
    training.fit(model, batches, epochs=1, verbose=0)


def warm_up() -> None:
    """Train something tiny: after that, TensorFlow has loaded what it needs itself."""
    image = keras.Input((8, 8, 3))
    scores = keras.layers.Conv2D(3, 3, padding="same")(image)
    train(keras.Model(image, scores), 8, 2)


def measured(
    head: dict, image_size: int, batch_size: int, precision: str, frozen_blocks: tuple
) -> dict:
    """Return what three steps are predicted to take and took, in gigabytes."""
    warm_up()
    before = environment.peak_memory()
    keras.config.set_dtype_policy(precision)
    model = fcn.build("8s", 3, weights=None, **head)
    training.freeze(model, frozen_blocks)
    train(model, image_size, batch_size)
    return {
        "predicted_gb": networks.training_memory(model, image_size, batch_size),
        "measured_gb": environment.peak_memory() - before,
    }


def main() -> None:
    timing.begin(__doc__)
    fresh = multiprocessing.get_context("spawn")
    rows, names = [], ("image_size", "batch_size", "precision", "frozen_blocks")
    for head, *settings in ROWS:
        with concurrent.futures.ProcessPoolExecutor(1, fresh) as process:
            found = process.submit(measured, head, *settings).result()
        rows.append(head | dict(zip(names, settings, strict=True)) | found)
        print(rows[-1], flush=True)
    print("written:", environment.write_results("memory", {"rows": rows}).name)


if __name__ == "__main__":
    main()
