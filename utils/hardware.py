"""What the machine can do: precision, several GPUs, memory."""

import pathlib
import re
import sys

import keras
import numpy as np
import tensorflow as tf

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def precision_policy() -> str:
    """Choose Keras's dtype policy by what the first GPU has units for.

    Returns:
        `mixed_bfloat16` from compute capability 8.0, `mixed_float16` from 7.0, else
        `float32`.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "float32"
    details = tf.config.experimental.get_device_details(gpus[0])
    capability = details.get("compute_capability", (0, 0))
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"


def strategy() -> tf.distribute.Strategy:
    """Return what spreads batches over all GPUs of this machine.

    Returns:
        `MirroredStrategy` where there is more than one, else TensorFlow's default.
    """
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def training_memory(
    model: keras.Model, image_size: int, batch_size: int
) -> dict[str, float]:
    """Predict what a training step with Adam takes in memory.

    Left out is TensorFlow itself, and the work space its libraries choose.

    Args:
        model: of `fcn.build`; its layers' precision counts, and which are frozen.
        image_size: side of the square photos, in pixels; a multiple of 32.
        batch_size: photos in a step.

    Returns:
        Gigabytes (1e9 bytes) of `weights` (with the copies mixed precision computes
        with), `gradients`, `optimizer`, `activations` (the features the way back
        needs) and `passing` (what exists for a moment, where that is largest: Adam's
        three intermediate results for a weight, the gradients behind and before a
        layer), and their sum, `total`.
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


def peak_memory() -> float:
    """Return the most memory this process has held so far, in gigabytes.

    On a GPU its memory, else the machine's.
    """
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e9
    if sys.platform == "win32":
        return float("nan")  # Windows does not tell without another package
    status = pathlib.Path("/proc/self/status")
    held = status.is_file() and re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if held:  # Linux, where getrusage begins with the parent's peak
        return int(held[1]) * 1024 / 1e9
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9
