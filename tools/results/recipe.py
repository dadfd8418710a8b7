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

from benchmarks import timing
from tools.results import made
from utils import environment, fcn, networks, pets, training

STAGES = ("32s", "16s", "8s")
ORDER = (*STAGES, "32s_control", "16s_control")
RECIPE = {  # chosen by trials on part of the sample's trainval photos
    "learning_rate": 2e-3,
    "backbone_factor": 0.1,
    "weight_decay": 1e-4,
    "dice_weight": 1.0,
}
WHOLE = [1, 2, 3, 4, 5]  # blocks of the backbone
LARGE = {"fc_units": 4096, "fc_kernel": 7, "weights": "imagenet"}
SLIM = {"fc_units": 512, "fc_kernel": 1, "weights": "imagenet_convolutions"}


class Clock(keras.callbacks.Callback):
    """Adds to what is measured in an epoch how long it took."""

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        logs["seconds"] = time.perf_counter() - self.started
        logs["peak_memory_gb"] = timing.peak_memory()


class Run:
    """One seed: its data, and a folder with a model for each stage that is done."""

    def __init__(self, arguments: argparse.Namespace, seed: int, folder: pathlib.Path):
        self.arguments, self.seed, self.folder = arguments, seed, folder
        self.data = {"task": arguments.task, "image_size": arguments.image_size}
        self.frozen = set(arguments.freeze) == set(WHOLE)
        self.features = None
        for left_over in folder.glob(".*.partial.*"):  # of a process that was killed
            left_over.unlink()

    def stage(self, name: str, start: Callable, epochs: int) -> keras.Model:
        """Return the model of a stage, trained from `start()` unless that is done."""
        path, arguments = self.folder / f"{name}.keras", self.arguments
        checkpoints = self.folder / f"{name}_checkpoints"
        if not path.is_file():
            print(f"seed {self.seed}: {name}, {epochs} epochs", flush=True)
            # All random numbers of a stage follow from the two, wherever a run starts.
            seed = 100 * self.seed + ORDER.index(name)
            keras.utils.set_random_seed(seed)
            model, changing = start(), not self.frozen
            photos = {"batch_size": arguments.batch_size, "seed": seed, **self.data}
            photos |= {"augment": changing, "shuffle": changing}
            photos = pets.load(arguments.dataset, "trainval", **photos)
            options = {"epochs": epochs, "seed": seed, "callbacks": [Clock()]}
            if self.frozen:
                history = self.fit_heads(model, photos, **options)
            else:
                training.freeze(model, arguments.freeze)
                options |= {"checkpoints": checkpoints, **RECIPE}
                history = training.fit(model, photos, **options)
            environment.write_json(path.with_suffix(".json"), history)
            networks.save_model(model, path)
        shutil.rmtree(checkpoints, ignore_errors=True)
        # Also when it was trained just now: so a resumed run cannot differ.
        return networks.load_model(path)

    def fit_heads(self, model: keras.Model, photos, **options) -> dict[str, list]:
        """Train the heads in seconds, without checkpoints; return what was measured."""
        training.freeze(model, self.arguments.freeze)
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
        parts = {"test": {}, "seconds": {}, "peak_memory_gb": {}}
        for name, model in models.items():
            scores = parts["test"][name] = training.evaluate(model, test)
            print(f"seed {self.seed}: {name} test mean IoU {scores['mean_iou']:.4f}")
            history = self.folder / f"{name}.json"
            history = json.loads(history.read_text(encoding="utf-8"))
            parts["seconds"][name] = round(sum(history["seconds"]))
            parts["peak_memory_gb"][name] = round(max(history["peak_memory_gb"]), 2)
        return parts


def stages(run: Run) -> dict[str, keras.Model]:
    """Train the three stages, each from the one before."""
    options, models = LARGE if environment.on_gpu() else SLIM, {}
    num_classes = len(pets.CLASS_NAMES[run.arguments.task])
    start = functools.partial(fcn.build, "32s", num_classes, **options)
    for name, epochs in zip(STAGES, run.arguments.epochs, strict=True):
        models[name] = run.stage(name, start, epochs)
        start = functools.partial(fcn.grow, models[name])
    return models


def controls(run: Run) -> dict[str, keras.Model]:
    """Train 32s and 16s on, for as many epochs as the 8s had in all."""
    models, found = stages(run), {}
    for number, stage in enumerate(STAGES[:2], start=1):
        start, name = functools.partial(fcn.clone, models[stage]), f"{stage}_control"
        found[name] = run.stage(name, start, sum(run.arguments.epochs[number:]))
    return found


def probe(table: dict) -> dict[str, str]:
    """Run the stages with a table's settings on made photos, up to each `fit`."""
    gpu, found = not table["device"].startswith("CPU"), {}
    settings = table | {"image_size": made.SIZE}
    # Tables from before do not say it.
    blocks = WHOLE if isinstance(table["recipe"], str) else [] if gpu else [1, 2]
    settings["freeze"] = table.get("freeze", blocks)
    with (
        made.data() as settings["dataset"],
        tempfile.TemporaryDirectory() as home,
        mock.patch.object(environment, "on_gpu", lambda: gpu),
        made.watching(settings["dataset"], table["task"]) as seen,
    ):
        run = Run(argparse.Namespace(**settings), 3, pathlib.Path(home))
        for (stage, model), part in zip(stages(run).items(), seen, strict=True):
            found |= {f"{stage} {name}": value for name, value in part.items()}
            found |= made.logits(model)
        at_once = fcn.build("at_once", 3, **SLIM)
        made.fill(at_once)
        found |= {f"at_once {n}": line for n, line in made.logits(at_once).items()}
        keras.config.set_dtype_policy(table["precision"])
        mixed = fcn.build("at_once", 3, **SLIM).layers
        found["types"] = made.words(f"{one.name} {one.compute_dtype}" for one in mixed)
        keras.config.set_dtype_policy("float32")
    if table["dataset"] == "synthetic_pets":
        found["pictures inputs"] = made.pictures("trainval")
    return found
