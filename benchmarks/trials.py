"""Try recipes on a part of the trainval photos, several at a time on one GPU.

    KERAS_BACKEND=jax python -m benchmarks.trials --pack build/gpu

A trial is the base recipe with a change or two, trained on three quarters of the
trainval photos and scored on the last quarter; two folds, so two seeds. No test photo
is looked at. Each run is a process of its own, and its row is in OUT when it ends;
started again, the command goes on with what is missing. It needs what `benchmarks.gpu`
needs, and the two files of `tools.results.pack`. results/recipe.json is one such OUT.
"""

import argparse
import concurrent.futures
import functools
import json
import pathlib
import re
import sys
import threading
import time

import keras
import numpy as np

from benchmarks import gpu
from utils import batching, environment, fcn, training, vgg16

BASE = {  # at once: three outputs in one network
    "way": "at_once",
    "sides": ((18, 224),),  # epochs at each size of the photos
    "batch": 8,
    "learning_rate": 2e-3,
    "backbone": 0.1,  # its rate over the heads', or one for each block
    "weight_decay": 1e-4,
    "dice": 1.0,
    "dropout": 0.5,
    "frozen": (),  # blocks of the backbone
    "average": 0.0,  # how much of the mean of the weights a step keeps
    "zoom": (batching.MIN_ZOOM, batching.MAX_ZOOM),
    "light": (batching.MAX_BRIGHTNESS, batching.MAX_CONTRAST),
}
GENTLE = {
    "learning_rate": 1e-3,
    "backbone": (0.03, 0.06, 0.1, 0.2, 0.4),
    "average": 0.99,
}
TRIALS = {
    "base": {},
    "staged": {"way": "staged"},
    "8s alone": {"way": "8s"},
    "36 epochs": {"sides": ((36, 224),)},
    "320 px": {"sides": ((18, 320),)},
    "448 px": {"sides": ((18, 448),)},
    "160 px": {"sides": ((18, 160),)},
    "growing to 320": {"sides": ((6, 160), (6, 224), (6, 320))},
    "growing to 224": {"sides": ((6, 112), (6, 160), (6, 224))},
    "half the rate": {"learning_rate": 1e-3},
    "twice the rate": {"learning_rate": 4e-3},
    "backbone at .3": {"backbone": 0.3},
    "by depth": {"backbone": GENTLE["backbone"]},
    "no dropout": {"dropout": 0.0},
    "averaged": {"average": 0.99},
    "stronger zoom": {"zoom": (0.5, 2.0)},
    "weaker zoom": {"zoom": (0.9, 1.2)},
    "stronger light": {"light": (50.0, 0.4)},
    "no Dice": {"dice": 0.0},
    "decay .05": {"weight_decay": 0.05},
    "batches of 4": {"batch": 4},
    "batches of 16": {"batch": 16},
    "two blocks frozen": {"frozen": (1, 2)},
    "three blocks frozen": {"frozen": (1, 2, 3)},
    # Chosen after the trials above.
    "320 px, staged": {"way": "staged", "sides": ((18, 320),)},
    "320 px, 36 epochs": {"sides": ((36, 320),)},
    "320 px, gentle": {"sides": ((18, 320),), "weight_decay": 0.05} | GENTLE,
    "320 px, 36 epochs, gentle": {"sides": ((36, 320),)} | GENTLE,
    # Not run yet.
    "320 px, three blocks frozen": {"sides": ((18, 320),), "frozen": (1, 2, 3)},
    "320 px, 36 epochs, three blocks frozen, averaged": {
        "sides": ((36, 320),),
        "frozen": (1, 2, 3),
        "average": 0.99,
    },
    "staged, three blocks frozen": {"way": "staged", "frozen": (1, 2, 3)},
}
FOLDS = (0, 1)  # of four


class AdamW(training.AdamW):
    """The recipe's optimiser, with a rate for each block where there are several."""

    def build(self, variables: list) -> None:
        """Find each weight's block."""
        super().build(variables)
        if isinstance(self.backbone_factor, tuple | list):
            blocks = [re.search(r"(?:^|/)block(\d)_", v.path) for v in variables]
            factors = self.backbone_factor
            self._factors = [factors[int(b[1]) - 1] if b else 1.0 for b in blocks]


class Growing(gpu.OnDevice):
    """Photos whose size grows with the epochs; the same draws at every size."""

    def __init__(self, parts: list[tuple], **options):
        super().__init__(*parts[0][1:], **options)
        self.later = [gpu.OnDevice(*pair, **options) for _, *pair in parts[1:]]
        self.ends = np.cumsum([epochs for epochs, *_ in parts[:-1]])

    def made(self, epoch: int, batch: int):
        """Return a batch of any epoch, at that epoch's size."""
        number = int((epoch >= self.ends).sum())
        made = self.later[number - 1].made if number else super().made
        return made(epoch, batch)


def folded(folder: pathlib.Path, side: int, fold: int) -> dict[str, tuple]:
    """Return images and masks, `train` and `validation`, of the trainval photos."""
    images, masks = gpu.photographs(folder, side)["train"]
    apart = np.random.default_rng(37).permutation(len(images)) % 4 == fold
    chosen = {"train": ~apart, "validation": apart}
    return {name: (images[at], masks[at]) for name, at in chosen.items()}


def scores(model: keras.Model, pair: tuple) -> dict:
    """Return the mean IoU and that of each class, for each output."""
    found = gpu.evaluated(model, *pair)
    several = found if isinstance(model.output, dict) else {"s8": found}
    return {n: {k: one[k] for k in ("mean_iou", "iou")} for n, one in several.items()}


def run(name: str, fold: int, folder: pathlib.Path, tiny: bool) -> dict:
    """Do one trial on one fold, in a process of its own; return its row.

    It leaves the recipe's settings changed.
    """
    task, started = BASE | TRIALS[name], time.perf_counter()
    keras.config.set_dtype_policy("mixed_bfloat16")
    batching.MIN_ZOOM, batching.MAX_ZOOM = task["zoom"]
    batching.MAX_BRIGHTNESS, batching.MAX_CONTRAST = task["light"]
    average = {"use_ema": True, "ema_momentum": task["average"]}
    training.AdamW = functools.partial(AdamW, **average if task["average"] else {})
    sides = ((1, 32), (1, 48)) if tiny else task["sides"]
    # All are scored at 224 and 320 px as well, whatever they were trained at.
    wanted = {side for _, side in sides} | (set() if tiny else {224, 320})
    data = {side: folded(folder, side, fold) for side in sorted(wanted)}
    parts = {task["way"]: sides}
    if task["way"] == "staged":
        last = sides[-1][1]
        parts = {n: ((1 if tiny else e, last),) for n, e in gpu.STAGES.items()}
    model, losses, trained = None, [], time.perf_counter()
    for number, (stage, part) in enumerate(parts.items()):
        seed = 100 * fold + number
        keras.utils.set_random_seed(seed)
        build = functools.partial(gpu.build, stage, "slim", folder, task["dropout"])
        model = fcn.grow(model) if model else build()
        training.freeze(model, task["frozen"])
        count = len(data[part[0][1]]["train"][0])
        whole = count // task["batch"] * task["batch"]  # another size is compiled anew
        pairs = [(e, *(a[:whole] for a in data[side]["train"])) for e, side in part]
        options = {"shuffle": True, "augment": True, "seed": seed}
        history = training.fit(
            model,
            Growing(pairs, batch_size=task["batch"], **options),
            epochs=sum(epochs for epochs, _ in part),
            learning_rate=task["learning_rate"],
            backbone_factor=task["backbone"],
            weight_decay=task["weight_decay"],
            dice_weight=task["dice"],
            seed=seed,
            verbose=0,
        )
        losses += history["loss"]
    trained = time.perf_counter() - trained
    return {
        "trial": name,
        "fold": fold,
        "changes": TRIALS[name],
        "scores": {str(n): scores(model, one["validation"]) for n, one in data.items()},
        "loss": losses,
        "training_seconds": trained,
        "seconds": time.perf_counter() - started,
    }


def alone(name: str, fold: int, arguments: argparse.Namespace) -> dict | None:
    """Do a trial in a process of its own; None where it failed, which it has said."""
    words = [name, "--fold", str(fold), "--pack", str(arguments.pack)]
    words += ["--rehearse"] if arguments.rehearse else []
    command = [sys.executable, "-m", "benchmarks.trials", "--trial", *words]
    return gpu.printed(f"{name}, fold {fold}:", command, limit=600)


def kept(file: pathlib.Path, about: dict) -> dict[tuple[str, int], dict]:
    """Return the rows that are done; refuse those of another machine or base."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        rows = {(row["trial"], row["fold"]): row for row in found.pop("trials")}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged; give another --out.") from None
    if found != json.loads(json.dumps(about)):  # tuples are lists there
        raise ValueError(f"{file} is of another machine or recipe; give another --out.")
    return rows


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--pack", type=pathlib.Path, default=environment.ROOT / "build" / "gpu")
    option("--out", type=pathlib.Path, help="default: build/trials.json")
    option("--at-a-time", type=int, default=5)
    option("--seconds", type=float, default=330, help="then no trial begins")
    option("--rehearse", action="store_true", help="tiny, on a CPU")
    option("--trial", choices=TRIALS, help="this one alone; prints its row")
    option("--fold", type=int, default=0, choices=range(4))
    arguments = parser.parse_args()
    if arguments.at_a_time < 1:
        parser.error("--at-a-time: give a whole number from 1 up.")
    name = "trials_rehearsal.json" if arguments.rehearse else "trials.json"
    arguments.out = arguments.out or environment.ROOT / "build" / name
    return arguments


def main() -> int:
    arguments = parsed()
    try:
        if not (environment.on_gpu() or arguments.rehearse):
            raise ValueError("no GPU is seen; --rehearse tries one on a CPU.")
        if arguments.rehearse:
            vgg16.BLOCKS, gpu.MOST = gpu.TINY, 48
        if arguments.trial:
            where = arguments.pack, arguments.rehearse
            print(json.dumps(run(arguments.trial, arguments.fold, *where)))
            return 0
        return tried(arguments)
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def tried(arguments: argparse.Namespace) -> int:
    """Do all trials that OUT lacks; return 2 where one failed."""
    about = {
        "command": "python -m benchmarks.trials",
        "device": environment.device_name(),
        "backend": keras.backend.backend(),
        "versions": environment.versions(),
        "rehearsal": arguments.rehearse,
        "base": BASE,
    }
    rows = kept(arguments.out, about)
    # What is wrong with the files is said before the first trial begins.
    sides = (side for one in TRIALS.values() for _, side in one.get("sides", ()))
    gpu.photographs(arguments.pack, 48 if arguments.rehearse else max(sides))
    gpu.backbone_weights(arguments.pack)
    wanted = [(name, f) for f in FOLDS for name in TRIALS if (name, f) not in rows]
    started, writing, failed, late = time.perf_counter(), threading.Lock(), [], []

    def one(name: str, fold: int) -> None:
        if time.perf_counter() - started > arguments.seconds or len(failed) > 5:
            late.append(name)
            return
        row = alone(name, fold, arguments)
        if row is None:
            failed.append(name)
            return
        found = {s: round(of["s8"]["mean_iou"], 4) for s, of in row["scores"].items()}
        with writing:
            rows[name, fold] = row
            content = about | {"trials": list(rows.values())}
            environment.write_json(arguments.out, content)
            print(f"{name}, fold {fold}: {found}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.at_a_time) as pool:
        list(pool.map(lambda each: one(*each), wanted))
    if late:
        print(f"{len(late)} not begun after {arguments.seconds:.0f} s; start again.")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
