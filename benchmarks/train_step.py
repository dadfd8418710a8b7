"""Compare `fit` with a bare loop, and both with what the machine's cores can do.

Five ways to spend a second, in turn, run by run: a large matrix product (the rate the
cores reach at best); forward and backward pass of VGG16's convolutions alone; a
training step of FCN-8s in a bare compiled loop; the same network, loss and optimiser
through `fit`, metrics counted, fed from memory; and the whole thing as a reader runs
it, photos augmented on the way. Then the bare loop in each precision, and under XLA.
Multiply-adds are counted from the layers' shapes. Writes results/train_step.json.
"""

import math
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers

from benchmarks import timing
from utils import environment, fcn, metrics, pet_records, pets, training, vgg16

SLIM = {"fc_units": 512, "fc_kernel": 1, "weights": None}


def multiply_adds(model: keras.Model, images: tf.Tensor) -> int:
    """Count those of all convolutions, forward, from their shapes for these images."""
    count = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            # A transposed convolution uses its kernel once per cell of its input.
            end = layer.output if isinstance(layer, layers.Conv2D) else layer.input
            cells = keras.Model(model.input, end).compute_output_shape(images.shape)[:3]
            count += math.prod(cells) * math.prod(layer.kernel.shape)
    return count


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

    # The first layer needs no gradient of the photo.
    first = math.prod(images.shape[:3]) * 9 * 3 * 64
    return lambda: step().numpy(), 3 * multiply_adds(model, images) - first


def bare(images: tf.Tensor, masks: tf.Tensor, xla: bool = False) -> Callable:
    """Return a compiled step of FCN-8s without anything around it."""
    model, loss = fcn.build("8s", 3, **SLIM), metrics.SegmentationLoss()
    optimizer = training.AdamW(1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla)
    def step():
        with tf.GradientTape() as tape:
            value = loss(masks, model(images, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables))
        return value

    return lambda: step().numpy()


def precisions(images, masks, steps: int, runs: int) -> dict[str, dict]:
    """Time the bare step in each precision, and compiled by XLA: photos a second."""
    measures = {}
    for policy in environment.POLICIES:
        keras.config.set_dtype_policy(policy)
        times = 1 if policy == "mixed_float16" else steps
        measures[policy] = timing.rate(len(images), bare(images, masks), times)
    keras.config.set_dtype_policy("float32")
    step = bare(images, masks, xla=True)
    measures["float32, XLA"] = timing.rate(len(images), step, steps)
    speeds = timing.in_turn(measures, runs)
    return {policy: timing.summary(values) for policy, values in speeds.items()}


def main() -> None:
    arguments = timing.begin(__doc__, size=224, batch=4, steps=4, runs=5)
    steps = arguments.steps
    options = {"image_size": arguments.size, "batch_size": arguments.batch}
    photos = pets.load("synthetic_pets", "train", augment=True, shuffle=True, **options)
    if steps > len(photos):
        raise SystemExit(f"error: --steps: give at most {len(photos)}.")
    images, masks = next(iter(photos))
    held = tf.data.Dataset.from_tensors((images, masks)).repeat(steps)
    held, whole = pet_records.untuned(held), photos.take(steps)
    model = fcn.build("8s", 3, **SLIM)
    training.fit(model, held, epochs=1, verbose=0)  # leaves it compiled
    convolve, macs = convolutions(images)
    epoch = 3 * steps * multiply_adds(model, images)
    matrix = tf.random.normal((4096, 4096))
    product = tf.function(lambda: tf.reduce_sum(matrix @ matrix))
    works = {  # multiply-adds, the work that does them, how often it is done in a run
        "product": (4096**3, lambda: product().numpy(), 3),
        "convolutions": (macs, convolve, steps),
        "bare": (epoch // steps, bare(images, masks), steps),
        "fit": (epoch, lambda: model.fit(held, verbose=0, shuffle=False)),
        "whole": (epoch, lambda: model.fit(whole, verbose=0, shuffle=False)),
    }
    measures = {n: timing.rate(2e-9 * one, *rest) for n, (one, *rest) in works.items()}
    rates = timing.in_turn(measures, arguments.runs)
    shares = {n: timing.ratios(rates[n], rates["product"]) for n in list(rates)[1:]}
    figures = {
        "settings": vars(arguments),
        "gflops": {name: timing.summary(values) for name, values in rates.items()},
        "of_the_product": shares,
        "fit_over_bare": timing.ratios(rates["fit"], rates["bare"]),
        "photos_per_second": precisions(images, masks, steps, arguments.runs),
    }
    print("written:", environment.write_results("train_step", figures).name)


if __name__ == "__main__":
    main()
