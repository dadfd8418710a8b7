"""Compare the photos a second that utils.pets delivers with those training consumes.

Both at the same size on the same machine, with augmentation, in turn, run by run: the
pipeline with photos held resized in memory, the pipeline that decodes and resizes each
photo at every pass, and a training step (forward, backward, SGD with momentum) of the
FCN on the whole VGG16 (fc6 and fc7 of 4096 units), fed from memory. The pipeline is
timed alone, as fast as it can go. Then each step of augmentation by itself, on one
batch. Writes results/input_pipeline.json.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

from utils import batching, environment, fcn, pet_records, pets


def summary(values: list[float]) -> dict:
    """Return median, least and largest of the runs, and the runs."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "runs": values,
    }


def delivered(batches: tf.data.Dataset, photos: int) -> float:
    """Time at least so many photos, from the second batch on; return photos a second.

    The first batch is left out: with it starts the pipeline, once a training run.
    """
    iterator = iter(batches.repeat())
    next(iterator)
    count, started = 0, time.perf_counter()
    while count < photos:
        count += len(next(iterator)[0])
    return count / (time.perf_counter() - started)


class Training:
    """A model and a batch, to time training steps on."""

    def __init__(self, batches: tf.data.Dataset, variant: str):
        self.images, self.masks = (part.numpy() for part in next(iter(batches)))
        self.model = fcn.build(
            variant, len(pets.CLASS_NAMES["trimap"]), fc_units=4096, weights=None
        )
        self.model.compile(
            keras.optimizers.SGD(1e-4, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=pets.VOID
            ),
        )
        self.step()

    def step(self) -> None:
        self.model.train_on_batch(self.images, self.masks)

    def consumed(self, steps: int) -> float:
        """Return photos a second over some steps."""
        started = time.perf_counter()
        for _ in range(steps):
            self.step()  # returns the loss as a number, so a GPU is waited for
        return steps * len(self.images) / (time.perf_counter() - started)


def augmentation(batch: int, size: int, runs: int) -> dict:
    """Time each step of augmentation; return milliseconds a photo."""
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (batch, size, size, 3), np.uint8))
    masks = tf.constant(random.integers(1, 4, (batch, size, size), np.uint8))
    numbers = random.random((batch, batching.NUM_DRAWS)).astype(np.float32)
    flipped = np.tile(np.float32([0, 0, 1, 1]), (batch, 1))
    flipped[: batch // 2] = [0, 1, 1, 0]
    floats = tf.cast(images, tf.float32)
    steps = {
        "flip": lambda: batching.crop(floats, masks, flipped),
        "flip, scale and crop": lambda: batching.crop(
            floats, masks, batching.windows(numbers[:, :4])
        ),
        "brightness": lambda: batching.brightness(floats, numbers[:, 4]),
        "contrast": lambda: batching.contrast(floats, numbers[:, 5]),
        "all": lambda: batching.augment(images, masks, numbers),
    }
    steps = {name: tf.function(step) for name, step in steps.items()}
    times = {name: [] for name in steps}
    for run in range(runs + 1):  # the first traces
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(10):
                step()
            if run:
                took = time.perf_counter() - started
                times[name].append(1000 * took / 10 / batch)
    return {name: summary(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="synthetic_pets", help="as in pets.load")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--batch", type=int, default=8, help="photos")
    parser.add_argument("--photos", type=int, default=600, help="per run of a pipeline")
    parser.add_argument("--steps", type=int, default=3, help="per run of training")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--variant", default="8s", choices=["32s", "16s", "8s"])
    parser.add_argument(
        "--precision", default="float32", choices=["float32", "mixed_float16"]
    )
    arguments = parser.parse_args()
    print(environment.prepare(seed=0))
    keras.mixed_precision.set_dtype_policy(arguments.precision)

    def load() -> tf.data.Dataset:
        return pets.load(
            arguments.dataset,
            "train",
            image_size=arguments.size,
            batch_size=arguments.batch,
            augment=True,
            shuffle=True,
        )

    held = load()
    limit = pet_records.MEMORY
    pet_records.MEMORY = 0  # as if the photos did not fit
    pet_records.stored.cache_clear()
    decoding = load()
    pet_records.MEMORY = limit
    training = Training(held, arguments.variant)
    found = {"held": [], "decoding": [], "training": []}
    for run in range(arguments.runs):
        found["held"].append(delivered(held, arguments.photos))
        found["decoding"].append(delivered(decoding, arguments.photos))
        found["training"].append(training.consumed(arguments.steps))
        speeds = ", ".join(f"{name} {values[-1]:.1f}" for name, values in found.items())
        print(f"run {run + 1}, photos a second: {speeds}", flush=True)
    figures = {
        "settings": vars(arguments),
        "photos_per_second": {name: summary(runs) for name, runs in found.items()},
        "times_what_training_consumes": {
            name: summary(
                [a / b for a, b in zip(found[name], found["training"], strict=True)]
            )
            for name in ("held", "decoding")
        },
        "augmentation_ms_per_photo": augmentation(
            arguments.batch, arguments.size, arguments.runs
        ),
    }
    print("written:", environment.write_results("input_pipeline", figures).name)
    for name, ratio in figures["times_what_training_consumes"].items():
        print(f"{name}: {ratio['median']:.1f} times ({ratio['min']:.1f}", end=" ")
        print(f"to {ratio['max']:.1f})")
    for name, time_each in figures["augmentation_ms_per_photo"].items():
        print(f"{name}: {time_each['median']:.2f} ms a photo")


if __name__ == "__main__":
    main()
