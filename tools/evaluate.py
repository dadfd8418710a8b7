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
from tools import probe as probes
from tools import reproduce
from utils import environment, metrics, networks, pet_records, pets, predict

WIDTHS = (1, 2, 4, 8, 16)  # of the bands along the outline, in the network's pixels
RANGES = tuple(itertools.pairwise((1, 2, 4, 8, 16, 32, 10_000)))  # distances from it
NEAR = 1 / 40  # of the side: wrong pixels no farther off are the outline's fault
BATCH = 20
WORST = 10


def border_treatments(
    task: str, trimap: np.ndarray, logits: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (mask, prediction), 0 background and 1 pet, by what border counts as.

    Args:
        task: what the network tells apart.
        trimap: (H, W), as in the file: 1 pet, 2 background, 3 border.
        logits: (H, W, C).
    """
    void = np.select([trimap == 1, trimap == 2], [1, 0], pets.VOID)
    as_pet = np.select([trimap == 2, trimap > 0], [0, 1], pets.VOID)
    if task == "trimap":
        # Where border is not asked for, it cannot be the answer.
        pet = logits[..., 0] > logits[..., 1]
        pet_or_border = logits.argmax(-1) != 1
    else:
        pet = pet_or_border = logits.argmax(-1) != 0
    return {
        "border_void": (void, pet.astype(int)),
        "border_as_pet": (as_pet, pet_or_border.astype(int)),
    }


def kind_of_error(
    names: tuple[str, ...],
    mask: np.ndarray,
    predicted: np.ndarray,
    distance: np.ndarray,
) -> str:
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


def wrong_by_distance(
    mask: np.ndarray, predicted: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """Return (2, ranges): wrong pixels, and all, by distance from the outline."""
    counts = np.zeros((2, len(RANGES)), np.int64)
    for index, (low, high) in enumerate(RANGES):
        where = (mask != pets.VOID) & (distance >= low) & (distance < high)
        counts[:, index] = np.sum(predicted[where] != mask[where]), np.sum(where)
    return counts


class Tally:
    """What is kept of the photos under one network: matrices, one a photo."""

    def __init__(self, task: str):
        self.task, self.names = task, pets.CLASS_NAMES[task]
        self.matrices = {}
        self.errors = []
        self.wrong_and_all = np.zeros((2, len(RANGES)), np.int64)

    def count(self, kind: str, mask, predicted, num_classes: int) -> None:
        matrix = metrics.confusion_matrix(mask, predicted, num_classes)
        self.matrices.setdefault(kind, []).append(matrix.numpy())

    def add(self, photo: dict, logits: np.ndarray) -> None:
        """Count one photo; logits (S, S, C) at the network's size."""
        classes, mask = len(self.names), photo["small_mask"]
        predicted = logits.argmax(-1)
        self.count("network", mask, predicted, classes)
        enlarged = tf.image.resize(logits, photo["mask"].shape).numpy()
        self.count("photo", photo["mask"], enlarged.argmax(-1), classes)
        for name, pair in border_treatments(
            self.task, photo["small_trimap"], logits
        ).items():
            self.count(name, *pair, 2)
        for width in WIDTHS:
            band = np.where(photo["distance"] <= width, mask, pets.VOID)
            self.count(f"band_{width}", band, predicted, classes)
        self.wrong_and_all += wrong_by_distance(mask, predicted, photo["distance"])
        self.errors.append(
            kind_of_error(self.names, mask, predicted, photo["distance"])
        )


def scored(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return `metrics.scores` of matrices (..., C, C) as arrays."""
    return {name: np.asarray(x) for name, x in metrics.scores(confusion).items()}


def plain(confusion: np.ndarray) -> dict:
    """Return the scores as JSON holds them: what is not defined is null."""
    found = {}
    for name, values in scored(confusion).items():
        values = np.where(np.isnan(values), None, values)
        found[name] = values.tolist()
    return found


def percentiles(values: np.ndarray) -> list[float]:
    """Return the bounds of the 95 % interval of bootstrapped scores."""
    return np.nanpercentile(values, (2.5, 97.5)).tolist()


def interval(matrices: np.ndarray) -> list[float]:
    """Return the 95 % bootstrap interval of mean IoU over the photos."""
    return percentiles(scored(metrics.bootstrap(matrices))["mean_iou"])


def of_true_classes(confusion: np.ndarray) -> np.ndarray:
    """Return mean IoU over the classes that the masks hold.

    A breed is cats or dogs; a few pixels called the other animal would give that one an
    IoU of zero, a third of the group's mean. Their harm shows in the true class.
    """
    present = confusion.sum(-1) > 0
    iou = np.where(present, scored(confusion)["iou"], 0)
    return iou.sum(-1) / present.sum(-1)


def groups(known: list[dict]) -> dict[str, dict[str, np.ndarray]]:
    """Sort photos by breed, by the pet's size and by whether the frame cuts it."""
    shares = np.array([photo["share"] for photo in known])
    low, high = np.quantile(shares, (1 / 3, 2 / 3))
    breeds = np.array([photo["breed"] for photo in known])
    cut = np.array([photo["cut"] for photo in known])
    return {
        "breed": {breed: breeds == breed for breed in sorted(set(breeds))},
        "pet's share of the photo": {
            f"below {low:.0%}": shares < low,
            f"{low:.0%} to {high:.0%}": (shares >= low) & (shares < high),
            f"from {high:.0%}": shares >= high,
        },
        "frame": {"cuts the pet": cut, "does not": ~cut},
    }


def floor(matrices: np.ndarray, background: int) -> dict[str, float]:
    """Return what a network would score that calls everything background."""
    nothing = np.zeros(matrices.shape[1:], np.int64)
    nothing[:, background] = matrices.sum((0, 2))
    found = scored(nothing)
    return {name: float(found[name]) for name in ("pixel_accuracy", "mean_iou")}


def figures(tally: Tally, known: list[dict]) -> dict:
    """Work out everything that is said of one network."""
    matrices = {name: np.stack(found) for name, found in tally.matrices.items()}
    network = matrices["network"]
    per_photo = scored(network)["mean_iou"]
    treatments = {}
    for name in ("border_void", "border_as_pet"):
        pet = scored(matrices[name])["iou"][:, 1]
        treatments[name] = {
            "pet_iou": float(scored(matrices[name].sum(0))["iou"][1]),
            "interval": percentiles(
                scored(metrics.bootstrap(matrices[name]))["iou"][:, 1]
            ),
            "per_photo_pet_iou": float(np.nanmean(pet)),
        }
    by_group = {
        title: {
            name: {
                "photos": int(chosen.sum()),
                "mean_iou": float(of_true_classes(network[chosen].sum(0))),
                "interval": percentiles(
                    of_true_classes(metrics.bootstrap(network[chosen]))
                ),
            }
            for name, chosen in members.items()
            if chosen.any()
        }
        for title, members in groups(known).items()
    }
    wrong, everything = tally.wrong_and_all
    worst = np.argsort(per_photo)[:WORST]
    return {
        "network_size": plain(network.sum(0)),
        "interval": interval(network),
        "photo_size": plain(matrices["photo"].sum(0)),
        "photo_interval": interval(matrices["photo"]),
        "per_photo_mean_iou": float(per_photo.mean()),
        "floor": floor(network, tally.names.index("background")),
        "treatments": treatments,
        "bands": {
            width: float(scored(matrices[f"band_{width}"].sum(0))["mean_iou"])
            for width in WIDTHS
        },
        "wrong_by_distance": (wrong / np.maximum(everything, 1)).tolist(),
        "groups": by_group,
        "errors": {
            kind: tally.errors.count(kind) for kind in sorted(set(tally.errors))
        },
        "worst": [
            {
                "photo": known[index]["file_name"],
                "mean_iou": float(per_photo[index]),
                "error": tally.errors[index],
            }
            for index in worst
        ],
    }


def photographs(arguments: argparse.Namespace, image_size: int):
    """Yield what is known of each photo, at its own size and at the network's."""
    table = pets.class_table(arguments.task)
    drawn = arguments.dataset == "synthetic_pets"  # eight furs, not Oxford's breeds
    breeds = drawing.BREEDS if drawn else pets.LABEL_NAMES["breed"]
    examples = pets.load_examples(
        arguments.dataset, arguments.split, task=arguments.task
    )
    for example in examples:
        image, trimap = pet_records.resize(
            example["image"], example["trimap"], image_size
        )
        mask = pets.to_classes(trimap[None], example["species"][None], table)[0].numpy()
        pet = np.isin(example["trimap"].numpy(), (1, 3))
        yield {
            "file_name": example["file_name"].numpy().decode(),
            "breed": breeds[int(example["label"])],
            "share": pet.mean(),
            "cut": any(edge.any() for edge in (pet[0], pet[-1], pet[:, 0], pet[:, -1])),
            "mask": example["mask"].numpy(),
            "small": tf.cast(image, tf.float32),
            "small_mask": mask,
            "small_trimap": trimap.numpy(),
            "distance": metrics.outline_distance(mask),
        }


def evaluate(models: dict[str, keras.Model], arguments, image_size: int) -> dict:
    """Show every photo to every network once; return what is said of each network."""
    tallies = {name: Tally(arguments.task) for name in models}
    # As one graph, like `training.evaluate`: layer by layer, bfloat16 rounds otherwise.
    graphs = {
        name: tf.function(functools.partial(model, training=False))
        for name, model in models.items()
    }
    known, batch = [], []

    def count_batch():
        images = tf.stack([photo.pop("small") for photo in batch])
        for name, graph in graphs.items():
            logits = graph(images).numpy()  # (B, S, S, C)
            for photo, own in zip(batch, logits, strict=True):
                tallies[name].add(photo, own)
        for photo in batch:
            kept = ("file_name", "breed", "share", "cut")
            known.append({key: photo[key] for key in kept})
        batch.clear()

    photos = photographs(arguments, image_size)
    for photo in tqdm(photos, unit=" photos", disable=not sys.stderr.isatty()):
        batch.append(photo)
        if len(batch) == BATCH:
            count_batch()
    if batch:
        count_batch()
    networks = {name: figures(tally, known) for name, tally in tallies.items()}
    return {"photos": len(known), "networks": networks} | paired(tallies)


def paired(tallies: dict[str, Tally]) -> dict:
    """Return the interval of the difference between each network and the one before."""
    gains = {}
    for before, after in itertools.pairwise(tallies):
        values = [
            scored(metrics.bootstrap(np.stack(tallies[name].matrices["network"])))[
                "mean_iou"
            ]
            for name in (before, after)
        ]
        gains[f"{after} - {before}"] = percentiles(values[1] - values[0])
    return {"gains": gains}


def probe(table: dict) -> dict[str, str]:
    """Evaluate a made network on made photos, as `tools.probe` asks."""
    arguments = argparse.Namespace(split="trainval", task=table["task"])
    with probes.made_data() as arguments.dataset:
        return probes.flat(evaluate({"colours": probes.colours()}, arguments, 48))


def table(found: dict, task: str) -> str:
    """Return the rows people compare."""
    lines = [
        f"{found['photos']} photos, {found['data']}, task {task}, "
        f"{found['image_size']} px; in brackets 95 % intervals over the photos",
        "network       mean IoU                 own size  accuracy  "
        "pet, border void  border as pet",
    ]
    for name, row in found["networks"].items():
        low, high = row["interval"]
        void, as_pet = (one["pet_iou"] for one in row["treatments"].values())
        lines.append(
            f"{name:12}  {row['network_size']['mean_iou']:8.4f} "
            f"({low:.3f} to {high:.3f})  {row['photo_size']['mean_iou']:8.4f}"
            f"  {row['network_size']['pixel_accuracy']:8.4f}"
            f"  {void:16.4f}  {as_pet:13.4f}"
        )
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate trained networks.")
    parser.add_argument("--model", nargs="+", required=True, help=".keras files")
    parser.add_argument("--dataset", default="synthetic_pets", help="as in pets.load")
    parser.add_argument("--split", default="test", choices=pet_records.SPLITS)
    parser.add_argument("--task", default="trimap", choices=pets.CLASS_NAMES)
    parser.add_argument("--image-size", type=int, help="unless the network knows it")
    parser.add_argument("--out", metavar="NAME", help="write results/NAME.json")
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
    try:
        models, image_size = loaded(arguments)
        print(environment.prepare(0), flush=True)
        started = time.perf_counter()
        found = {
            "dataset": pathlib.Path(arguments.dataset).name,
            "data": f"{arguments.split} of {pathlib.Path(arguments.dataset).name}",
            "task": arguments.task,
            "image_size": image_size,
            "widths": WIDTHS,
            "ranges": RANGES,
            **evaluate(models, arguments, image_size),
        }
        found["seconds"] = round(time.perf_counter() - started, 1)
        print(table(found, arguments.task))
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
