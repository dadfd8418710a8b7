"""Reproduce the tables: 32s, then 16s from it, then 8s, and what skips alone buy.

    python -m tools.reproduce --dataset ../shared/oxford-pets-sample --task trimap

For each seed the three stages are trained on trainval, each grown from the one before.
Then the official test list is scored, once. Results go to results/NAME.json after each
seed, the models of the first seed to build/models/. Last comes a control: the first
seed's 32s and 16s go on training for as many steps as the 8s had in all. What the 8s is
ahead of them by then is what skips buy.
"""

import argparse
import collections
import itertools
import pathlib
import sys
import time

import keras
import numpy as np

from utils import environment, fcn, pets, training

STAGES = ("32s", "16s", "8s")
# Chosen by trials on part of the sample's trainval photos.
RECIPE = {
    "learning_rate": 2e-3,
    "backbone_factor": 0.1,
    "weight_decay": 1e-4,
    "dice_weight": 1.0,
}


def describe(dataset: str) -> str:
    """Say what the data is, for example `500 photographs, 3 of 37 breeds`."""
    breeds, count = set(), 0
    for split in ("trainval", "test"):
        for _, labels in pets.load_classification(
            dataset, split, label="breed", image_size=8, batch_size=100
        ):
            breeds |= set(labels.numpy().tolist())
            count += len(labels)
    if dataset == "synthetic_pets":
        return f"{count} drawn pictures"
    return f"{count} photographs, {len(breeds)} of 37 breeds"


class Run:
    """One seed: its data, and how long each stage took."""

    def __init__(self, arguments: argparse.Namespace, seed: int):
        self.frozen, self.batch_size = arguments.frozen, arguments.batch_size
        self.seconds, self.cpu_seconds = {}, {}
        self.seed = seed
        keras.utils.set_random_seed(seed)
        data = {"task": arguments.task, "image_size": arguments.image_size}
        self.train = pets.load(
            arguments.dataset,
            "trainval",
            batch_size=self.batch_size,
            augment=not self.frozen,
            shuffle=not self.frozen,
            seed=seed,
            **data,
        )
        self.test = pets.load(arguments.dataset, "test", batch_size=20, **data)
        self.features = None

    def fit(self, name: str, model: keras.Model, epochs: int) -> None:
        """Train a model in place and note the time under `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        if self.frozen:
            if self.features is None:
                features = training.backbone_features(model, self.train)
                self.features = features.shuffle(len(features), seed=self.seed).batch(
                    self.batch_size
                )
            training.fit(training.heads(model), self.features, epochs=epochs)
        else:
            training.freeze(model, (1, 2))
            training.fit(model, self.train, epochs=epochs, **RECIPE)
        self.seconds[name] = round(time.perf_counter() - wall)
        self.cpu_seconds[name] = round(time.process_time() - cpu)

    def result(self, models: dict[str, keras.Model]) -> dict[str, dict]:
        """Score the test photos with each model; nothing is chosen by it."""
        test = {
            key: training.evaluate(model, self.test) for key, model in models.items()
        }
        for key, figures in test.items():
            print(f"seed {self.seed}: {key} test mean IoU {figures['mean_iou']:.4f}")
        return {"test": test, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}


def one_seed(arguments: argparse.Namespace, seed: int, name: str) -> dict:
    """Train all stages of one seed; score the test photos at the end."""
    run = Run(arguments, seed)
    model = fcn.build(
        "32s",
        len(pets.CLASS_NAMES[arguments.task]),
        fc_units=512,
        fc_kernel=1,
        weights="imagenet_convolutions",
    )
    models = {}
    for stage, epochs in zip(STAGES, arguments.epochs, strict=True):
        model = fcn.grow(model) if models else model
        print(f"seed {seed}: {stage}, {epochs} epochs", flush=True)
        run.fit(stage, model, epochs)
        models[stage] = fcn.copied(model)
    if seed == arguments.seeds[0]:
        for stage in STAGES:
            training.save(models[stage], saved(name, stage))
    return run.result(models)


def control(arguments: argparse.Namespace, name: str) -> dict:
    """Train the first seed's 32s and 16s on, for as many steps as the 8s had."""
    run = Run(arguments, arguments.seeds[0])
    models = {}
    for number, stage in enumerate(STAGES[:2], start=1):
        epochs = sum(arguments.epochs[number:])
        print(f"{stage} for {epochs} epochs more", flush=True)
        models[f"{stage}_control"] = training.load(saved(name, stage))
        run.fit(f"{stage}_control", models[f"{stage}_control"], epochs)
    return run.result(models)


def saved(name: str, stage: str) -> pathlib.Path:
    """Say where the first seed's model of a stage is kept."""
    return environment.ROOT / "build" / "models" / f"{name}_{stage}.keras"


def summary(seeds: dict[str, dict]) -> dict:
    """Average mean IoU over the seeds; range is the largest minus the smallest."""
    values = collections.defaultdict(list)
    for seed in seeds.values():
        for name, figures in seed["test"].items():
            values[name].append(figures["mean_iou"])
    return {
        name: {
            "mean_iou": float(np.mean(found)),
            "range": float(np.ptp(found)),
            "seeds": len(found),
        }
        for name, found in values.items()
    }


def out_of_order(seeds: dict[str, dict]) -> list[str]:
    """Say where a finer variant is not better, seed by seed and beyond their range."""
    problems = []
    for coarse, fine in itertools.pairwise(STAGES):
        problems += [
            f"seed {seed}: {fine} is not above {coarse}"
            for seed, result in seeds.items()
            if result["test"][fine]["mean_iou"] <= result["test"][coarse]["mean_iou"]
        ]
        rows = summary(seeds)
        gain = rows[fine]["mean_iou"] - rows[coarse]["mean_iou"]
        spread = max(rows[fine]["range"], rows[coarse]["range"])
        if gain <= spread:
            problems.append(
                f"{fine} is above {coarse} by {gain:.4f}, no more than the seeds "
                f"differ ({spread:.4f})"
            )
    return problems


def source() -> str:
    """Hash the code the figures come from."""
    return environment.source_hash(*training.DEPENDS_ON, "tools/reproduce.py")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and score 32s, 16s and 8s.")
    parser.add_argument("--dataset", default="synthetic_pets", help="as in pets.load")
    parser.add_argument("--task", default="trimap", choices=pets.CLASS_NAMES)
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument(
        "--epochs", type=int, nargs=3, default=(2, 2, 14), help="of the three stages"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument(
        "--frozen", action="store_true", help="train the heads alone, on a CPU's time"
    )
    parser.add_argument("--no-control", dest="control", action="store_false")
    parser.add_argument(
        "--precision",
        default="float32",
        help="Keras's dtype policy, mixed_bfloat16 say",
    )
    parser.add_argument("--resume", action="store_true", help="keep the seeds done")
    parser.add_argument(
        "--out", help="results/OUT.json; named after the data if absent"
    )
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    keras.config.set_dtype_policy(arguments.precision)
    name = arguments.out or f"{pathlib.Path(arguments.dataset).name}_{arguments.task}"
    print(environment.prepare(arguments.seeds[0]), flush=True)
    figures = {
        "dataset": pathlib.Path(arguments.dataset).name,
        "data": describe(arguments.dataset),
        "task": arguments.task,
        "image_size": arguments.image_size,
        "epochs": list(arguments.epochs),
        "batch_size": arguments.batch_size,
        "precision": arguments.precision,
        "recipe": "heads on a frozen backbone" if arguments.frozen else RECIPE,
        "source": source(),
        "seeds": {},
    }
    if arguments.resume:
        figures["seeds"] = finished(name, figures)
    for seed in arguments.seeds:
        if str(seed) not in figures["seeds"]:
            figures["seeds"][str(seed)] = one_seed(arguments, seed, name)
            keras.backend.clear_session()
        figures["summary"] = summary(figures["seeds"])
        print(environment.write_results(name, figures), flush=True)
    first = figures["seeds"][str(arguments.seeds[0])]
    if arguments.control and "32s_control" not in first["test"]:
        for key, part in control(arguments, name).items():
            first[key] |= part
        figures["summary"] = summary(figures["seeds"])
        print(environment.write_results(name, figures), flush=True)
    problems = out_of_order(figures["seeds"]) if arguments.task == "trimap" else []
    if problems:
        print(f"error: {'; '.join(problems)}.", file=sys.stderr)
    return 1 if problems else 0


def finished(name: str, wanted: dict) -> dict:
    """Return the seeds an earlier run of the same settings and code has done."""
    try:
        earlier = environment.results(name)
    except FileNotFoundError:
        return {}
    settings = [key for key in wanted if key != "seeds"]
    if any(earlier.get(key) != wanted[key] for key in settings):
        sys.exit(
            f"error: results/{name}.json comes from other settings or code; run "
            "without --resume to replace it."
        )
    return earlier["seeds"]


if __name__ == "__main__":
    sys.exit(main())
