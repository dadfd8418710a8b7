"""Feed a network photos larger and smaller than those it was trained on, and score it.

Test photos go in at several sizes, squashed to a square as in training, and with their
sides' ratio kept at the same number of pixels. The logits are brought back to the
photo's own size and scored there. The network is `timing.NETWORK`, unless --model
names another. Writes results/scale.json.
"""

import itertools
import math
import pathlib

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from benchmarks import timing
from tools.results import made
from tools.results import probe as probes
from utils import environment, metrics, networks, pets, predict

SIZES = (80, 120, 160, 240, 320, 480)  # side of the square, in pixels


def classes(model, image: np.ndarray, size: int, kept: bool) -> np.ndarray:
    """Return the class ids (H, W) of a photo (H, W, 3) that goes in at another size.

    That size is size x size, or as many pixels with the ratio of the sides `kept`.
    """
    ratio = math.sqrt(image.shape[0] / image.shape[1]) if kept else 1
    shape = round(size * ratio), round(size / ratio)
    small = tf.image.resize(image, shape, antialias=True)
    logits = model(tf.round(small)[None], training=False)
    return np.argmax(tf.image.resize(logits[0], image.shape[:2]), -1)


def measured(model, examples: list[dict]) -> dict[str, dict[str, float]]:
    """Return form -> size -> mean IoU."""
    count, found = model.output.shape[-1], {"squashed": {}, "ratio kept": {}}
    cases = itertools.product(found, SIZES)
    for name, size in tqdm(list(cases), disable=None):
        score = metrics.SegmentationMetrics(count)
        for example in examples:
            ids = classes(model, example["image"], size, kept=name == "ratio kept")
            score.update_state(example["mask"], ids)
        found[name][str(size)] = float(score.result()["mean_iou"])
    return found


def probe(table: dict) -> dict[str, str]:
    """Score a made network on made photos, as `tools.results.probe` asks."""
    with made.data() as folder:
        examples = list(pets.load_examples(folder, "test").as_numpy_iterator())
        return made.flat(measured(made.colours(), examples))


def main() -> None:
    photos = "../shared/oxford-pets-sample"
    arguments = timing.begin(__doc__, model=timing.NETWORK, dataset=photos, photos=60)
    try:
        model = predict.load_network(arguments.model)
        known = networks.trained_on(model)
        (task,) = (t for t, n in pets.CLASS_NAMES.items() if n == known.class_names)
        test = pets.load_examples(arguments.dataset, "test", task=task)
        examples = list(test.as_numpy_iterator())
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
    # Every third photo or so: the list is in the order of breeds.
    chosen = np.linspace(0, len(examples) - 1, min(arguments.photos, len(examples)))
    examples = [examples[round(place)] for place in chosen]
    dataset = pathlib.Path(arguments.dataset).name
    figures = {
        "model": model.name,
        "data": f"{len(examples)} test photos of {dataset}",
        "task": task,
        "trained_at": known.image_size,
        "mean_iou": measured(model, examples),
        "probe": probes.of("scale", {}),
    }
    print("written:", environment.write_results("scale", figures).name)


if __name__ == "__main__":
    main()
