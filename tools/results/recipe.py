"""The recipe behind the tables: three stages, each grown from the one before.

`tools.reproduce` runs it for several seeds and writes down what came of it;
`tools.results.probe` says whether it still does what the tables were made with.
"""

import argparse
import functools
import json
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from tools.results import made
from utils import batching, environment, fcn, networks, pets, training

STAGES = ("32s", "16s", "8s")
ORDER = (*STAGES, "32s_control", "16s_control")
RECIPE = {  # chosen by trials on part of the sample's trainval photos
    "learning_rate": 2e-3,
    "backbone_factor": 0.1,
    "weight_decay": 1e-4,
    "dice_weight": 1.0,
}
LARGE = {"fc_units": 4096, "fc_kernel": 7, "weights": "imagenet"}
SLIM = {"fc_units": 512, "fc_kernel": 1, "weights": "imagenet_convolutions"}


class Clock(keras.callbacks.Callback):
    """Adds to what is measured in an epoch how long it took."""

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self.started[0]
        logs["cpu_seconds"] = time.process_time() - self.started[1]
        logs["peak_memory_gb"] = environment.peak_memory()


class Run:
    """One seed: its data, and a folder with a model for each stage that is done."""

    def __init__(self, arguments: argparse.Namespace, seed: int, folder: pathlib.Path):
        self.arguments, self.seed, self.folder = arguments, seed, folder
        self.data = {"task": arguments.task, "image_size": arguments.image_size}
        self.features = None
        for left_over in folder.glob(".*.partial.*"):  # of a process that was killed
            left_over.unlink()

    def photos(self, seed: int) -> tf.data.Dataset:
        """Return the photos to train on, in an order of their own for each seed."""
        changing = not self.arguments.frozen
        options = {"augment": changing, "shuffle": changing, "seed": seed, **self.data}
        batch_size = self.arguments.batch_size
        return pets.load(
            self.arguments.dataset, "trainval", batch_size=batch_size, **options
        )

    def stage(
        self, name: str, start: Callable[[], keras.Model], epochs: int
    ) -> keras.Model:
        """Return the model of a stage, trained from `start()` unless that is done."""
        path = self.folder / f"{name}.keras"
        checkpoints = self.folder / f"{name}_checkpoints"
        if not path.is_file():
            print(f"seed {self.seed}: {name}, {epochs} epochs", flush=True)
            # All random numbers of a stage follow from the two, wherever a run starts.
            seed = 100 * self.seed + ORDER.index(name)
            keras.utils.set_random_seed(seed)
            model, photos = start(), self.photos(seed)
            options = {"epochs": epochs, "seed": seed, "callbacks": [Clock()]}
            if self.arguments.frozen:
                history = self.fit_heads(model, photos, **options)
            else:
                training.freeze(model, () if environment.on_gpu() else (1, 2))
                options |= {"checkpoints": checkpoints, **RECIPE}
                history = training.fit(model, photos, **options)
            environment.write_json(path.with_suffix(".json"), history)
            networks.save_model(model, path)
        shutil.rmtree(checkpoints, ignore_errors=True)
        # Also when it was trained just now: so a resumed run cannot differ.
        return networks.load_model(path)

    def fit_heads(self, model: keras.Model, photos, **options) -> dict[str, list]:
        """Train the heads in seconds, without checkpoints; return what was measured."""
        training.freeze(model, (1, 2, 3, 4, 5))
        started = time.perf_counter()
        # What the frozen backbone says is the same in all stages.
        self.features = self.features or networks.backbone_features(model, photos)
        first = time.perf_counter() - started
        batches = self.features.shuffle(len(self.features), options["seed"])
        batches = batches.batch(self.arguments.batch_size)
        history = training.fit(networks.heads(model), batches, **options)
        history["seconds"][0] += first
        return history

    def result(self, models: dict[str, keras.Model]) -> dict[str, dict]:
        """Score the test photos with each model; nothing is chosen by it."""
        test = pets.load(self.arguments.dataset, "test", batch_size=20, **self.data)
        scored = {name: training.evaluate(m, test) for name, m in models.items()}
        units = ("seconds", "cpu_seconds", "photos_per_s", "peak_memory_gb")
        parts = {"test": scored} | {unit: {} for unit in units}
        count = len(batching.plan_of(self.photos(0)).photo_names)
        for name, figures in scored.items():
            print(f"seed {self.seed}: {name} test mean IoU {figures['mean_iou']:.4f}")
            history = json.loads((self.folder / f"{name}.json").read_text())
            for unit in ("seconds", "cpu_seconds"):
                parts[unit][name] = round(sum(history[unit]))
            speeds = count / np.array(history["seconds"])
            parts["photos_per_s"][name] = round(float(np.median(speeds)), 2)
            parts["peak_memory_gb"][name] = round(max(history["peak_memory_gb"]), 2)
        return parts


def stages(run: Run) -> dict[str, keras.Model]:
    """Train the three stages, each from the one before."""
    options = LARGE if environment.on_gpu() else SLIM
    num_classes = len(pets.CLASS_NAMES[run.arguments.task])
    start = functools.partial(fcn.build, "32s", num_classes, **options)
    models = {}
    for name, epochs in zip(STAGES, run.arguments.epochs, strict=True):
        models[name] = run.stage(name, start, epochs)
        start = functools.partial(fcn.grow, models[name])
    return models


def controls(run: Run) -> dict[str, keras.Model]:
    """Train 32s and 16s on, for as many epochs as the 8s had in all."""
    models, found = stages(run), {}
    for number, stage in enumerate(STAGES[:2], start=1):
        name, start = f"{stage}_control", functools.partial(fcn.clone, models[stage])
        found[name] = run.stage(name, start, sum(run.arguments.epochs[number:]))
    return found


def probe(table: dict) -> dict[str, str]:
    """Run the stages with a table's settings on made photos, up to each `fit`."""
    found = {}
    frozen = isinstance(table["recipe"], str)
    settings = table | {"image_size": made.SIZE, "frozen": frozen}
    gpu = not table["device"].startswith("CPU")
    with (
        made.data() as folder,
        tempfile.TemporaryDirectory() as home,
        mock.patch.object(environment, "on_gpu", lambda: gpu),
        made.watching(folder, table["task"]) as seen,
    ):
        arguments = argparse.Namespace(**settings | {"dataset": folder})
        models = stages(Run(arguments, 3, pathlib.Path(home)))
        for stage, part in zip(models, seen, strict=True):
            found |= {f"{stage} {name}": value for name, value in part.items()}
            found |= made.logits(models[stage])
        at_once = fcn.build("at_once", 3, **SLIM)
        made.fill(at_once)
        for name, values in made.logits(at_once).items():
            found[f"at_once {name}"] = values
        keras.config.set_dtype_policy(table["precision"])
        mixed = fcn.build("at_once", 3, **SLIM).layers
        found["types"] = made.words(f"{one.name} {one.compute_dtype}" for one in mixed)
        keras.config.set_dtype_policy("float32")
    if table["dataset"] == "synthetic_pets":
        found["pictures inputs"] = made.pictures("trainval")
    return found
