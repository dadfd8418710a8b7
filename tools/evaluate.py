"""Evaluate trained networks on photographs they have not seen.

    python -m tools.evaluate --model build/models/NAME/seed0/8s.keras \\
        --dataset path/to/oxford-iiit-pet --split test --task trimap

Of each photo a few confusion matrices are kept, and no pixels: at the network's size,
at the photo's own, near the outline, under other treatments of the border. Every figure
is a score of sums of them. Several networks are compared on the same photos, each with
the one named before it. With --out the figures go to results/NAME.json.
"""

import argparse
import functools
import itertools
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data.synthetic_pets import drawing
from tools import reproduce
from tools.results import made
from tools.results import probe as probes
from utils import environment, metrics, networks, pet_records, pets, predict

WIDTHS = (1, 2, 4, 8, 16)  # of the bands along the outline, in the network's pixels
EDGES = (1, 2, 4, 8, 16, 32, 10_000)  # of the ranges of distance from it
RANGES = tuple(itertools.pairwise(EDGES))
NEAR = 1 / 40  # of the side: wrong pixels no farther off are the outline's fault
BATCH = 20
WORST = 10


def border_treatments(task: str, trimap: np.ndarray, logits: np.ndarray) -> dict:
    """Return (mask, prediction), 0 background and 1 pet, by what border counts as.

    The trimap (H, W) is as in the file: 1 pet, 2 background, 3 border; logits are
    (H, W, C) of the task's classes.
    """
    void = np.select([trimap == 1, trimap == 2], [1, 0], pets.VOID)
    as_pet = np.select([trimap == 2, trimap > 0], [0, 1], pets.VOID)
    background = pets.CLASS_NAMES[task].index("background")
    pet = pet_or_border = logits.argmax(-1) != background
    if task == "trimap":  # where border is not asked for, it cannot be the answer
        pet = logits[..., 0] > logits[..., 1]
    return {
        "border_void": (void, pet.astype(int)),
        "border_as_pet": (as_pet, pet_or_border.astype(int)),
    }


def kind_of_error(names, mask, predicted, distance) -> str:
    """Say which kind more wrong pixels of a photo are of than of any other."""
    background = names.index("background")
    wrong = (mask != predicted) & (mask != pets.VOID)
    if not wrong.any():
        return "none"
    far = wrong & (distance > NEAR * max(mask.shape))
    counts = {
        "outline": np.sum(wrong & ~far),
        "pet missed": np.sum(far & (predicted == background)),
        "pet imagined": np.sum(far & (mask == background)),
    }
    counts["taken for another class"] = np.sum(wrong) - sum(counts.values())
    return max(counts, key=counts.get)


def wrong_by_distance(mask, predicted, distance) -> np.ndarray:
    """Return (2, ranges): wrong pixels, and all, by distance from the outline."""
    valid = mask != pets.VOID
    chosen = (valid & (predicted != mask), valid)
    return np.stack([np.histogram(distance[pixels], EDGES)[0] for pixels in chosen])


def shares(wrong_and_all: np.ndarray) -> list[float]:
    """Return the share of wrong pixels in each range, 0 where there are none."""
    return (wrong_and_all[0] / np.maximum(wrong_and_all[1], 1)).tolist()


def counted(task: str, photo: dict, logits: np.ndarray) -> dict:
    """Return what is kept of one of `photographs`, given its logits (S, S, C)."""
    names = pets.CLASS_NAMES[task]
    mask, distance = photo["small_mask"], photo["distance"]
    predicted = logits.argmax(-1)
    enlarged = tf.image.resize(logits, photo["mask"].shape).numpy()
    pairs = border_treatments(task, photo["small_trimap"], logits) | {
        "network": (mask, predicted),
        "photo": (photo["mask"], enlarged.argmax(-1)),
    }
    for width in WIDTHS:
        band = np.where(distance <= width, mask, pets.VOID)
        pairs[f"band_{width}"] = band, predicted
    found = {
        name: metrics.confusion_matrix(*pair, len(names)).numpy()
        for name, pair in pairs.items()
    }
    found["error"] = kind_of_error(names, mask, predicted, distance)
    found["by_distance"] = wrong_by_distance(mask, predicted, distance)
    return found


def percentiles(values: np.ndarray) -> list[float]:
    """Return the bounds of the 95 % interval of bootstrapped scores."""
    return np.nanpercentile(values, (2.5, 97.5)).tolist()


def drawn(matrices: np.ndarray) -> np.ndarray:
    """Return the mean IoU of each of 2,000 bootstrapped sets of photos."""
    return metrics.scores(metrics.bootstrap(matrices))["mean_iou"].numpy()


def as_json(confusion: np.ndarray) -> dict:
    """Return the scores as JSON holds them: what is not defined is null."""
    return {
        name: np.where(np.isnan(values), None, values).tolist()
        for name, values in metrics.scores(confusion).items()
    }


def of_true_classes(confusion: np.ndarray) -> np.ndarray:
    """Return mean IoU over the classes that the masks hold.

    A breed is cats or dogs; a few pixels called the other animal would give that one an
    IoU of zero, a third of the group's mean. Their harm shows in the true class.
    """
    present = confusion.sum(-1) > 0
    iou = np.where(present, metrics.scores(confusion)["iou"], 0)
    return iou.sum(-1) / present.sum(-1)


def groups(known: list[dict]) -> dict[str, dict[str, np.ndarray]]:
    """Sort photos by breed, by the pet's size and by whether the frame cuts it."""
    names = ("share", "breed", "cut")
    share, breeds, cut = (np.array([one[name] for one in known]) for name in names)
    low, high = np.quantile(share, (1 / 3, 2 / 3))
    return {
        "breed": {breed: breeds == breed for breed in sorted(set(breeds))},
        "pet's share of the photo": {
            f"below {low:.0%}": share < low,
            f"{low:.0%} to {high:.0%}": (share >= low) & (share < high),
            f"from {high:.0%}": share >= high,
        },
        "frame": {"cuts the pet": cut, "does not": ~cut},
    }


def group(matrices: np.ndarray) -> dict:
    """Score the photos of one group."""
    return {
        "photos": len(matrices),
        "mean_iou": float(of_true_classes(matrices.sum(0))),
        "interval": percentiles(of_true_classes(metrics.bootstrap(matrices))),
    }


def treatment(matrices: np.ndarray) -> dict:
    """Score the pet, class 1, under one treatment of the border."""
    whole, each, many = (
        metrics.scores(x)["iou"].numpy()[..., 1]
        for x in (matrices.sum(0), matrices, metrics.bootstrap(matrices))
    )
    return {
        "pet_iou": float(whole),
        "interval": percentiles(many),
        "per_photo_pet_iou": float(np.nanmean(each)),
    }


def figures(rows: list[dict], known: list[dict], task: str) -> dict:
    """Work out everything that is said of one network, from what `counted` kept."""
    matrices = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    network, errors = matrices["network"], matrices["error"].tolist()
    per_photo = metrics.scores(network)["mean_iou"].numpy()
    # What a network would score that calls everything background.
    nothing = np.zeros(network.shape[1:], np.int64)
    nothing[:, pets.CLASS_NAMES[task].index("background")] = network.sum((0, 2))
    floor = as_json(nothing)
    return {
        "network_size": as_json(network.sum(0)),
        "interval": percentiles(drawn(network)),
        "photo_size": as_json(matrices["photo"].sum(0)),
        "photo_interval": percentiles(drawn(matrices["photo"])),
        "per_photo_mean_iou": float(per_photo.mean()),
        "floor": {name: floor[name] for name in ("pixel_accuracy", "mean_iou")},
        "treatments": {
            name: treatment(matrices[name]) for name in ("border_void", "border_as_pet")
        },
        "bands": {
            width: as_json(matrices[f"band_{width}"].sum(0))["mean_iou"]
            for width in WIDTHS
        },
        "wrong_by_distance": shares(matrices["by_distance"].sum(0)),
        "groups": {
            title: {
                name: group(network[chosen])
                for name, chosen in members.items()
                if chosen.any()
            }
            for title, members in groups(known).items()
        },
        "errors": {kind: errors.count(kind) for kind in sorted(set(errors))},
        "worst": [
            {
                "photo": known[index]["file_name"],
                "mean_iou": float(per_photo[index]),
                "error": errors[index],
            }
            for index in np.argsort(per_photo)[:WORST]
        ],
    }


def photographs(arguments: argparse.Namespace, image_size: int):
    """Yield what is known of each photo, at its own size and at the network's."""
    dataset, task = arguments.dataset, arguments.task
    table = pets.class_table(task)
    furs = dataset == "synthetic_pets"  # eight of them, not Oxford's breeds
    breeds = drawing.BREEDS if furs else pets.LABEL_NAMES["breed"]
    for one in pets.load_examples(dataset, arguments.split, task=task):
        image, trimap = pet_records.resize(one["image"], one["trimap"], image_size)
        mask = pets.to_classes(trimap[None], one["species"][None], table)[0].numpy()
        pet = np.isin(one["trimap"].numpy(), (1, 3))
        yield {
            "file_name": one["file_name"].numpy().decode(),
            "breed": breeds[int(one["label"])],
            "share": pet.mean(),
            "cut": any(edge.any() for edge in (pet[0], pet[-1], pet[:, 0], pet[:, -1])),
            "mask": one["mask"].numpy(),
            "small": tf.cast(image, tf.float32),
            "small_mask": mask,
            "small_trimap": trimap.numpy(),
            "distance": metrics.outline_distance(mask),
        }


def evaluate(models: dict[str, keras.Model], arguments, image_size: int) -> dict:
    """Show every photo to every network once; return what is said of each network.

    `gains` are the intervals of the difference between each network and the one before.
    """
    task, known = arguments.task, []
    rows = {name: [] for name in models}
    # As one graph, like `training.evaluate`: layer by layer, bfloat16 rounds otherwise.
    graphs = {
        name: tf.function(functools.partial(model, training=False))
        for name, model in models.items()
    }
    photos = photographs(arguments, image_size)
    photos = iter(tqdm(photos, unit=" photos", disable=not sys.stderr.isatty()))
    while batch := list(itertools.islice(photos, BATCH)):
        images = tf.stack([photo["small"] for photo in batch])
        for name, graph in graphs.items():
            logits = graph(images).numpy()  # (B, S, S, C)
            rows[name] += map(counted, itertools.repeat(task), batch, logits)
        kept = ("file_name", "breed", "share", "cut")
        known += [{key: photo[key] for key in kept} for photo in batch]
    draws = {n: drawn(np.stack([row["network"] for row in rows[n]])) for n in rows}
    return {
        "photos": len(known),
        "networks": {name: figures(rows[name], known, task) for name in models},
        "gains": {
            f"{after} - {before}": percentiles(draws[after] - draws[before])
            for before, after in itertools.pairwise(models)
        },
    }


def probe(table: dict) -> dict[str, str]:
    """Evaluate a made network on made photos, as `tools.results.probe` asks."""
    arguments = argparse.Namespace(split="trainval", task=table["task"])
    with made.data() as arguments.dataset:
        return made.flat(evaluate({"colours": made.colours()}, arguments, 48))


def table(found: dict) -> str:
    """Return the rows people compare."""
    lines = [
        f"{found['photos']} photos, {found['data']}, task {found['task']}, "
        f"{found['image_size']} px; in brackets 95 % intervals over the photos",
        "network       mean IoU                 own size  accuracy  "
        "pet, border void  border as pet",
    ]
    for name, row in found["networks"].items():
        small, (low, high) = row["network_size"], row["interval"]
        void, as_pet = (one["pet_iou"] for one in row["treatments"].values())
        lines.append(
            f"{name:12}  {small['mean_iou']:8.4f} ({low:.3f} to {high:.3f})  "
            f"{row['photo_size']['mean_iou']:8.4f}  {small['pixel_accuracy']:8.4f}"
            f"  {void:16.4f}  {as_pet:13.4f}"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate trained networks.")
    option = parser.add_argument
    option("--model", nargs="+", required=True, help=".keras files")
    option("--dataset", default="synthetic_pets", help="as in pets.load")
    option("--split", default="test", choices=pet_records.SPLITS)
    option("--task", default="trimap", choices=pets.CLASS_NAMES)
    option("--image-size", type=int, help="unless the network knows it")
    option("--out", metavar="NAME", help="write results/NAME.json")
    arguments = parser.parse_args()
    if arguments.image_size is not None and arguments.image_size < 1:
        parser.error("--image-size: give a whole number from 1 up.")
    if arguments.out:
        reproduce.check_out(parser, arguments.out, "networks")
    return arguments


def loaded(arguments: argparse.Namespace) -> tuple[dict[str, keras.Model], int]:
    """Read the networks, and see that they fit the task and each other."""
    names, models, sizes = pets.CLASS_NAMES[arguments.task], {}, set()
    for path in map(pathlib.Path, arguments.model):
        model = predict.load_network(path)
        if path.stem in models:
            raise ValueError(f"two files are called {path.stem}; rename one.")
        classes, known = model.output.shape[-1], networks.trained_on(model)
        if classes != len(names) or (known and known.class_names != names):
            tells = ", ".join(known.class_names) if known else f"{classes} classes"
            raise ValueError(
                f"{path} tells apart {tells}, but the task {arguments.task} is "
                f"{', '.join(names)}; name the task it was trained for."
            )
        sizes |= {known.image_size} if known else set()
        models[path.stem] = model
    sizes = {arguments.image_size} if arguments.image_size else sizes
    if len(sizes) != 1:
        reason = "do not agree on a size" if sizes else "do not know their size"
        raise ValueError(f"the networks {reason}; give --image-size.")
    return models, sizes.pop()


def main() -> int:
    arguments = parsed()
    dataset = pathlib.Path(arguments.dataset).name
    try:
        models, image_size = loaded(arguments)
        print(environment.prepare(0), flush=True)
        started = time.perf_counter()
        found = {
            "dataset": dataset,
            "data": f"{arguments.split} of {dataset}",
            "task": arguments.task,
            "image_size": image_size,
            "widths": WIDTHS,
            "ranges": RANGES,
            **evaluate(models, arguments, image_size),
        }
        found["seconds"] = round(time.perf_counter() - started, 1)
        print(table(found))
        if arguments.out:
            found["probe"] = probes.of("evaluation_trimap", found)
            path = environment.write_results(arguments.out, found)
            print(f"results/{path.name}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
