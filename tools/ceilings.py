"""Measure how good a mask can be that is drawn from a grid of 32, 16 or 8 pixels.

    python -m tools.ceilings --dataset path/to/oxford-iiit-pet --tasks trimap species

Two references for each stride: the truth reduced to the grid, as in the paper's
appendix, and the best logits the grid can hold, fitted to each photo. No network is
involved. The figures go to results/ceilings.json.
"""

import argparse
import pathlib
import sys

import numpy as np

from tools import evaluate
from tools import probe as probes
from utils import ceilings, environment, metrics, pet_records, pets

STRIDES = (32, 16, 8)
REFERENCES = {"reduced": ceilings.reduced, "fitted": ceilings.fitted}
BATCH = 20


def measure(arguments: argparse.Namespace, task: str) -> dict:
    """Return the figures of each reference and stride, and the number of photos."""
    classes = len(pets.CLASS_NAMES[task])
    matrices = {}
    wrong_and_all = {}
    photos = 0
    batches = pets.load(
        arguments.dataset,
        arguments.split,
        task=task,
        image_size=arguments.image_size,
        batch_size=BATCH,
    )
    for _, masks in batches:
        masks = masks.numpy()
        photos += len(masks)
        distance = np.stack([metrics.outline_distance(mask) for mask in masks])
        print(f"{task}: {photos} photos", flush=True)
        for name, draw in REFERENCES.items():
            for stride in STRIDES:
                key = name, stride
                drawn = draw(masks, stride, classes)
                matrix = metrics.confusion_matrix(masks, drawn, classes).numpy()
                matrices[key] = matrices.get(key, 0) + matrix
                counts = evaluate.wrong_by_distance(masks, drawn, distance)
                wrong_and_all[key] = wrong_and_all.get(key, 0) + counts
    found = {"photos": photos}
    for (name, stride), matrix in matrices.items():
        wrong, everything = wrong_and_all[name, stride]
        found.setdefault(name, {})[stride] = {
            "mean_iou": float(metrics.scores(matrix)["mean_iou"]),
            "wrong_by_distance": (wrong / np.maximum(everything, 1)).tolist(),
        }
    return found


def probe(table: dict) -> dict[str, str]:
    """Measure made masks, as `tools.probe` asks."""
    arguments = argparse.Namespace(split="test", image_size=probes.SIZE)
    with probes.made_data() as arguments.dataset:
        return probes.flat({task: measure(arguments, task) for task in table["tasks"]})


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure ceilings of coarse grids.")
    parser.add_argument("--dataset", default="synthetic_pets", help="as in pets.load")
    parser.add_argument("--split", default="test", choices=pet_records.SPLITS)
    parser.add_argument("--tasks", nargs="+", default=["trimap"])
    parser.add_argument("--image-size", type=int, default=160)
    arguments = parser.parse_args()
    if unknown := set(arguments.tasks) - set(pets.CLASS_NAMES):
        parser.error(
            f"--tasks: {unknown.pop()} is none of {', '.join(pets.CLASS_NAMES)}."
        )
    if arguments.image_size < 1 or arguments.image_size % max(STRIDES):
        parser.error(f"--image-size: give a multiple of {max(STRIDES)}.")
    try:
        figures = {
            "dataset": pathlib.Path(arguments.dataset).name,
            "data": f"{arguments.split} of {pathlib.Path(arguments.dataset).name}",
            "image_size": arguments.image_size,
            "ranges": evaluate.RANGES,
            "tasks": {task: measure(arguments, task) for task in arguments.tasks},
        }
        figures["probe"] = probes.of("ceilings", figures)
        path = environment.write_results("ceilings", figures)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for task, found in figures["tasks"].items():
        for name in REFERENCES:
            rows = (f"{s}: {found[name][s]['mean_iou']:.3f}" for s in STRIDES)
            print(f"{task:8} {name:8}", *rows)
    print(f"results/{path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
