"""Evaluate trained networks on photographs they have not seen.

    python -m tools.evaluate --model build/models/NAME/seed0/8s.keras \\
        --dataset path/to/oxford-iiit-pet --split test --task trimap

Of each photo a few confusion matrices are kept, and no pixels: at the network's size,
at the photo's own, near the outline, under other treatments of the border. Every number
is a score of sums of them. Several networks are compared on the same photos, each with
the one named before it. With --out the numbers go to results/NAME.json.
"""

import argparse
import itertools
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data.oxford_pets_folder.breeds import BREEDS
from data.synthetic_pets import drawing
from tools import reproduce
from tools.results import made
from tools.results import probe as probes
from utils import environment, metrics, networks, pet_records, pets, predict, training

WIDTHS = (1, 2, 4, 8, 16)  # of the bands along the outline, in the network's pixels
EDGES = (1, 2, 4, 8, 16, 32, 10_000)  # of the ranges of distance from it
RANGES = tuple(itertools.pairwise(EDGES))
NEAR = 1 / 40  # of the side: wrong pixels no farther off are the outline's fault
BATCH = 20
WORST = 10
KINDS = ("outline", "pet missed", "pet imagined", "taken for another class")


def border_treatments(task: str, trimap: np.ndarray, logits: np.ndarray) -> dict:
    """Return (mask, prediction), 0 or False background, by what border counts as.

    The trimap (H, W) is as in the file: 1 pet, 2 background, 3 border; logits are
    (H, W, C) of the task's classes.
    """
    void = np.select([trimap == 1, trimap == 2], [1, 0], pets.VOID)
    as_pet = np.select([trimap == 2, trimap > 0], [0, 1], pets.VOID)
    background = pets.CLASS_NAMES[task].index("background")
    pet = pet_or_border = logits.argmax(-1) != background
    if task == "trimap":  # where border is not asked for, it cannot be the answer
        pet = logits[..., 0] > logits[..., 1]
    return {"border_void": (void, pet), "border_as_pet": (as_pet, pet_or_border)}


def kind_of_error(names, mask, predicted, distance) -> str:
    """Say which kind more wrong pixels of a photo are of than of any other."""
    background = names.index("background")
    wrong = (mask != predicted) & (mask != pets.VOID)
    near = distance <= NEAR * max(mask.shape)
    kinds = np.select([near, predicted == background, mask == background], (0, 1, 2), 3)
    counts = np.bincount(kinds[wrong], minlength=len(KINDS))
    return KINDS[counts.argmax()] if wrong.any() else "none"


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
        # What a network would score that calls everything background.
        "floor": (mask, np.full_like(mask, names.index("background"))),
    }
    for width in WIDTHS:
        pairs[width] = np.where(distance <= width, mask, pets.VOID), predicted
    found = {
        name: metrics.confusion_matrix(*pair, len(names)).numpy()
        for name, pair in pairs.items()
    }
    found["error"] = kind_of_error(names, mask, predicted, distance)
    found["by_distance"] = wrong_by_distance(mask, predicted, distance)
    return found


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    return metrics.scores(confusion)["mean_iou"].numpy()


def pet_iou(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU of class 1, the pet of `border_treatments`."""
    return metrics.scores(confusion)["iou"].numpy()[..., 1]


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


def bootstrap(confusions: np.ndarray, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """Draw as many photos again and again, with replacement, and sum their matrices.

    Takes (N, C, C), one confusion matrix a photo; returns (draws, C, C). With one seed
    two networks get the same draws, so their difference can be judged photo by photo.

    Source: Efron, Tibshirani: An introduction to the bootstrap, 1993, chapter 13.
    """
    count = len(confusions)
    times = np.random.default_rng(seed).multinomial(
        count, np.full(count, 1 / count), draws
    )  # (draws, N): how often each photo was drawn
    return np.tensordot(times, confusions, 1)


def interval(matrices: np.ndarray, score=mean_iou) -> list[float]:
    """Return the bounds of a score's 95 % interval over the photos, bootstrapped."""
    return np.nanpercentile(score(bootstrap(matrices)), (2.5, 97.5)).tolist()


def groups(known: list[dict], matrices: np.ndarray) -> dict[str, dict[str, dict]]:
    """Score by breed, by the pet's size and by whether the frame cuts it."""
    names = ("share", "breed", "cut")
    share, breeds, cut = (np.array([one[name] for one in known]) for name in names)
    low, high = np.quantile(share, (1 / 3, 2 / 3))
    groups = {
        "breed": {breed: breeds == breed for breed in sorted(set(breeds))},
        "pet's share of the photo": {
            f"below {low:.0%}": share < low,
            f"{low:.0%} to {high:.0%}": (share >= low) & (share < high),
            f"from {high:.0%}": share >= high,
        },
        "frame": {"cuts the pet": cut, "does not": ~cut},
    }
    return {
        title: {
            name: {
                "photos": int(chosen.sum()),
                "mean_iou": float(of_true_classes(matrices[chosen].sum(0))),
                "interval": interval(matrices[chosen], of_true_classes),
            }
            for name, chosen in members.items()
            if chosen.any()
        }
        for title, members in groups.items()
    }


def figures(rows: list[dict], known: list[dict]) -> dict:
    """Work out everything that is said of one network, from what `counted` kept."""
    kept = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    errors, by_distance = kept.pop("error").tolist(), kept.pop("by_distance")
    whole = {name: as_json(matrices.sum(0)) for name, matrices in kept.items()}
    photos, per_photo = [one["photo"] for one in known], mean_iou(kept["network"])
    return {
        "network_size": whole["network"],
        "interval": interval(kept["network"]),
        "photo_size": whole["photo"],
        "photo_interval": interval(kept["photo"]),
        "per_photo_mean_iou": float(np.nanmean(per_photo)),
        "floor": {one: whole["floor"][one] for one in ("pixel_accuracy", "mean_iou")},
        "treatments": {
            name: {
                "pet_iou": float(pet_iou(kept[name].sum(0))),
                "interval": interval(kept[name], pet_iou),
                "per_photo_pet_iou": float(np.nanmean(pet_iou(kept[name]))),
            }
            for name in ("border_void", "border_as_pet")
        },
        "bands": {width: whole[width]["mean_iou"] for width in WIDTHS},
        "wrong_by_distance": shares(by_distance.sum(0)),
        "groups": groups(known, kept["network"]),
        "errors": {kind: errors.count(kind) for kind in sorted(set(errors))},
        "worst": [
            {"photo": photos[n], "mean_iou": float(per_photo[n]), "error": errors[n]}
            for n in np.argsort(per_photo)[:WORST]
        ],
    }


def photographs(arguments: argparse.Namespace, image_size: int):
    """Yield what is known of each photo, at its own size and at the network's."""
    dataset, task = arguments.dataset, arguments.task
    table = pets.class_table(task)
    breeds = drawing.BREEDS if dataset == "synthetic_pets" else BREEDS
    for one in pets.load_examples(dataset, arguments.split, task=task):
        image, trimap = pet_records.resize(one["image"], one["trimap"], image_size)
        mask = pets.to_classes(trimap[None], one["species"][None], table)[0].numpy()
        pet = np.isin(one["trimap"].numpy(), (1, 3))
        yield {
            "photo": one["file_name"].numpy().decode(),
            "breed": breeds[int(one["label"])],
            "share": pet.mean(),
            "cut": pet[[0, -1]].any() or pet[:, [0, -1]].any(),
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
    calls = {name: training.forward(model) for name, model in models.items()}
    photos = photographs(arguments, image_size)
    photos = iter(tqdm(photos, unit=" photos", disable=None))  # on a terminal only
    while batch := list(itertools.islice(photos, BATCH)):
        images = tf.stack([photo["small"] for photo in batch])
        for name, call in calls.items():
            logits = call(images)  # (B, S, S, C)
            rows[name] += map(counted, itertools.repeat(task), batch, logits)
        kept = ("photo", "breed", "share", "cut")
        known += [{key: photo[key] for key in kept} for photo in batch]
    gains, network = {}, lambda name: [row["network"] for row in rows[name]]
    for before, after in itertools.pairwise(models):
        both = np.stack([network(before), network(after)], 1)  # (N, 2, C, C)
        gain = interval(both, lambda pair: np.diff(mean_iou(pair)))
        gains[f"{after} - {before}"] = gain
    return {
        "photos": len(known),
        "networks": {name: figures(rows[name], known) for name in models},
        "gains": gains,
    }


def probe(table: dict) -> dict[str, str]:
    """Evaluate a made network on made photos, as `tools.results.probe` asks."""
    arguments = argparse.Namespace(split="trainval", task=table["task"])
    with made.data() as arguments.dataset:
        return made.flat(evaluate({"colours": made.colours()}, arguments, 48))


def number(value: float | None) -> float:
    """Return a number that can be formatted, NaN for the null of `as_json`."""
    return np.nan if value is None else value


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
            f"{name:12}  {number(small['mean_iou']):8.4f} ({low:.3f} to {high:.3f})  "
            f"{number(row['photo_size']['mean_iou']):8.4f}  "
            f"{number(small['pixel_accuracy']):8.4f}"
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
        found = {
            "dataset": dataset,
            "data": f"{arguments.split} of {dataset}",
            "task": arguments.task,
            "image_size": image_size,
            "widths": WIDTHS,
            "ranges": RANGES,
            **evaluate(models, arguments, image_size),
        }
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
