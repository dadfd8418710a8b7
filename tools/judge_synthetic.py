"""Ask what synthetic_pets demands of a network.

Three figures on its test split: what colour and texture around a pixel give away (a
random forest on small neighbourhoods and the pixel's place; it should stay far below
any network that sees whole animals), and what the truth itself keeps when it is reduced
to a coarse grid and brought back (the FCN paper's appendix A; stride 32 should lose far
more than stride 8), and what FCN-32s, 16s and 8s reach whose heads alone were trained.
Writes results/judge_synthetic.json.
"""

import argparse
import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from tools import probe as probes
from utils import environment, metrics, networks, pets, training

TASKS = ("trimap", "species")
STRIDES = (32, 16, 8)


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


def pictures(split: str, task: str, size: int, data_dir: str):
    """Yield images (size, size, 3) and masks (size, size) one at a time."""
    batches = pets.load(
        "synthetic_pets", split, task=task, image_size=size, data_dir=data_dir
    )
    for images, masks in batches.as_numpy_iterator():
        yield from zip(images, masks, strict=True)


def forest(
    task: str, size: int, pixels: int, trees: int, seed: int, data_dir: str
) -> dict[str, float]:
    """Train on `pixels` of each training picture; score on all pixels of the test."""
    rng = np.random.default_rng(seed)
    known, wanted = [], []
    for image, mask in pictures("train", task, size, data_dir):
        chosen = rng.choice(np.flatnonzero(mask != pets.VOID), pixels, replace=False)
        known.append(features(image).reshape(size * size, -1)[chosen])
        wanted.append(mask.reshape(-1)[chosen])
    judge = RandomForestClassifier(
        trees, min_samples_leaf=5, n_jobs=-1, random_state=seed
    )
    judge.fit(np.concatenate(known), np.concatenate(wanted))
    metric = metrics.SegmentationMetrics(len(pets.CLASS_NAMES[task]), pets.VOID)
    for image, mask in pictures("test", task, size, data_dir):
        votes = judge.predict_proba(features(image).reshape(size * size, -1))
        metric.update_state(mask[None], votes.reshape(1, size, size, -1))
    return scored(metric)


def reduced_truth(task: str, size: int, stride: int, data_dir: str) -> dict[str, float]:
    """Score the truth, averaged over stride x stride, enlarged bilinearly again."""
    count = len(pets.CLASS_NAMES[task])
    metric = metrics.SegmentationMetrics(count, pets.VOID)
    for _, mask in pictures("test", task, size, data_dir):
        classes = tf.one_hot(mask[None], count)  # void belongs to no class
        coarse = keras.ops.average_pool(classes, stride, stride)
        metric.update_state(mask[None], tf.image.resize(coarse, (size, size)))
    return scored(metric)


def frozen_network(task: str, size: int) -> dict[str, float]:
    """Score FCN's three outputs, their heads trained on a frozen backbone."""
    model = networks.trained_fcn(
        "at_once", "synthetic_pets", task=task, image_size=size
    )
    test = pets.load("synthetic_pets", "test", task=task, image_size=size)
    scores = training.evaluate(model, test)
    return {name: round(score["mean_iou"], 4) for name, score in scores.items()}


def probe(table: dict) -> dict[str, str]:
    """Look at the forest's inputs, the drawings, the training, for `tools.probe`."""
    told = features(255 * probes.numbers((32, 32, 3), "picture"))
    on_cpu = mock.patch.object(environment, "on_gpu", lambda: False)
    with (
        on_cpu,
        probes.made_data() as folder,
        probes.watching(folder, "trimap") as seen,
    ):
        networks.trained_fcn("at_once", folder, image_size=probes.SIZE)
    return seen[0] | {
        "pixels inputs": probes.words(probes.moments(told[None])),
        "pictures inputs": probes.pictures("test"),
    }


def scored(metric: metrics.SegmentationMetrics) -> dict[str, float]:
    """Return mean IoU and pixel accuracy, rounded."""
    result = metric.result()
    return {
        name: round(float(result[name]), 4) for name in ("mean_iou", "pixel_accuracy")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pixels", type=int, default=300, help="of each picture")
    parser.add_argument("--trees", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = ("random_forest_128px", "reduced_truth_160px", "frozen_network_160px")
    figures = {name: {} for name in names}
    with tempfile.TemporaryDirectory() as data_dir:
        for task in TASKS:
            figures["random_forest_128px"][task] = forest(
                task, 128, arguments.pixels, arguments.trees, arguments.seed, data_dir
            )
            figures["reduced_truth_160px"][task] = {
                str(stride): reduced_truth(task, 160, stride, data_dir)
                for stride in STRIDES
            }
            figures["frozen_network_160px"][task] = frozen_network(task, 160)
            for name, per_task in figures.items():
                print(f"{task:8} {name}: {per_task[task]}", flush=True)
    figures["probe"] = probes.of("judge_synthetic", figures)
    path = environment.write_results("judge_synthetic", figures)
    print("wrote", path.relative_to(environment.ROOT))


if __name__ == "__main__":
    main()
