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
from utils import environment, fcn, training

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
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 3, padding="same")]
    train(keras.Sequential(layers), 8, 2)


def training_memory(
    model: keras.Model, image_size: int, batch_size: int
) -> dict[str, float]:
    """Predict what a training step with Adam takes in memory, the backend left out.

    Takes a model of `fcn.build`, whose layers' precision counts, and which are frozen;
    the side of the square photos in pixels, a multiple of 32; and the photos in a step.
    Returns gigabytes (1e9 bytes) of `weights` (with the 16-bit copies of mixed
    precision), `gradients`, `optimizer`, `activations` (the features the way back
    needs) and `passing` (what exists for a moment: Adam's three intermediate results
    for the largest weight, two gradients of the largest features), and their `total`.
    """
    shapes = keras.Model(model.input, [layer.output for layer in model.layers])
    sizes = shapes.compute_output_shape((batch_size, image_size, image_size, 3))
    weights, maps, before = 0, [], 0
    for layer, shape in zip(model.layers, sizes, strict=True):
        wide = 4 if layer.compute_dtype == "float32" else 2  # bytes of a feature
        weights += layer.count_params() * (4 if wide == 4 else 4 + wide)
        size = wide * int(np.prod(shape))
        # Of what lies before the first trained layer only its input is needed again.
        if not maps and layer.trainable_weights:
            maps.append(before)
        if maps:
            maps.append(size)
        before = size
    trained = [int(np.prod(w.shape)) for w in model.trainable_weights]
    parts = {
        "weights": weights,
        "gradients": 4 * sum(trained),
        "optimizer": 8 * sum(trained),
        "activations": sum(maps),
        "passing": 3 * 4 * max(trained) + 2 * max(maps),
    }
    parts = {name: size / 1e9 for name, size in parts.items()}
    return parts | {"total": sum(parts.values())}


def measured(head: dict, image_size, batch_size, precision, frozen_blocks) -> dict:
    """Return what three steps are predicted to take and took, in gigabytes."""
    warm_up()
    before = timing.peak_memory()
    keras.config.set_dtype_policy(precision)
    model = fcn.build("8s", 3, weights=None, **head)
    training.freeze(model, frozen_blocks)
    train(model, image_size, batch_size)
    return {
        "predicted_gb": training_memory(model, image_size, batch_size),
        "measured_gb": timing.peak_memory() - before,
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
