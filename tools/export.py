"""Export a trained network; say what each form costs in size, speed, memory, accuracy.

    python -m tools.export --model M.keras --out DIR --dataset DATA

`savedmodel` and `onnx` take photos of any size; the `litert` forms have the size the
network was trained at. `litert-int8` is calibrated on training photos of the data set.
Then every form classifies the pixels of the same test photos, in a process of its own,
and is compared with the Keras model in float32. Writes results/export.json; exits with
1 when a form is not what it should be.

What is not TensorFlow's comes with `make export` (requirements-export.txt).
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

from tools.results import made
from tools.results import probe as probes
from utils import environment, metrics, networks, pets, predict

NEEDS = {
    "savedmodel": (),
    "onnx": ("tf2onnx", "onnxruntime"),
    "litert-float32": ("ai_edge_litert",),
    "litert-float16": ("ai_edge_litert",),
    "litert-int8": ("ai_edge_litert",),
}
KINDS = {"savedmodel": ("tf_saved_model", ""), "onnx": ("onnx", ".onnx")}  # else LiteRT
EQUAL_PIXELS = 0.999  # least share of pixels of the same class, float forms
IOU_LOST = 0.01  # most mean IoU an int8 form may be away


def in_float32(model: keras.Model) -> keras.Model:
    """Return a copy that computes in float32, whatever the network was trained in."""
    copy = keras.models.clone_model(
        model,
        clone_function=lambda x: x.from_config(x.get_config() | {"dtype": "float32"}),
    )
    copy.set_weights(model.get_weights())
    return copy


def export(
    model: keras.Model, form: str, folder: pathlib.Path, calibration: np.ndarray | None
) -> pathlib.Path:
    """Write one form of a float32 network; return the file, or SavedModel's folder.

    Args:
        model: of `networks.remember`.
        form: a key of `NEEDS`.
        folder: where it goes.
        calibration: photos (N, S, S, 3), for int8 only.
    """
    size = networks.trained_on(model).image_size
    kind, ending = KINDS.get(form, ("litert", ".tflite"))
    path, options = folder / f"{form}{ending}", {"format": kind}
    model(np.zeros((1, size, size, 3), np.float32))  # Keras exports what was called
    if form == "savedmodel":
        shutil.rmtree(path, ignore_errors=True)
    if kind == "litert":
        photo = keras.InputSpec(shape=(1, size, size, 3), dtype="float32")
        options["input_signature"] = [photo]
    if form in ("litert-float16", "litert-int8"):
        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    if form == "litert-float16":
        options["target_spec"] = {"supported_types": [tf.float16]}
    if form == "litert-int8":
        options["representative_dataset"] = lambda: ([p[None]] for p in calibration)
        # No fallback: an operation without an int8 form would be an error.
        int8 = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        options["target_spec"] = {"supported_ops": [int8]}
    model.export(path, verbose=False, **options)
    return path


def size_on_disk(path: pathlib.Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def run(form: str, path: pathlib.Path, images: np.ndarray) -> tuple[dict, np.ndarray]:
    """Run one form in a process of its own; return its costs and its class ids."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = (pathlib.Path(folder) / f"{x}.npy" for x in ("photos", "ids"))
        np.save(given, images)
        words = [sys.executable, "-m", "tools.run_exported", form, path.resolve()]
        words += [given, found]
        root = environment.ROOT
        options = {"capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(words, cwd=root, **options)
        if done.returncode:
            raise ValueError(f"{form} does not run: {done.stderr.strip()[-500:]}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(found)


def mean_iou(masks: np.ndarray, ids: np.ndarray, num_classes: int) -> float:
    """Score class ids (N, H, W) against masks (N, H, W)."""
    confusion = metrics.confusion_matrix(masks, ids, num_classes)
    return float(metrics.scores(confusion)["mean_iou"])


def probe(table: dict) -> dict[str, str]:
    """Look at what needs no other package: photos and scores."""
    with made.data() as folder:
        chosen, _ = spread(folder, "trainval", "trimap", 64, 7)
    ids, masks = (np.int32(3 * made.numbers((2, 9, 9), x)) for x in ("ids", "mask"))
    network = in_float32(made.colours())
    return {
        "photos order": made.words(map(made.number_of, chosen)),
        "mean IoU scores": made.words([mean_iou(masks, ids, 3)]),
        "network logits": made.words(made.moments(network(chosen))),
    }


def problems(rows: dict[str, dict]) -> list[str]:
    """Say which forms are not what they should be."""
    found = []
    for form, row in rows.items():
        if form == "litert-int8":
            if abs(row["mean_iou_lost"]) > IOU_LOST:
                found.append(f"{form} loses {row['mean_iou_lost']:.4f} of mean IoU")
        elif row["equal_pixels"] < EQUAL_PIXELS:
            found.append(f"{form} agrees on {row['equal_pixels']:.2%} of pixels only")
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Export a network and compare forms.")
    option = parser.add_argument
    option("--model", required=True, help="of networks.remember")
    option("--out", required=True, type=pathlib.Path, help="folder")
    option("--dataset", required=True, help="as in pets.load")
    option("--formats", nargs="+", choices=NEEDS, default=list(NEEDS))
    option("--photos", type=int, default=32, help="test photos")
    arguments = parser.parse_args()
    if arguments.photos < 1:
        parser.error("--photos: give a whole number from 1 up.")
    return arguments


def check_packages(forms: list[str]) -> None:
    """Raise when a package is missing, naming the cure."""
    for form in forms:
        missing = [p for p in NEEDS[form] if importlib.util.find_spec(p) is None]
        if missing:
            raise ValueError(
                f"{form} needs the package {missing[0]}; install it with make export, "
                "or leave the form out with --formats."
            )


def spread(dataset: str, split: str, task: str, size: int, count: int):
    """Take images (N, S, S, 3) and masks from all over a split, ordered by breed."""
    one_by_one = pets.load(dataset, split, task=task, image_size=size, batch_size=1)
    places = np.linspace(0, len(one_by_one) - 1, min(count, len(one_by_one))).round()
    pairs = enumerate(one_by_one.as_numpy_iterator())
    chosen = [pair for place, pair in pairs if place in places]
    return [np.concatenate(part) for part in zip(*chosen, strict=True)]


def compare(arguments: argparse.Namespace) -> list[str]:
    """Do it all; return what is not as it should be."""
    check_packages(arguments.formats)
    print(environment.prepare(seed=0), flush=True)
    trained = predict.load_network(arguments.model)
    known = networks.trained_on(trained)
    tasks = {tuple(names): task for task, names in pets.CLASS_NAMES.items()}
    if known is None or known.class_names not in tasks:
        raise ValueError(
            f"{arguments.model} does not say for which task of utils.pets it was "
            "trained, and at what size; keep both with networks.remember."
        )
    task, size = tasks[known.class_names], known.image_size
    model = in_float32(trained)
    images, masks = spread(arguments.dataset, "test", task, size, arguments.photos)
    calibration = described = None
    if "litert-int8" in arguments.formats:
        calibration, _ = spread(arguments.dataset, "train", task, size, 100)
        described = f"{len(calibration)} training photos"

    files = {"keras": arguments.out / "keras.keras"}
    networks.save_model(model, files["keras"])
    for form in arguments.formats:
        files[form] = export(model, form, arguments.out, calibration)

    rows, ids = {}, {}
    for form, path in files.items():
        costs, ids[form] = run(form, path, images)
        rows[form] = {
            "megabytes": size_on_disk(path) / 1e6,
            **costs,
            "equal_pixels": float((ids[form] == ids["keras"]).mean()),
            "mean_iou": mean_iou(masks, ids[form], len(known.class_names)),
        }
        lost = rows["keras"]["mean_iou"] - rows[form]["mean_iou"]
        rows[form]["mean_iou_lost"] = lost
        print(f"{form}: {rows[form]}", flush=True)
    as_trained = [trained(x[None], training=False)[0] for x in images]
    equal = np.argmax(as_trained, -1) == ids["keras"]
    packages = [package for form in arguments.formats for package in NEEDS[form]]
    version = importlib.metadata.version
    figures = {
        "export_versions": {p: version(p.replace("_", "-")) for p in packages},
        "model": model.name,
        "trained_in": sorted({layer.dtype_policy.name for layer in trained.layers}),
        "as_trained_equal_pixels": float(equal.mean()),
        "data": f"{len(images)} test photos of {pathlib.Path(arguments.dataset).name}",
        "task": task,
        "image_size": size,
        "calibration": described,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "forms": rows,
        "probe": probes.of("export", {}),
    }
    print(f"results/{environment.write_results('export', figures).name}")
    return problems(rows)


def main() -> int:
    try:
        wrong = compare(parsed())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if wrong:
        print(f"error: {'; '.join(wrong)}.", file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
