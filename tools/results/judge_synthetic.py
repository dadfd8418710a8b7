"""Ask what synthetic_pets demands of a network.

Three figures on its test split: what colour and texture around a pixel give away (a
random forest on small neighbourhoods and the pixel's place; it should stay far below
any network that sees whole animals), and what the truth itself keeps when it is reduced
to a coarse grid and brought back (the FCN paper's appendix A; stride 32 should lose far
more than stride 8), and what FCN-32s, 16s and 8s reach whose heads alone were trained.
Writes results/judge_synthetic.json.
"""

import argparse
from unittest import mock

import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from tools.results import ceilings, made
from tools.results import probe as probes
from utils import environment, metrics, networks, pets, training

TASKS = ("trimap", "species")
SCORES = ("mean_iou", "pixel_accuracy")


def features(image: np.ndarray) -> np.ndarray:
    """Describe each pixel of (H, W, 3) by (H, W, 24): colour, surroundings, place."""
    height, width = image.shape[:2]
    seen = [image]
    for side in (3, 7, 11):
        mean = ndimage.uniform_filter(image, (side, side, 1))
        square = ndimage.uniform_filter(image**2, (side, side, 1))
        seen += [mean, np.sqrt(np.maximum(square - mean**2, 0))]
    grey = image.mean(-1)
    steepness = np.hypot(ndimage.sobel(grey, 0), ndimage.sobel(grey, 1))
    y, x = np.mgrid[:height, :width]
    return np.dstack([*seen, steepness, y, x]).astype(np.float32)


def pictures(split: str, task: str, size: int):
    """Yield images (size, size, 3) and masks (size, size) one at a time."""
    batches = pets.load("synthetic_pets", split, task=task, image_size=size)
    for images, masks in batches.as_numpy_iterator():
        yield from zip(images, masks, strict=True)


def scored(task: str, size: int, answer) -> dict[str, float]:
    """Score what `answer` says of each test picture and its mask; rounded."""
    classes = len(pets.CLASS_NAMES[task])
    confusion = 0
    for image, mask in pictures("test", task, size):
        confusion += metrics.confusion_matrix(mask, answer(image, mask), classes)
    found = metrics.scores(confusion)
    return {name: round(float(found[name]), 4) for name in SCORES}


def forest(task: str, size: int, pixels: int, trees: int, seed: int):
    """Train on `pixels` of each training picture; return what it says of a picture."""
    rng = np.random.default_rng(seed)
    known, wanted = [], []
    for image, mask in pictures("train", task, size):
        chosen = rng.choice(np.flatnonzero(mask != pets.VOID), pixels, replace=False)
        known.append(features(image).reshape(size * size, -1)[chosen])
        wanted.append(mask.reshape(-1)[chosen])
    judge = RandomForestClassifier(
        trees, min_samples_leaf=5, n_jobs=-1, random_state=seed
    )
    judge.fit(np.concatenate(known), np.concatenate(wanted))
    return lambda image, mask: judge.predict(features(image).reshape(size * size, -1))


def reduced_truth(task: str, size: int, stride: int) -> dict[str, float]:
    """Score the truth reduced to a grid and enlarged again."""
    classes = len(pets.CLASS_NAMES[task])
    return scored(task, size, lambda _, m: ceilings.reduced(m[None], stride, classes))


def frozen_network(task: str, size: int) -> dict[str, float]:
    """Score FCN's three outputs, their heads trained on a frozen backbone."""
    model = networks.trained_fcn(
        "at_once", "synthetic_pets", task=task, image_size=size
    )
    test = pets.load("synthetic_pets", "test", task=task, image_size=size)
    scores = training.evaluate(model, test)
    return {name: round(score["mean_iou"], 4) for name, score in scores.items()}


def probe(table: dict) -> dict[str, str]:
    """Look at the forest's inputs, the drawings, the training."""
    told = features(255 * made.numbers((32, 32, 3), "picture"))
    on_cpu = mock.patch.object(environment, "on_gpu", lambda: False)
    with on_cpu, made.data() as folder, made.watching(folder, "trimap") as seen:
        networks.trained_fcn("at_once", folder, image_size=made.SIZE)
    return seen[0] | {
        "pixels inputs": made.words(made.moments(told[None])),
        "pictures inputs": made.pictures("test"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pixels", type=int, default=300, help="of each picture")
    parser.add_argument("--trees", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = ("random_forest_128px", "reduced_truth_160px", "frozen_network_160px")
    figures = {name: {} for name in names}
    for task in TASKS:
        judge = forest(task, 128, **vars(arguments))
        figures["random_forest_128px"][task] = scored(task, 128, judge)
        figures["reduced_truth_160px"][task] = {
            str(stride): reduced_truth(task, 160, stride) for stride in ceilings.STRIDES
        }
        figures["frozen_network_160px"][task] = frozen_network(task, 160)
        for name, per_task in figures.items():
            print(f"{task:8} {name}: {per_task[task]}", flush=True)
    figures["probe"] = probes.of("judge_synthetic", figures)
    print("written:", environment.write_results("judge_synthetic", figures).name)


if __name__ == "__main__":
    main()
