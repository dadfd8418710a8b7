"""Cross-validate notebook 01's classifier on whole photos: cat against dog.

    python -m tools.results.cross_validate --dataset PATH [--folds 5] [--seed 0]

The features of all training and validation photos, and of two patches of each, are
computed once. For each fold a fresh head (two dense layers of 4096 units) is trained on
the other folds' photos and patches, and judged on this fold's whole photos; no photo is
judged by a head that saw it or a patch of it. The test split is not touched. Writes
results/cat_or_dog.json, with an interval by Wilson's method.
"""

import argparse
import gc
import sys
import time

import keras
import numpy as np
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from tools.results import made
from tools.results import probe as probes
from utils import classifier, environment, pets, vgg16


def probe(table: dict) -> dict[str, str]:
    """Look at patches and at two epochs of a small head."""
    with made.data() as folder:
        images, labels = classifier.patches(folder, "trainval", 5, seed=table["seed"])
    inputs = keras.Input((2, 2, 8))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(8, activation="relu", name="fc1")(x)
    head = keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))
    made.fill(head)
    features = made.numbers((15, 2, 2, 8), "features")
    return {
        "patches order": made.words(labels.tolist()),
        "patches inputs": made.words(made.moments(images)),
        "head steps": made.words(classifier.fit_head(head, features, labels, epochs=2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cross-validate cat against dog.")
    parser.add_argument("--dataset", required=True, help="as in utils.pets.load")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    dataset, seed, started = arguments.dataset, arguments.seed, time.perf_counter()
    print(environment.prepare(seed))
    try:
        images, labels = classifier.patches(dataset, "trainval", 10**9, seed=seed)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    found = pets.load_examples(dataset, "trainval").as_numpy_iterator()
    breeds = len({int(example["label"]) for example in found})
    model = vgg16.build(len(classifier.CLASS_NAMES))
    print(vgg16.load_imagenet_weights(model))
    convolutions, _ = classifier.split_in_two(model)
    features = convolutions.predict(images, batch_size=16, verbose=2)
    features_seconds = time.perf_counter() - started
    total = len(labels) // 3
    whole, answers = labels[:total], np.zeros(total, int)
    folds = StratifiedKFold(arguments.folds, shuffle=True, random_state=seed)
    for fold, (learn, judge) in enumerate(folds.split(whole, whole)):
        keras.utils.set_random_seed(seed + fold)
        _, head = classifier.split_in_two(vgg16.build(len(classifier.CLASS_NAMES)))
        both = np.concatenate([learn, learn + total, learn + 2 * total])
        classifier.fit_head(head, features[both], labels[both], epochs=8)
        # Cat is 1 and dog 2; the background class is left out.
        scores = head.predict(features[judge], verbose=0)[:, 1:]
        answers[judge] = scores.argmax(-1) + 1
        share = (answers[judge] == whole[judge]).mean()
        print(f"fold {fold + 1}: {share:.1%} of {len(judge)} photos", flush=True)
        del head  # two gigabytes with its optimiser
        gc.collect()
    right = int((answers == whole).sum())
    interval = stats.binomtest(right, total).proportion_ci(method="wilson")
    figures = {
        "data": f"the {total} trainval photographs of {breeds} of the 37 breeds",
        "photos": total,
        "cats": int((whole == 1).sum()),
        "folds": arguments.folds,
        "seed": seed,
        "accuracy": right / total,
        "interval_95": list(interval),
        "features_seconds": round(features_seconds),
        "seconds": round(time.perf_counter() - started),
    }
    figures["probe"] = probes.of("cat_or_dog", figures)
    environment.write_results("cat_or_dog", figures)
    low, high = interval
    print(f"{right} of {total} right: {right / total:.1%}, {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main()
