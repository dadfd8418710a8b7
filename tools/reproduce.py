"""Reproduce the tables: 32s, then 16s from it, then 8s, and what skips alone buy.

    python -m tools.reproduce --dataset ../shared/oxford-pets-sample --task trimap

For each seed the three stages are trained on trainval, each grown from the one before;
then the official test list is scored, once. Last comes a control: the first seed's 32s
and 16s go on training for as many steps as the 8s had in all. What the 8s is ahead of
them by then is what skips buy.

Results go to results/NAME.json, after each seed; models to build/models/NAME/, those of
the first seed also as 32s.keras, 16s.keras and 8s.keras, which know size and classes.
Stopped at any moment, the same command with --resume goes on, and ends with the weights
it would have had. With a GPU everything is trained, at 224 px; without one, blocks 3 to
5 and a slim head, at 160 px.
"""

import argparse
import collections
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import sys

import keras
import numpy as np
import skimage.data
import tensorflow as tf

from tools.results import probe, recipe
from utils import environment, networks, pets, plots

ANEW = "run without --resume to start anew."


def describe(dataset: str) -> tuple[str, str]:
    """Say what the data is, `500 photographs, 3 of 37 breeds` say, and hash it."""
    breeds, digest = [], hashlib.sha256()
    for split in ("trainval", "test"):
        breeds += [int(one["label"]) for one in pets.load_examples(dataset, split)]
        for images, masks in pets.load(dataset, split, image_size=8, batch_size=100):
            digest.update(images.numpy().tobytes() + masks.numpy().tobytes())
    what = f"photographs, {len(set(breeds))} of 37 breeds"
    what = "drawn pictures" if dataset == "synthetic_pets" else what
    return f"{len(breeds)} {what}", digest.hexdigest()[:16]


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


def table(figures: dict) -> str:
    """Return the rows people compare: mean IoU, its range over seeds, minutes."""
    lines = ["network       mean IoU  range  seeds  minutes"]
    first = next(iter(figures["seeds"].values()))  # it has the controls too
    for name, row in figures["summary"].items():
        scores = f"{row['mean_iou']:8.4f}  {row['range']:.3f}  {row['seeds']:5}"
        minutes = first["seconds"][name] / 60
        lines.append(f"{name:12}  {scores}  {minutes:7.1f}")
    return "\n".join(lines)


def draw(models: dict[str, keras.Model], name: str, arguments) -> pathlib.Path:
    """Draw scikit-image's cat and its masks by the three networks."""
    names = pets.CLASS_NAMES[arguments.task]
    cat = np.float32(skimage.data.chelsea())  # (300, 451, 3)
    size = (arguments.image_size, round(arguments.image_size * 451 / 300))
    small = tf.image.resize(cat[None], size, antialias=True)  # (1, H, W, 3)
    figure, axes = plots.grid(1, 1 + len(models), size=2.6, aspect=300 / 451)
    axes[0, 0].imshow(plots.photo(cat))
    axes[0, 0].set_title("photo")
    for axis, (stage, model) in zip(axes[0, 1:], models.items(), strict=True):
        logits = tf.image.resize(model(small), cat.shape[:2])[0]  # (300, 451, C)
        axis.imshow(plots.overlay(cat, np.argmax(logits, -1), names=names))
        axis.set_title(f"FCN-{stage}")
    path = environment.ROOT / "notebooks" / "figures" / f"{name}.jpg"
    with environment.replacing(path) as file:
        figure.savefig(file, dpi=110, bbox_inches="tight", pil_kwargs={"quality": 85})
    return path


def out_of_order(seeds: dict[str, dict]) -> list[str]:
    """Say where a finer variant is not better, seed by seed and beyond their range."""
    problems, rows = [], summary(seeds)
    for coarse, fine in itertools.pairwise(recipe.STAGES):
        for seed, result in seeds.items():
            if result["test"][fine]["mean_iou"] <= result["test"][coarse]["mean_iou"]:
                problems.append(f"seed {seed}: {fine} is not above {coarse}")
        gain = rows[fine]["mean_iou"] - rows[coarse]["mean_iou"]
        spread = max(rows[fine]["range"], rows[coarse]["range"])
        if gain <= spread:
            little = f"by {gain:.4f}, no more than the seeds differ ({spread:.4f})"
            problems.append(f"{fine} is above {coarse} {little}")
    return problems


def check_out(parser: argparse.ArgumentParser, name: str, key: str) -> None:
    """End with a sentence when results/`name`.json cannot be a result with `key`."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        parser.error(f"--out is {name}: give a plain name, letters and digits.")
    taken = environment.ROOT / "results" / f"{name}.json"
    try:
        good = not taken.is_file() or key in read_json(taken)
    except ValueError:
        good = False
    if not good:
        parser.error(f"--out: {taken.name} holds something else; give another name.")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and score 32s, 16s and 8s.")
    option = parser.add_argument
    precision = environment.precision_policy()
    option("--dataset", default="synthetic_pets", help="as in pets.load")
    option("--task", default="trimap", choices=pets.CLASS_NAMES)
    option("--image-size", type=int, default=224 if environment.on_gpu() else 160)
    option("--epochs", type=int, nargs=3, default=[2, 2, 14], help="of the stages")
    option("--batch-size", type=int, default=8)
    option("--seeds", type=int, nargs="+", default=(0, 1, 2))
    usual = [] if environment.on_gpu() else [1, 2]
    words = (
        "blocks of VGG16 that do not learn; of all five, the heads are trained alone"
    )
    option("--freeze", type=int, nargs="*", default=usual, help=words)
    option("--frozen", action="store_const", dest="freeze", const=recipe.WHOLE)
    option("--no-control", dest="control", action="store_false")
    option("--precision", default=precision, choices=environment.POLICIES)
    option("--resume", action="store_true", help="go on where it stopped")
    option("--out", help="NAME; of data and task unless given")
    arguments = parser.parse_args()
    if not set(arguments.freeze) <= set(recipe.WHOLE):
        parser.error("--freeze: VGG16 has the blocks 1 to 5.")
    limits = {"epochs": 1, "seeds": 0, "image_size": 1, "batch_size": 1}
    for name, least in limits.items():
        values = np.ravel(getattr(arguments, name))
        if values.min() < least or values.max() > 10_000_000:
            name = name.replace("_", "-")
            parser.error(f"--{name}: give whole numbers from {least} to 10000000.")
    if arguments.out:
        check_out(parser, arguments.out, "seeds")
    return arguments


def settings(arguments: argparse.Namespace, name: str) -> dict:
    """Return what decides the figures: equal settings, equal figures."""
    data, pictures = describe(arguments.dataset)
    whole = set(arguments.freeze) == set(recipe.WHOLE)
    given = ("task", "image_size", "epochs", "freeze", "batch_size", "precision")
    found = {
        "device": environment.device_name(),
        "versions": environment.versions(),
        "dataset": pathlib.Path(arguments.dataset).name,
        "data": data,
        "pictures": pictures,
        **{one: getattr(arguments, one) for one in given},
        "network": recipe.LARGE if environment.on_gpu() else recipe.SLIM,
        "recipe": "heads on a frozen backbone" if whole else recipe.RECIPE,
    }
    return found | {"probe": probe.of(name, found)}


def read_json(path: pathlib.Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged; {ANEW}") from error


def same(before: dict, now: dict) -> bool:
    """Tell whether two settings promise equal figures."""
    probes = [one.get("probe", {}) for one in (before, now)]
    rest = [{**one, "probe": None} for one in (before, now)]
    return rest[0] == rest[1] and not probe.differences(*probes)


def prepared(folder: pathlib.Path, wanted: dict, resume: bool) -> None:
    """Make the folder of a run; going on, see that it is the same run."""
    file = folder / "settings.json"
    if not resume and folder.exists():
        # An earlier run is put aside, and goes only when the next one takes its place.
        aside = folder.with_name(f"{folder.name}.before")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    elif folder.exists() and not (file.is_file() and same(read_json(file), wanted)):
        raise ValueError(
            f"{folder.relative_to(environment.ROOT)} holds a run of other settings, "
            f"data, code, versions or device; {ANEW}"
        )
    environment.write_json(file, wanted)


def publish(folder: pathlib.Path, first: int, arguments: argparse.Namespace) -> None:
    """Write the first seed's networks once more, as files that know how to be used."""
    names = pets.CLASS_NAMES[arguments.task]
    for stage in recipe.STAGES:
        model = networks.load_model(folder / f"seed{first}" / f"{stage}.keras")
        model = networks.remember(model, arguments.image_size, names)
        networks.save_model(model, folder / f"{stage}.keras")


def reproduce(arguments: argparse.Namespace) -> list[str]:
    """Do it all; return what is out of order."""
    keras.config.set_dtype_policy(arguments.precision)
    print(environment.prepare(arguments.seeds[0], deterministic=True), flush=True)
    name = arguments.out or f"{pathlib.Path(arguments.dataset).name}_{arguments.task}"
    wanted = settings(arguments, name)
    folder = environment.ROOT / "build" / "models" / name
    prepared(folder, wanted, arguments.resume)
    figures = {**wanted, "seeds": {}}

    def note(seed: int, result: dict) -> None:
        environment.write_json(folder / f"seed{seed}" / "result.json", result)
        figures["seeds"][str(seed)] = result
        figures["summary"] = summary(figures["seeds"])
        print(f"results/{environment.write_results(name, figures).name}", flush=True)

    first = arguments.seeds[0]
    for seed in arguments.seeds:
        done = folder / f"seed{seed}" / "result.json"
        if done.is_file():
            note(seed, read_json(done))
            continue
        run = recipe.Run(arguments, seed, done.parent)
        models = recipe.stages(run)
        if seed == first and arguments.dataset != "synthetic_pets":
            print(draw(models, name, arguments).name, flush=True)
        note(seed, run.result(models))
    result = figures["seeds"][str(first)]
    if arguments.control and "32s_control" not in result["test"]:
        run = recipe.Run(arguments, first, folder / f"seed{first}")
        more = run.result(recipe.controls(run))
        note(first, {key: result[key] | more[key] for key in more})
    publish(folder, first, arguments)
    print(table(figures))
    return out_of_order(figures["seeds"]) if arguments.task == "trimap" else []


def main() -> int:
    try:
        problems = reproduce(parsed())
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command with --resume goes on.", file=sys.stderr)
        return 130
    if problems:
        print(f"error: {'; '.join(problems)}.", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
