"""Ask what synthetic_pets demands of a network.

Three measures on its test split: what colour and texture around a pixel give away (a
random forest on small neighbourhoods and the pixel's place; it should stay far below
any network that sees whole animals); what the truth itself keeps when it is reduced to
a coarse grid and brought back (the FCN paper's appendix A; stride 32 should lose far
more than stride 8); and what FCN-32s, 16s and 8s reach whose heads alone were trained.
Writes results/judge_synthetic.json.
"""

from unittest import mock

import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from tools.results import ceilings, made
from tools.results import probe as probes
from utils import environment, metrics, networks, pets, training

TASKS = ("trimap", "species")
SCORES = ("mean_iou", "pixel_accuracy")
PIXELS, TREES = 300, 60  # of each training picture; of the forest


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
    """Return pairs of one image (1, size, size, 3) and its mask (1, size, size)."""
    options = {"task": task, "image_size": size, "batch_size": 1}
    return pets.load("synthetic_pets", split, **options).as_numpy_iterator()


def scored(task: str, size: int, answer) -> dict[str, float]:
    """Score what `answer` says of each test picture and its mask; rounded."""
    classes = len(pets.CLASS_NAMES[task])
    confusion = 0
    for (image,), mask in pictures("test", task, size):
        confusion += metrics.confusion_matrix(mask, answer(image, mask), classes)
    found = metrics.scores(confusion)
    return {name: round(float(found[name]), 4) for name in SCORES}


def forest(task: str, size: int) -> dict[str, float]:
    """Score a forest that knows some pixels of each training picture."""
    rng = np.random.default_rng(0)
    known, wanted = [], []
    for (image,), mask in pictures("train", task, size):
        chosen = rng.choice(np.flatnonzero(mask != pets.VOID), PIXELS, replace=False)
        known.append(features(image).reshape(-1, 24)[chosen])
        wanted.append(mask.reshape(-1)[chosen])
    judge = RandomForestClassifier(TREES, min_samples_leaf=5, n_jobs=-1, random_state=0)
    judge.fit(np.concatenate(known), np.concatenate(wanted))
    return scored(task, size, lambda x, _: judge.predict(features(x).reshape(-1, 24)))


def reduced_truth(task: str, size: int, stride: int) -> dict[str, float]:
    """Score the truth reduced to a grid and enlarged again."""
    classes = len(pets.CLASS_NAMES[task])
    return scored(task, size, lambda _, mask: ceilings.reduced(mask, stride, classes))


def frozen_network(task: str, size: int) -> dict[str, float]:
    """Score FCN's three outputs, their heads trained on a frozen backbone."""
    options = {"task": task, "image_size": size}
    model = networks.trained_fcn("at_once", "synthetic_pets", **options)
    scores = training.evaluate(model, pets.load("synthetic_pets", "test", **options))
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
    figures = {
        "random_forest_128px": {task: forest(task, 128) for task in TASKS},
        "reduced_truth_160px": {
            task: {str(s): reduced_truth(task, 160, s) for s in ceilings.STRIDES}
            for task in TASKS
        },
        "frozen_network_160px": {task: frozen_network(task, 160) for task in TASKS},
    }
    for name, tasks in figures.items():
        print(f"{name}: {tasks}")
    figures["probe"] = probes.of("judge_synthetic", figures)
    print("written:", environment.write_results("judge_synthetic", figures).name)


if __name__ == "__main__":
    main()
