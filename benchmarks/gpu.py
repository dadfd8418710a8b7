"""Measure FCN on a GPU, with whatever backend Keras has there.

    KERAS_BACKEND=jax python -m benchmarks.gpu --pack build/gpu --out build/gpu_results
    KERAS_BACKEND=jax python -m benchmarks.gpu --predict       minutes on an H100

Needs Keras, NumPy, Pillow, scikit-image and one backend; `tools.results.pack` makes the
two files in --pack. Every task runs in a process of its own, so that its peak memory is
its own, and its result is in OUT/gpu.json when it ends. Started again after a stop, it
goes on with the next one. --rehearse does one task of each kind, tiny, in one process,
and needs no GPU. A step is one of `training.fit`, with its metrics and the wait for its
loss. float32 means TF32 here, but for the matrix product under PyTorch.
"""

import argparse
import functools
import gc
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

# JAX takes three quarters of a GPU's memory at once unless told otherwise.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # TensorFlow all of it
# What one task's process has compiled serves the next one's.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "learn_fcn_jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if "--rehearse" in sys.argv:  # nothing runs long enough to be worth optimising
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
from PIL import Image

from benchmarks import timing
from utils import batching, environment, fcn, networks, training, vgg16
from utils.batching import Batches

PHOTOS, WEIGHTS = "pets.npz", "vgg16.npz"
CLASSES = ["pet", "background", "border"]
PACK = "pack it again: python -m tools.results.pack --dataset FOLDER"
HEADS = {"slim": (512, 1), "paper": (4096, 7)}  # units and kernel of fc6
RECIPE = {  # that of tools.results.recipe, which a test compares
    "learning_rate": 2e-3,
    "backbone_factor": 0.1,
    "weight_decay": 1e-4,
    "dice_weight": 1.0,
}
STAGES = {"32s": 2, "16s": 2, "8s": 14}  # epochs
TRAINING_PHOTOS = 592  # whole batches of 593, of 37 breeds, for the prediction
H100 = {"float32": 494e12, "mixed_bfloat16": 989e12, "mixed_float16": 989e12}
TINY = ((1, 4), (1, 8), (1, 8), (1, 8), (1, 8))  # VGG16's blocks in a rehearsal
MINUTES = 8  # after that no task is begun that is only for time left
TASKS = {  # in the order of their worth; `spare` ones where time is left
    "speed slim mixed_bfloat16": {"head": "slim", "precision": "mixed_bfloat16"},
    "recipe seed 0": {"seed": 0},
    "long": {"side": 320, "epochs": 80, "keep": True},
    "speed slim float32": {"head": "slim", "precision": "float32"},
    "recipe seed 1": {"seed": 1},
    "recipe seed 2": {"seed": 2},
    "speed slim mixed_float16": {"head": "slim", "precision": "mixed_float16"},
    "speed paper mixed_bfloat16": {
        "head": "paper",
        "precision": "mixed_bfloat16",
        "spare": True,
    },
    "speed paper float32": {"head": "paper", "precision": "float32", "spare": True},
    "paper's head": {"side": 224, "epochs": 18, "head": "paper", "spare": True},
    "large": {"side": 448, "epochs": 30, "spare": True},
    "speed paper mixed_float16": {
        "head": "paper",
        "precision": "mixed_float16",
        "spare": True,
    },
}
SIDE = 224  # of the square photos, unless a task names another
MOST = None  # photos of a kind; a rehearsal takes 32
# One of each kind. Half precision, because its loss is scaled on the way.
REHEARSED = ("recipe seed 0", "long", "speed slim mixed_float16", "paper's head")


def operations(head: str, side: int) -> float:
    """Return the operations of a training step for a photo: two a multiply-add.

    Forward, and twice as many backward. Scores and upsampling are left out (1 %).
    """
    units, kernel = HEADS[head]
    convolutions = 15_346_630_656 * (side / 224) ** 2
    dense = (512 * units * kernel**2 + units**2) * (side / 32) ** 2
    return 2 * 3 * (convolutions + dense)


def predicted(name: str) -> float:
    """Return the minutes a task should take on an H100 at a third of its peak rate.

    Half a minute is added for each network and size of a batch that is compiled.
    """
    task = TASKS[name]
    head, precision = task.get("head", "slim"), task.get("precision", "mixed_bfloat16")
    photos = TRAINING_PHOTOS * task.get("epochs", sum(STAGES.values()))
    compiled = 1
    if "seed" in task:  # a second seed finds a part of it compiled
        compiled = 3 if task["seed"] == 0 else 2
    if name.startswith("speed"):  # three epochs of ten steps, and ten passes forward
        photos, compiled = (3 + 1 / 3) * 10 * (16 + 64), 2
    work = photos * operations(head, task.get("side", SIDE))
    return (work / (H100[precision] / 3) + 30 * compiled) / 60


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file; ValueError where it cannot be read."""
    try:
        with np.load(path) as stored:
            return dict(stored)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; {PACK}.") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); {PACK}.") from error


def decoded(pack: dict, kind: str, numbers: np.ndarray, side: int) -> np.ndarray:
    """Decode photos (N, S, S, 3) or masks (N, S, S), uint8, smaller where asked."""
    found, contents = [], np.split(pack[kind], pack[f"{kind}_ends"][:-1])
    for number in numbers:
        picture = Image.open(io.BytesIO(contents[number].tobytes()))
        if picture.width < side:
            raise ValueError(
                f"{PHOTOS} holds pictures of {picture.width} px and {side} are needed; "
                f"{PACK} --side 448."
            )
        if kind == "photos" and picture.width != side:
            # Averaged where it shrinks, as utils.pet_records does.
            picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        places = np.int64((np.arange(side) + 0.5) * len(pixels) / side)
        found.append(pixels if kind == "photos" else pixels[places][:, places])
    return np.stack(found)


@functools.cache
def photographs(folder: pathlib.Path, side: int) -> dict[str, tuple]:
    """Return images and masks of `train`, `test` and, of that, the small breeds."""
    pack = read(folder / PHOTOS)
    needed = {
        "photos",
        "photos_ends",
        "masks",
        "masks_ends",
        "test",
        "small",
        "classes",
    }
    if missing := needed - set(pack):
        raise ValueError(f"{PHOTOS} has no {min(missing)}; it is no pack of photos.")
    test = pack["test"]
    chosen = {"train": ~test, "test": test, "small": test & pack["small"]}
    chosen = {name: np.flatnonzero(one)[:MOST] for name, one in chosen.items()}
    used = np.unique(np.concatenate(list(chosen.values())))
    images, masks = (decoded(pack, kind, used, side) for kind in ("photos", "masks"))
    known = set(range(len(pack["classes"]))) | {255}
    if pack["classes"].tolist() != CLASSES or (not set(np.unique(masks)) <= known):
        raise ValueError(
            f"{PHOTOS} holds other classes than pet, background and border; {PACK}."
        )
    found = {n: np.searchsorted(used, at) for n, at in chosen.items() if len(at)}
    return {name: (images[at], masks[at]) for name, at in found.items()}


@functools.cache
def backbone_weights(folder: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Return the backbone's weights by layer, cut down to the blocks in use."""
    arrays, found = read(folder / WEIGHTS), {}
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, vgg16.backbone(image)["pool5"])
    for layer in (one for one in backbone.layers if one.weights):
        shapes = [tuple(weight.shape) for weight in layer.weights]
        for number, shape in enumerate(shapes):
            array = arrays.get(f"{layer.name}/{number}")
            if array is None or any(np.less(array.shape, shape)):
                raise ValueError(f"{WEIGHTS} has no weights for {layer.name}; {PACK}.")
            part = array[tuple(map(slice, shape))]
            found.setdefault(layer.name, []).append(np.float32(part))
    return found


def build(
    variant: str, head: str, folder: pathlib.Path, dropout: float = 0.5
) -> keras.Model:
    """Build a network on the packed backbone."""
    units, kernel = HEADS[head] if vgg16.BLOCKS is not TINY else (8, 1)
    arrays = backbone_weights(folder)
    # In place of the download: a machine with a GPU may have no network.
    vgg16.imagenet_weights = lambda source, dense: ("the pack", arrays)
    options = {"fc_units": units, "fc_kernel": kernel, "dropout": dropout}
    return fcn.build(variant, 3, weights="imagenet_convolutions", **options)


class Clock(keras.callbacks.Callback):
    """Notes when each step ended: `StopAtNaN` has waited for its loss before."""

    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.epochs[-1].append(time.perf_counter())

    def step(self) -> float:
        """Return the median seconds of a step, the first epoch left out."""
        later = self.epochs[1:] or self.epochs
        return float(np.median(np.concatenate([np.diff(one) for one in later])))


class OnDevice(Batches):
    """Batches of photos that lie on the GPU; there the same draws change them."""

    def __init__(self, *pair, **options):
        super().__init__(*pair, **options)
        put = keras.ops.convert_to_tensor
        self.resident = put(self.images), put(np.int32(self.masks))

    def made(self, epoch: int, batch: int):
        """Return a batch of any epoch, as the backend's tensors."""
        places = self.plan.places(epoch, batch)
        if not self.plan.augment:
            return tuple(keras.ops.take(part, places, axis=0) for part in self.resident)
        draws = self.plan.draws(epoch, places)
        # For photos (B, 1, 1, 1): grey levels more or less, and the spread's factor.
        light = np.float32(2 * draws[:, 4:].T[..., None, None, None] - 1)
        factor = 1 + batching.MAX_CONTRAST * light[1]
        y1, x1, y2, x2 = batching.windows(draws[:, :4]).T
        rows = positions(y1, y2, self.masks.shape[1])
        columns = positions(x1, x2, self.masks.shape[2])
        brightness = batching.MAX_BRIGHTNESS * light[0]
        return augmented()(*self.resident, places, brightness, factor, rows, columns)


def positions(start: np.ndarray, end: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Return (B, S) arrays: where rows or columns of windows come from in a photo."""
    # As `batching.crop` finds them.
    at = np.round(np.linspace(start, end, size, axis=1) * (size - 1), 6)
    known, at = (at >= 0) & (at <= size - 1), at.clip(0, size - 1)
    low, nearest = np.int32(at), np.int32(at + 0.5)
    far, share = np.minimum(low + 1, size - 1), np.float32(at - low)
    return {"low": low, "far": far, "share": share, "nearest": nearest, "known": known}


@functools.cache
def augmented():
    """Return a function that does `batching.augment`, compiled where that can be."""
    ops = keras.ops

    def change(images, masks, places, brightness, factor, rows, columns):
        images = ops.cast(ops.take(images, places, axis=0), "float32")
        masks, known = ops.take(masks, places, axis=0), True
        # With `+`: Keras's `add` on TensorFlow takes (3, 1, 1, 1) for three channels.
        images = ops.clip(images + brightness, 0, 255)
        mean = ops.mean(images, axis=(1, 2, 3), keepdims=True)
        images = ops.clip(mean + (images - mean) * factor, 0, 255)
        for axis, one in ((1, rows), (2, columns)):
            one = {name: ops.expand_dims(at, 3 - axis) for name, at in one.items()}
            low, far, share = (one[name][..., None] for name in ("low", "far", "share"))
            near = ops.take_along_axis(images, low, axis)
            images = near + (ops.take_along_axis(images, far, axis) - near) * share
            masks = ops.take_along_axis(masks, one["nearest"], axis)
            known = one["known"] & known
        images = ops.where(known[..., None], images, np.float32(batching.FILL))
        return images, ops.where(known, masks, batching.VOID)

    def given(*arguments):
        return change(*keras.tree.map_structure(ops.convert_to_tensor, arguments))

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(given)
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        return tensorflow.function(given)
    return given


def fit(model: keras.Model, pair, epochs: int, seed: int, **options):
    """Train as the recipe does; return seconds of a step, and of making its photos."""
    options = {"shuffle": True, "augment": True, "batch_size": 8} | options
    size = min(options["batch_size"], max(1, len(pair[0]) // 2))  # two steps or more
    # Whole batches alone: another size would be compiled for itself.
    pair = [part[: len(part) // size * size] for part in pair]
    data, clock = OnDevice(*pair, seed=seed, **options | {"batch_size": size}), Clock()
    settings = {"seed": seed, "callbacks": [clock], "verbose": 0} | RECIPE
    training.fit(model, data, epochs=epochs, **settings)

    def made():  # a number of the batch, to wait for it
        return float(keras.ops.max(data.made(0, 0)[0]))

    made()
    return {"step_seconds": clock.step(), "making_seconds": timing.seconds(made, 10)}


def evaluated(model: keras.Model, images: np.ndarray, masks: np.ndarray) -> dict:
    """Do `training.evaluate` in whole batches of 16, filled up with void photos."""
    void = np.full((-len(masks) % 16, *masks.shape[1:]), 255, masks.dtype)
    images = np.concatenate([images, np.zeros((*void.shape, 3), images.dtype)])
    return training.evaluate(model, (images, np.concatenate([masks, void])))


def scored(model: keras.Model, data: dict[str, tuple]) -> dict:
    """Return mean IoU over all test photos and over the small breeds, per output."""
    found = {}
    for name in [name for name in data if name != "train"]:
        row = evaluated(model, *data[name])
        if "mean_iou" in row:
            found[name] = row["mean_iou"]
        else:
            found[name] = {output: one["mean_iou"] for output, one in row.items()}
    return found


def product(precision: str, size: int) -> float:
    """Return the operations a second of a large matrix product."""
    dtype = precision.removeprefix("mixed_")
    one = keras.ops.cast(keras.random.normal((size, size), seed=0), dtype)
    best = math.inf
    for _ in range(6):
        started = time.perf_counter()
        for _ in range(10):
            result = keras.ops.matmul(one, one)
        float(keras.ops.convert_to_numpy(result[0, 0]))  # waits for the GPU
        best = min(best, (time.perf_counter() - started) / 10)
    return 2 * size**3 / best


def speed(folder, head: str, precision: str, side: int, tiny: bool) -> dict:
    """Time training steps and forward passes at two sizes of a batch.

    Peak memory includes compiling, where nothing compiled was found. Passes forward end
    with a number for each photo, so that no logits are copied from the GPU.
    """
    rows, steps = [], 3 if tiny else 10
    for batch_size in (2,) if tiny else (16, 64):
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (batch_size * steps, side, side, 3), np.uint8)
        masks = np.uint8(images[..., 0] > 127)
        model = build("8s", head, folder)
        plain = {"augment": False, "batch_size": batch_size}
        step = fit(model, (images, masks), 1 if tiny else 3, seed=0, **plain)
        train = batch_size / step["step_seconds"]
        largest = keras.ops.max(model.output, axis=(1, 2, 3))
        call = training.forward(keras.Model(model.input, largest))
        batch = keras.ops.convert_to_tensor(np.float32(images[:batch_size]))
        call(batch)
        forward = timing.seconds(lambda call=call, batch=batch: call(batch), steps)
        rows.append({
            "batch_size": batch_size,
            "train_photos_per_s": train,
            "forward_photos_per_s": batch_size / forward,
            "operations_per_s": operations(head, side) * train,
            "peak_memory_gb": timing.peak_memory(),
        })  # fmt: skip
        del model, call, largest
        gc.collect()
    rate = product(precision, 64 if tiny else 8192)
    for row in rows:
        row["share_of_product"] = row.pop("operations_per_s") / rate
    about = {"head": head, "precision": precision, "product_tflops": rate / 1e12}
    return about | {"rows": rows}


def recipe(folder, seed: int, side: int, tiny: bool) -> dict:
    """Train the three stages, each grown from the one before; score each."""
    data, found, model = photographs(folder, side), {}, None
    for number, (stage, epochs) in enumerate(STAGES.items()):
        keras.utils.set_random_seed(100 * seed + number)
        model = fcn.grow(model) if model else build(stage, "slim", folder)
        count, start = 1 if tiny else epochs, 100 * seed + number
        step = fit(model, data["train"], count, start)
        found[stage] = scored(model, data) | step
    return {"seed": seed, "stages": found}


def at_once(folder, out, side, epochs, tiny, head="slim", keep=False) -> dict:
    """Train one network with three outputs; with `keep`, store it as int8 too."""
    keras.utils.set_random_seed(0)
    data, model = photographs(folder, side), build("at_once", head, folder)
    epochs = 1 if tiny else epochs
    found = {"side": side, "epochs": epochs, "head": head}
    found |= fit(model, data["train"], epochs, seed=0)
    found["scores"] = scored(model, data)
    if keep:
        path = out / "fcn_at_once_int8.npz"
        with environment.replacing(path) as temporary, temporary.open("wb") as file:
            about = {"image_size": side, "class_names": CLASSES}
            np.savez_compressed(file, **about, **as_int8(model))
        networks.restore(model, read(path))
        found |= {"int8_scores": scored(model, data), "bytes": path.stat().st_size}
    return found


def as_int8(model: keras.Model) -> dict[str, np.ndarray]:
    """Return what `networks.restore` reads, kernels with a scale for each output.

    The small kernels of scores and upsampling, three outputs each, stay as they are.
    """
    arrays = {one.name: np.float32(one.scale) for one in networks.rescaling(model)}
    for number, value in enumerate(model.get_weights()):
        if value.ndim == 4 and value.shape[-1] > 3:
            scale = np.float32(np.abs(value).max((0, 1, 2)) / 127)  # (outputs,)
            scale[scale == 0] = 1
            arrays[f"{number} scale"], value = scale, np.int8(np.round(value / scale))
        arrays[f"{number}"] = value
    return arrays


def run(name: str, arguments: argparse.Namespace) -> dict:
    """Do one task in this process; return what it found."""
    task = {"side": SIDE} | TASKS[name]
    task.pop("spare", None)
    if arguments.rehearse:
        task["side"] = 32
    keras.config.set_dtype_policy(task.get("precision", "mixed_bfloat16"))
    folder, tiny = arguments.pack, arguments.rehearse
    started = time.perf_counter()
    if "seed" in task:
        found = recipe(folder, tiny=tiny, **task)
    elif "epochs" in task:
        found = at_once(folder, arguments.out, tiny=tiny, **task)
    else:
        found = speed(folder, tiny=tiny, **task)
    return found | {"task_seconds": time.perf_counter() - started}


def alone(name: str, arguments: argparse.Namespace) -> dict | None:
    """Do one task in a process of its own; None where it failed, which it has said."""
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--task", name]
    return printed(name, command, arguments.slowest, ": --slowest")


def printed(name: str, command: list, limit: float, cure: str = "") -> dict | None:
    """Return the JSON of a command's last line; None where it failed, which is said."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=limit)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        print(f"{name} ended with exit status {done.returncode}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        print(f"{name} took over {limit:.0f} s{cure}", file=sys.stderr)
    except (ValueError, IndexError):
        print(f"{name} ended without a result", file=sys.stderr)
    return None


def kept(file: pathlib.Path, about: dict) -> dict:
    """Return the tasks that are done; refuse a file of something else."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        keys = ("device", "backend", "versions", "rehearsal")
        same = all(found[key] == about[key] for key in keys)
        tasks = dict(found["tasks"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged; give another --out.") from None
    if not same:
        raise ValueError(
            f"{file} is of another machine or version; give another --out."
        )
    return tasks


def measured(arguments: argparse.Namespace) -> list[str]:
    """Do all tasks that OUT/gpu.json lacks; return the names of those that failed."""
    file, started, failed = arguments.out / "gpu.json", time.perf_counter(), []
    about = {
        "command": "python -m benchmarks.gpu",  # the folders are of that machine
        "device": environment.device_name(),
        "backend": keras.backend.backend(),
        "versions": environment.versions(),
        "rehearsal": arguments.rehearse,
    }
    tasks = kept(file, about)
    # What is wrong with the files is said before the first task begins.
    sides = [task.get("side", SIDE) for task in TASKS.values()]
    data = photographs(arguments.pack, 32 if arguments.rehearse else max(sides))
    backbone_weights(arguments.pack)
    if arguments.slowest is None:
        arguments.slowest = 240 * max(1, len(data["train"][0]) / TRAINING_PHOTOS)
    if not arguments.rehearse:  # every task reads them anew, in its own process
        del data
        photographs.cache_clear()
        backbone_weights.cache_clear()
    for name in REHEARSED if arguments.rehearse else TASKS:
        minutes = (time.perf_counter() - started) / 60
        if name in tasks:
            continue
        if minutes > arguments.minutes and TASKS[name].get("spare"):
            print(f"{name}: not begun after {arguments.minutes:g} minutes: --minutes")
            continue
        print(f"{name}: predicted {predicted(name):.1f} minutes on an H100", flush=True)
        found = (run if arguments.rehearse else alone)(name, arguments)
        if found is None:
            failed.append(name)
            continue
        tasks[name] = found
        not_run = [one for one in TASKS if one not in tasks]
        environment.write_json(file, about | {"tasks": tasks, "not_run": not_run})
    print(f"{file}: {len(tasks)} of {len(TASKS)} tasks")
    return failed


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--pack", type=pathlib.Path, default=environment.ROOT / "build" / "gpu")
    option("--out", type=pathlib.Path, help="default: build/gpu_results")
    words = "seconds, then a task is given up (default: 240 for 592 photos)"
    option("--slowest", type=float, help=words)
    option("--minutes", type=float, default=MINUTES, help="then no spare task begins")
    option(
        "--rehearse", action="store_true", help="one of each kind, tiny; needs no GPU"
    )
    option("--predict", action="store_true", help="only the minutes for an H100")
    option("--task", choices=TASKS, help="this one alone; prints its result")
    arguments = parser.parse_args()
    kind = "gpu_rehearsal" if arguments.rehearse else "gpu_results"
    arguments.out = (arguments.out or environment.ROOT / "build" / kind).resolve()
    arguments.pack = arguments.pack.resolve()
    return arguments


def main() -> int:
    arguments = parsed()
    if arguments.predict:
        for name in TASKS:
            print(f"{name:28} {predicted(name):5.2f} minutes")
        print(f"{'all':28} {sum(map(predicted, TASKS)):5.2f} minutes")
        return 0
    try:
        if not (environment.on_gpu() or arguments.rehearse):
            raise ValueError(
                f"Keras's backend {keras.backend.backend()} sees no GPU; --rehearse "
                "does one task of each kind at a tiny size on a CPU."
            )
        if arguments.rehearse:
            vgg16.BLOCKS, globals()["MOST"] = TINY, 32
        if arguments.task:
            print(json.dumps(run(arguments.task, arguments)))
            return 0
        if failed := measured(arguments):
            raise ValueError(f"{', '.join(failed)} failed; start again to try them.")
        return 0
    except (ValueError, OSError, FloatingPointError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
