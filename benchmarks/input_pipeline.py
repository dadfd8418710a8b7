"""Compare the photos a second that utils.pets delivers with those training consumes.

Both at the same size on the same machine, with augmentation, in turn, run by run: the
pipeline with photos held resized in memory, the pipeline that decodes and resizes each
photo at every pass, and a training step (forward, backward, SGD with momentum) of the
FCN on the whole VGG16 (fc6 and fc7 of 4096 units), fed from memory. The pipeline is
timed alone, as fast as it can go. Writes results/input_pipeline.json.
"""

import time
from collections.abc import Callable
from unittest import mock

import keras
import tensorflow as tf

from benchmarks import timing
from utils import environment, fcn, metrics, pet_records, pets


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


def training(batches: tf.data.Dataset) -> Callable[[], object]:
    """Return a training step on the first batch."""
    images, masks = (part.numpy() for part in next(iter(batches)))
    model = fcn.build("8s", 3, fc_units=4096, weights=None)
    loss = metrics.SegmentationLoss()
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
    # It returns the loss as a number, so a GPU is waited for.
    return lambda: model.train_on_batch(images, masks)


def main() -> None:
    # A run is so many photos of a pipeline, so many steps of training.
    numbers = {"size": 224, "batch": 8, "photos": 600, "steps": 3, "runs": 5}
    arguments = timing.begin(__doc__, dataset="synthetic_pets", **numbers)
    options = {"image_size": arguments.size, "batch_size": arguments.batch}
    options |= {"augment": True, "shuffle": True}
    held = pets.load(arguments.dataset, "train", **options)
    with mock.patch.object(pet_records, "MEMORY", 0):  # as if they did not fit
        pet_records.stored.cache_clear()
        decoding = pets.load(arguments.dataset, "train", **options)
    measures = {
        "held": lambda: delivered(held, arguments.photos),
        "decoding": lambda: delivered(decoding, arguments.photos),
        "training": timing.rate(arguments.batch, training(held), arguments.steps),
    }
    speeds = timing.in_turn(measures, arguments.runs)
    figures = {
        "settings": vars(arguments),
        "photos_per_second": {n: timing.summary(runs) for n, runs in speeds.items()},
        "times_what_training_consumes": {
            name: timing.ratios(speeds[name], speeds["training"])
            for name in ("held", "decoding")
        },
    }
    print("written:", environment.write_results("input_pipeline", figures).name)


if __name__ == "__main__":
    main()
