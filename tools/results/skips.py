"""Train FCN-8s with skips of other sizes at other learning rates, on photographs.

    python -m tools.results.skips --dataset ../shared/oxford-pets-37

The backbone is frozen, so its features are computed once; trained is on `train` and
scored on `validation`, both of trainval. Skips come in as VGG16's pools are, with the
paper's constants, and with a spread of 1, 10 and 100. Each run is in results/skips.json
when it ends; started again, the command goes on with what is missing.
"""

import argparse
import contextlib
import itertools
import pathlib
import sys

import keras

from tools.results import made
from tools.results import probe as probes
from tools.results.recipe import SLIM
from utils import environment, fcn, networks, pets, training

SIZE, BATCH, EPOCHS = 160, 16, 4
RATES = (1e-4, 1e-3, 1e-2, 1e-1)
PAPER = {"pool3": 1e-4, "pool4": 1e-2}  # factors of the paper's code
SPREADS = {"as they are": None, "the paper's": PAPER, "1": 1, "10": 10, "100": 100}


def network(spread) -> keras.Model:
    """Return an untrained 8s, its backbone frozen, whose skips have this spread."""
    keras.utils.set_random_seed(0)
    model = fcn.build("8s", 3, **SLIM)
    training.freeze(model, (1, 2, 3, 4, 5))
    for pool, factor in PAPER.items():
        layer = model.get_layer(f"{pool}_rescaled")
        if isinstance(spread, dict):
            layer.scale = factor
        else:
            layer.scale = layer.scale * spread if spread else 1.0
    return model


def run(spread: str, rate: float, train, validation, epochs: int) -> dict:
    """Train one network; return its losses and scores, epoch by epoch."""
    model = network(SPREADS[spread])
    # Made here, so that each network sees the photos in the same order.
    train = train.shuffle(len(train), seed=0).batch(BATCH)
    try:
        history = training.fit(
            networks.heads(model),
            train,
            epochs=epochs,
            learning_rate=rate,
            validation=validation,
            verbose=0,
        )
    except FloatingPointError:  # a result as well
        history = {"loss": [], "val_mean_iou": []}
    chosen = {name: history[name] for name in ("loss", "val_mean_iou")}
    return {"spread": spread, "learning_rate": rate} | chosen


def features(dataset: str, size: int) -> tuple:
    """Return what the frozen backbone says of `train` and of `validation`."""
    model, found = network(1), []
    for split in ("train", "validation"):
        photos = pets.load(dataset, split, image_size=size, batch_size=BATCH)
        found.append(networks.backbone_features(model, photos))
    train, validation = found
    return train, validation.batch(BATCH)


def probe(table: dict) -> dict[str, str]:
    """Look at what one run does, and at every network's factors."""
    with made.data() as folder, made.watching(folder, "trimap") as seen:
        data = features(folder, made.SIZE)
        with contextlib.suppress(KeyError):  # a stand-in's history has no scores
            run("10", table["rates"][0], *data, epochs=table["epochs"])
        found = seen[0]
        for name, spread in SPREADS.items():
            layers = networks.rescaling(network(spread))
            factors = (x for one in layers for x in (one.name, float(one.scale)))
            found[f"{name} steps"] = made.words(factors)
    return found


def measure(dataset: str) -> None:
    """Train what results/skips.json lacks; ValueError where it is of another run."""
    environment.prepare(seed=0)
    figures = {"dataset": pathlib.Path(dataset).name, "image_size": SIZE}
    figures |= {"epochs": EPOCHS, "batch_size": BATCH, "rates": list(RATES)}
    settings = list(figures)
    figures["probe"] = probes.of("skips", figures)
    rows, kept = [], set()
    if (environment.ROOT / "results" / "skips.json").is_file():
        try:
            done = environment.results("skips")
            rows, same = done["runs"], all(done[k] == figures[k] for k in settings)
            kept = {(row["spread"], row["learning_rate"]) for row in rows}
            same &= not probes.differences(done["probe"], figures["probe"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("results/skips.json is damaged; remove it.") from error
        if not same:
            raise ValueError("results/skips.json is of another run; remove it.")
    data = features(dataset, SIZE)
    for spread, rate in itertools.product(SPREADS, RATES):
        if (spread, rate) in kept:
            continue
        rows.append(run(spread, rate, *data, EPOCHS))
        print(spread, rate, rows[-1]["val_mean_iou"][-1:], flush=True)
        environment.write_results("skips", figures | {"runs": rows})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True, help="as in pets.load")
    try:
        measure(parser.parse_args().dataset)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
