"""Compare the predicted memory of a training step of FCN-8s with the measured one.

Each row is measured in a process of its own, in three steps: the most memory it held,
less what it held before the network was built. Writes results/memory.json.
"""

import argparse
import json
import subprocess
import sys

import keras
import numpy as np
import tensorflow as tf

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


def warm_up() -> None:
    """Train something tiny: after that, TensorFlow has loaded what it needs itself."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3, padding="same")(inputs))
    zeros = np.zeros((2, 8, 8, 3), np.float32)
    batches = tf.data.Dataset.from_tensors((zeros, zeros[..., 0]))
    training.fit(model, batches, epochs=1, verbose=0)


def measured(
    head: dict, image_size: int, batch_size: int, policy: str, frozen: tuple
) -> dict:
    """Train three steps; return gigabytes predicted and measured."""
    images = np.zeros((batch_size, image_size, image_size, 3), np.float32)
    masks = np.zeros(images.shape[:3], np.int32)
    batches = tf.data.Dataset.from_tensors((images, masks)).repeat(3)
    warm_up()
    before = environment.peak_memory()
    keras.config.set_dtype_policy(policy)
    model = fcn.build("8s", 3, weights=None, **head)
    training.freeze(model, frozen)
    training.fit(model, batches, epochs=1, verbose=0)
    return {
        "predicted_gb": networks.training_memory(model, image_size, batch_size),
        "measured_gb": environment.peak_memory() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", type=int, help="measure this one and print it")
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(measured(*ROWS[arguments.row])))
        return
    rows, names = [], ("image_size", "batch_size", "precision", "frozen_blocks")
    for number, (head, *settings) in enumerate(ROWS):
        command = [sys.executable, "-m", "benchmarks.memory", "--row", str(number)]
        done = subprocess.run(
            command, cwd=environment.ROOT, capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(f"row {number} ended: {done.stderr[-2000:]}")
        row = head | dict(zip(names, settings, strict=True))
        rows.append(row | json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    print("written:", environment.write_results("memory", {"rows": rows}).name)


if __name__ == "__main__":
    main()
