"""Cross-validate notebook 01's classifier on whole photos: cat against dog.

    python -m tools.results.cross_validate --dataset PATH

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
import tensorflow as tf
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from tools.results import made
from tools.results import probe as probes
from utils import environment, pets, vgg16

FOLDS, SEED = 5, 0


def random_patch(image, mask, generator):
    """Cut a random square, and label it by the class at its centre."""
    height, width = mask.shape
    for _ in range(1000):
        side = max(int(min(height, width) * generator.uniform(0.4, 0.9)), 1)
        top = int(generator.integers(0, height - side + 1))
        left = int(generator.integers(0, width - side + 1))
        label = mask[top + side // 2, left + side // 2]
        if label != pets.VOID:
            return image[top : top + side, left : left + side], label
    return None  # a mask without a class


def labelled_images(dataset, split, photos, seed):
    """Return whole photos, then a patch of each, then another; and all their labels."""
    found = pets.load_examples(dataset, split, task="species")
    examples = list(found.as_numpy_iterator())
    step = max(len(examples) / photos, 1)  # spread evenly over the split
    chosen = [examples[int(k * step)] for k in range(min(photos, len(examples)))]
    generator = np.random.default_rng(seed)
    rows = [[(one["image"], one["species"] + 1) for one in chosen]]
    for _ in range(2):
        row = [random_patch(one["image"], one["mask"], generator) for one in chosen]
        rows.append(row)
    known = [k for k in range(len(chosen)) if rows[1][k] and rows[2][k]]
    if len(known) < len(chosen):
        print(f"left out, as their masks hold no class: {len(chosen) - len(known)}")
    pairs = [row[k] for row in rows for k in known]
    size = (224, 224)
    images = [tf.image.resize(image, size, antialias=True) for image, _ in pairs]
    labels = [label for _, label in pairs]
    return np.stack(images).round().astype("uint8"), np.array(labels)


def fit_head(head: keras.Model, features, labels, epochs: int) -> list[float]:
    """Train dense layers on features computed once; return the loss of each epoch."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss)
    history = head.fit(features, labels, batch_size=64, epochs=epochs, verbose=0)
    return history.history["loss"]


def probe(table: dict) -> dict[str, str]:
    """Look at patches and at two epochs of a small head."""
    with made.data() as folder:
        images, labels = labelled_images(folder, "trainval", 5, table["seed"])
    inputs = keras.Input((2, 2, 8))
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(8, activation="relu", name="fc1")(x)
    head = keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))
    made.fill(head)
    features = made.numbers((15, 2, 2, 8), "features")
    return {
        "patches order": made.words(labels.tolist()),
        "patches inputs": made.words(made.moments(images)),
        "head steps": made.words(fit_head(head, features, labels, epochs=2)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cross-validate cat against dog.")
    parser.add_argument("--dataset", required=True, help="as in utils.pets.load")
    dataset, started = parser.parse_args().dataset, time.perf_counter()
    print(environment.prepare(SEED))
    try:
        images, labels = labelled_images(dataset, "trainval", 10**9, SEED)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    rarer = min(int((labels[: len(labels) // 3] == one).sum()) for one in (1, 2))
    if rarer < FOLDS:
        sys.exit(f"error: {dataset} has {rarer} photos of a species; give {FOLDS}.")
    found = pets.load_examples(dataset, "trainval").as_numpy_iterator()
    breeds = len({int(example["label"]) for example in found})
    model = vgg16.build(num_classes=3, fc_units=1)
    print(vgg16.load_imagenet_weights(model))
    convolutions = keras.Model(model.input, model.get_layer("block5_pool").output)
    features = convolutions.predict(images, batch_size=16, verbose=2)
    features_seconds = time.perf_counter() - started
    total = len(labels) // 3
    whole, answers = labels[:total], np.zeros(total, int)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for fold, (learn, judge) in enumerate(folds.split(whole, whole)):
        keras.utils.set_random_seed(SEED + fold)
        model = vgg16.build(num_classes=3)  # background, cat, dog
        # Fresh dense layers, from features (B, 7, 7, 512) to logits (B, 3).
        head = keras.Model(model.get_layer("block5_pool").output, model.output)
        both = np.concatenate([learn, learn + total, learn + 2 * total])
        fit_head(head, features[both], labels[both], epochs=8)
        # Cat is 1 and dog 2; the background class is left out.
        scores = head.predict(features[judge], verbose=0)[:, 1:]
        answers[judge] = scores.argmax(-1) + 1
        share = (answers[judge] == whole[judge]).mean()
        print(f"fold {fold + 1}: {share:.1%} of {len(judge)} photos", flush=True)
        del model, head  # two gigabytes with the optimiser
        gc.collect()
    right = int((answers == whole).sum())
    interval = stats.binomtest(right, total).proportion_ci(method="wilson")
    figures = {
        "data": f"the {total} trainval photographs of {breeds} of the 37 breeds",
        "photos": total,
        "cats": int((whole == 1).sum()),
        "folds": FOLDS,
        "seed": SEED,
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
