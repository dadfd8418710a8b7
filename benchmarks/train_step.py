"""Compare `fit` with a bare loop, and both with what the machine's cores can do.

Five ways to spend a second, in turn, run by run: a large matrix product (the rate the
cores reach at best); forward and backward pass of VGG16's convolutions alone; a
training step of FCN-8s in a bare compiled loop; the same network, loss and optimiser
through `fit`, metrics counted, fed from memory; and the whole thing as a reader runs
it, photos augmented on the way. Then the bare loop in each precision, and under XLA.
Multiply-adds are counted from the layers' shapes. Writes results/train_step.json.
"""

import argparse
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.input_pipeline import summary
from utils import environment, fcn, losses, metrics, pet_records, pets, training, vgg16

CONVOLUTIONS = layers.Conv2D | layers.Conv2DTranspose


def multiply_adds(model: keras.Model, image: tf.Tensor) -> int:
    """Count those of all convolutions, forward, from their shapes for this image."""
    found = [layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)]
    ends = [
        x.input if isinstance(x, layers.Conv2DTranspose) else x.output for x in found
    ]
    maps = keras.Model(model.input, ends)(image)
    # A transposed convolution uses its kernel once per cell of its input.
    return sum(
        int(np.prod(part.shape[:3])) * int(np.prod(layer.kernel.shape))
        for layer, part in zip(found, maps, strict=True)
    )


def seconds(work: Callable[[], object], times: int) -> float:
    """Time `work`, which returns a number or has one read; seconds each."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def product(side: int) -> Callable[[], object]:
    """Multiply two square matrices."""
    one = tf.random.normal((side, side))
    multiply = tf.function(lambda: tf.reduce_sum(one @ one))
    return lambda: multiply().numpy()


def convolutions(images: tf.Tensor) -> tuple[Callable[[], object], int]:
    """Return forward and backward of VGG16's convolutions, and its multiply-adds."""
    image = keras.Input(images.shape[1:])
    model = keras.Model(image, vgg16.backbone(image)["pool5"])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(model(images))
        gradients = tape.gradient(total, model.trainable_weights)
        return total + sum(tf.reduce_sum(g[..., 0]) for g in gradients)

    forward = multiply_adds(model, images)
    # The first layer needs no gradient of the photo.
    first = int(np.prod(images.shape[:3])) * 9 * 3 * 64
    return lambda: step().numpy(), 3 * forward - first


def network(arguments: argparse.Namespace) -> keras.Model:
    """Build FCN-8s, compiled as `training.fit` does it."""
    model = fcn.build(
        "8s",
        3,
        fc_units=arguments.fc_units,
        fc_kernel=arguments.fc_kernel,
        weights=None,
    )
    model.compile(
        training.AdamW(1e-4),
        loss=losses.SegmentationLoss(),
        metrics=[metrics.SegmentationMetrics(3)],
        jit_compile="auto" if environment.on_gpu() else False,
    )
    return model


def bare(model: keras.Model, images: tf.Tensor, masks: tf.Tensor, xla: bool = False):
    """Return a compiled step of the network without anything around it."""
    loss = losses.SegmentationLoss()
    optimizer = training.AdamW(1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla)
    def step():
        with tf.GradientTape() as tape:
            value = loss(masks, model(images, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients)
        return value

    return lambda: step().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=4, help="photos")
    parser.add_argument("--fc-units", type=int, default=512)
    parser.add_argument("--fc-kernel", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4, help="per run")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(environment.prepare(seed=0), flush=True)

    photos = pets.load(
        "synthetic_pets",
        "train",
        image_size=arguments.size,
        batch_size=arguments.batch,
        augment=True,
        shuffle=True,
    )
    images, masks = next(iter(photos))
    held = tf.data.Dataset.from_tensors((images, masks)).repeat(arguments.steps)
    held = pet_records.untuned(held)
    if arguments.runs < 1 or not 0 < arguments.steps <= len(photos):
        parser.error(f"--runs from 1 up, and --steps from 1 to {len(photos)}.")
    whole = photos.take(arguments.steps)
    model = network(arguments)
    convolve, convolve_macs = convolutions(images)
    forward = multiply_adds(model, images)
    works = {
        "product": (product(4096), 4096**3, 3),
        "convolutions": (convolve, convolve_macs, arguments.steps),
        "bare": (bare(network(arguments), images, masks), 3 * forward, arguments.steps),
        "fit": (
            lambda: model.fit(held, verbose=0, shuffle=False),
            3 * forward * arguments.steps,
            1,
        ),
        "whole": (
            lambda: model.fit(whole, verbose=0, shuffle=False),
            3 * forward * arguments.steps,
            1,
        ),
    }
    rates = {name: [] for name in works}
    for run in range(arguments.runs + 1):  # the first traces
        for name, (work, macs, times) in works.items():
            took = seconds(work, times)
            if run:
                rates[name].append(2e-9 * macs / took)
        print(run, {name: round(v[-1]) for name, v in rates.items() if v}, flush=True)

    def ratio(one: str, other: str) -> dict:
        return summary([a / b for a, b in zip(rates[one], rates[other], strict=True)])

    figures = {
        "settings": vars(arguments),
        "gflops": {name: summary(values) for name, values in rates.items()},
        "of_the_product": {
            name: ratio(name, "product") for name in works if name != "product"
        },
        "fit_over_bare": ratio("fit", "bare"),
        "whole_over_fit": ratio("whole", "fit"),
        "photos_per_second": precisions(arguments, images, masks),
    }
    print("written:", environment.write_results("train_step", figures).name)
    for name in ("fit_over_bare", "whole_over_fit"):
        print(f"{name}: {figures[name]['median']:.3f}")
    for name, share in figures["of_the_product"].items():
        print(f"{name}: {share['median']:.0%} of the matrix product's rate")
    for name, speed in figures["photos_per_second"].items():
        print(f"{name}: {speed['median']:.1f} photos a second")


def precisions(arguments, images, masks) -> dict[str, dict]:
    """Time the bare step in each precision, and compiled by XLA, in turn."""
    steps = {}
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        steps[policy] = bare(network(arguments), images, masks)
    keras.config.set_dtype_policy("float32")
    steps["float32, XLA"] = bare(network(arguments), images, masks, xla=True)
    speeds = {policy: [] for policy in steps}
    for run in range(arguments.runs + 1):
        for policy, step in steps.items():
            took = seconds(step, 1 if policy == "mixed_float16" else arguments.steps)
            if run:
                speeds[policy].append(arguments.batch / took)
    return {policy: summary(values) for policy, values in speeds.items()}


if __name__ == "__main__":
    main()
