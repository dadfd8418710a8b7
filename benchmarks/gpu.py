"""Measure FCN on a GPU, with whatever backend Keras has there.

    python -m benchmarks.gpu --pack build/gpu --out results
    python -m benchmarks.gpu --predict      how long an H100 should take

Needs Keras, NumPy, Pillow, scikit-image and one backend; `tools.results.pack` makes the
two files in --pack. Every task runs in a process of its own, so that its peak memory is
its own, and its result is in OUT/gpu.json when it ends. Started again after a stop, it
goes on with the next one. --rehearse does a task of each kind on a CPU, tiny.
"""

import argparse
import functools
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
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "learn_fcn_jax")
)
if "--rehearse" in sys.argv:  # nothing runs long enough to be worth optimising
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np
from PIL import Image

from benchmarks import timing
from utils import environment, fcn, training, vgg16
from utils.batching import Batches

PHOTOS, WEIGHTS = "pets.npz", "vgg16.npz"
HEADS = {"slim": (512, 1), "paper": (4096, 7)}  # units and kernel of fc6
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
RECIPE = {  # that of tools.results.recipe, which a test compares
    "learning_rate": 2e-3,
    "backbone_factor": 0.1,
    "weight_decay": 1e-4,
    "dice_weight": 1.0,
}
STAGES = {"32s": 2, "16s": 2, "8s": 14}  # epochs
TRAINING_PHOTOS = 593  # of the sample of 37 breeds, for the prediction
H100 = {"float32": 494e12, "mixed_bfloat16": 989e12, "mixed_float16": 989e12}
TINY = ((1, 4), (1, 8), (1, 8), (1, 8), (1, 8))  # VGG16's blocks in a rehearsal
MINUTES = 8  # after that no task is begun that is only for time left
TASKS = {
    **{
        f"speed {head} {precision}": {"head": head, "precision": precision, "side": 224}
        for head in HEADS
        for precision in PRECISIONS
    },
    **{f"recipe seed {n}": {"seed": n, "side": 224} for n in range(3)},
    "long": {"side": 320, "epochs": 80, "keep": True},
    "paper's head": {"side": 224, "epochs": 18, "head": "paper", "spare": True},
    "large": {"side": 448, "epochs": 30, "spare": True},
}
# A task of each kind: the others compile as long and show no more.
REHEARSED = ("speed slim float32", "recipe seed 0", "long", "paper's head")


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

    A minute is added for starting and compiling.
    """
    task = TASKS[name]
    head, precision = task.get("head", "slim"), task.get("precision", "mixed_bfloat16")
    photos = TRAINING_PHOTOS * task.get("epochs", sum(STAGES.values()))
    if name.startswith("speed"):  # four epochs of ten steps, and ten passes forward
        photos = (4 + 1 / 3) * 10 * (16 + 64)
    work = photos * operations(head, task["side"])
    return (work / (H100[precision] / 3) + (30 if "seed" in task else 20)) / 60


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a packed file; ValueError where it cannot be read."""
    cure = "make it again: python -m tools.results.pack"
    try:
        with np.load(path) as stored:
            return dict(stored)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; {cure}.") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}); {cure}.") from error


def decoded(pack: dict, kind: str, side: int) -> np.ndarray:
    """Decode all photos (N, S, S, 3) or masks (N, S, S), uint8, smaller where asked."""
    found = []
    for content in np.split(pack[kind], pack[f"{kind}_ends"][:-1]):
        picture = Image.open(io.BytesIO(content.tobytes()))
        if picture.width < side:
            raise ValueError(
                f"{PHOTOS} holds pictures of {picture.width} px and {side} are needed; "
                "pack larger ones: python -m tools.results.pack --side 448."
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
    images, masks = decoded(pack, "photos", side), decoded(pack, "masks", side)
    known = set(range(len(pack["classes"]))) | {255}
    if pack["classes"].tolist() != ["pet", "background", "border"] or (
        not set(np.unique(masks)) <= known
    ):
        raise ValueError(
            f"{PHOTOS} holds other classes than pet, background and border; pack the "
            "task trimap: python -m tools.results.pack."
        )
    test = pack["test"]
    chosen = {"train": ~test, "test": test, "small": test & pack["small"]}
    return {n: (images[at], masks[at]) for n, at in chosen.items() if at.any()}


def pretrained(folder: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Return the backbone's weights by layer, cut down to the blocks in use."""
    arrays, found = read(folder / WEIGHTS), {}
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, vgg16.backbone(image)["pool5"])
    for layer in (one for one in backbone.layers if one.weights):
        shapes = [tuple(weight.shape) for weight in layer.weights]
        for number, shape in enumerate(shapes):
            array = arrays.get(f"{layer.name}/{number}")
            if array is None or any(np.less(array.shape, shape)):
                raise ValueError(
                    f"{WEIGHTS} has no weights for {layer.name}; make it again: "
                    "python -m tools.results.pack."
                )
            part = array[tuple(map(slice, shape))]
            found.setdefault(layer.name, []).append(np.float32(part))
    return found


def build(variant: str, head: str, folder: pathlib.Path) -> keras.Model:
    """Build a network on the packed backbone."""
    units, kernel = HEADS[head] if vgg16.BLOCKS is not TINY else (8, 1)
    arrays = pretrained(folder)
    # In place of the download: a machine with a GPU may have no network.
    vgg16.imagenet_weights = lambda source, dense: ("the pack", arrays)
    options = {"fc_units": units, "fc_kernel": kernel, "dropout": 0.5}
    return fcn.build(variant, 3, weights="imagenet_convolutions", **options)


class Clock(keras.callbacks.Callback):
    """Notes the seconds of every epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.started)


def fit(model: keras.Model, pair, epochs: int, seed: int, batch_size: int = 8, **more):
    """Train as the recipe does, augmenting in threads; return history and seconds."""
    options = {"shuffle": True, "augment": True, "seed": seed} | more
    data, clock = Batches(*pair, batch_size, **options), Clock()
    data.workers = max(1, (os.cpu_count() or 1) - 2)
    settings = {"seed": seed, "callbacks": [clock], "verbose": 2} | RECIPE
    history = training.fit(model, data, epochs=epochs, **settings)
    return history, clock.seconds


def scored(model: keras.Model, data: dict[str, tuple]) -> dict:
    """Return mean IoU over all test photos and over the small breeds, per output."""
    found = {n: training.evaluate(model, data[n]) for n in data if n != "train"}
    return {
        name: row["mean_iou"]
        if "mean_iou" in row
        else {output: one["mean_iou"] for output, one in row.items()}
        for name, row in found.items()
    }


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
    """Time training steps and forward passes at two sizes of a batch."""
    rate, rows = product(precision, 64 if tiny else 8192), []
    for batch_size in (2,) if tiny else (16, 64):
        steps = 2 if tiny else 10
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (batch_size * steps, side, side, 3), np.uint8)
        masks = np.int32(images[..., 0] > 127)
        model = build("8s", head, folder)
        plain = {"augment": False, "batch_size": batch_size}
        _, seconds = fit(model, (images, masks), 1 if tiny else 4, seed=0, **plain)
        call, batch = training.forward(model), np.float32(images[:batch_size])
        call(batch)
        started = time.perf_counter()
        for _ in range(steps):
            call(batch)
        forward = (time.perf_counter() - started) / steps
        work = operations(head, side) * len(images) / min(seconds)
        rows.append({
            "batch_size": batch_size,
            "train_photos_per_s": len(images) / min(seconds),
            "forward_photos_per_s": batch_size / forward,
            "share_of_product": work / rate,
            "peak_memory_gb": timing.peak_memory(),
        })  # fmt: skip
    return {"head": head, "precision": precision, "product_tflops": rate / 1e12} | {
        "rows": rows
    }


def recipe(folder, seed: int, side: int, tiny: bool) -> dict:
    """Train the three stages, each grown from the one before; score each."""
    data, found, model = photographs(folder, side), {}, None
    for number, (stage, epochs) in enumerate(STAGES.items()):
        keras.utils.set_random_seed(100 * seed + number)
        model = fcn.grow(model) if model else build(stage, "slim", folder)
        count = 1 if tiny else epochs
        _, seconds = fit(model, data["train"], count, 100 * seed + number)
        found[stage] = scored(model, data) | {"seconds": seconds}
    # What an epoch takes without augmentation: the rest is augmentation's share.
    _, plain = fit(model, data["train"], 1 if tiny else 2, seed, augment=False)
    share = 1 - min(plain) / min(found["8s"]["seconds"])
    return {"seed": seed, "stages": found, "augmentation_share": share}


def at_once(folder, out, side, epochs, tiny, head="slim", keep=False) -> dict:
    """Train one network with three outputs; with `keep`, store it as int8 too."""
    keras.utils.set_random_seed(0)
    data, model = photographs(folder, side), build("at_once", head, folder)
    _, seconds = fit(model, data["train"], 1 if tiny else epochs, seed=0)
    found = {"side": side, "epochs": len(seconds), "seconds": sum(seconds)}
    found |= {"head": head, "scores": scored(model, data)}
    if keep:
        path = out / "fcn_at_once_int8.npz"
        with environment.replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **as_int8(model))
        restore(model, read(path))
        found |= {"int8_scores": scored(model, data), "bytes": path.stat().st_size}
    return found


def as_int8(model: keras.Model) -> dict[str, np.ndarray]:
    """Return a network's weights, kernels as int8 with a scale for each output.

    The small kernels of scores and upsampling, three outputs each, stay as they are.
    """
    arrays = {}
    for number, value in enumerate(model.get_weights()):
        if value.ndim == 4 and value.shape[-1] > 3:
            scale = np.float32(np.abs(value).max((0, 1, 2)) / 127)  # (outputs,)
            scale[scale == 0] = 1
            arrays[f"{number} scale"], value = scale, np.int8(np.round(value / scale))
        arrays[f"{number}"] = value
    return arrays


def restore(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Give a network the weights that `as_int8` returned."""
    count = len(model.get_weights())
    scales = [arrays.get(f"{n} scale", np.float32(1)) for n in range(count)]
    weights = [np.float32(arrays[f"{n}"]) * scales[n] for n in range(count)]
    model.set_weights(weights)


def run(name: str, arguments: argparse.Namespace) -> dict:
    """Do one task in this process; return what it found."""
    task = {k: v for k, v in TASKS[name].items() if k != "spare"}
    if arguments.rehearse:
        task["side"] = 32 if task["side"] < 448 else 64
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


def alone(name: str) -> dict:
    """Do one task in a process of its own, whose last line is its result."""
    command = [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:], "--task", name]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        raise ValueError(f"{name} ended with {done.returncode}; start again to go on.")
    return json.loads(done.stdout.splitlines()[-1])


def measured(arguments: argparse.Namespace) -> None:
    """Do all tasks that OUT/gpu.json lacks, each in a process of its own."""
    file, started = arguments.out / "gpu.json", time.perf_counter()
    kept = json.loads(file.read_text()) if file.is_file() else {}
    about = {
        "command": environment.command(),
        "device": environment.device_name(),
        "backend": keras.backend.backend(),
        "versions": environment.versions(),
        "rehearsal": arguments.rehearse,
    }
    if kept and any(kept.get(key) != about[key] for key in ("device", "rehearsal")):
        raise ValueError(f"{file} is of another machine; give another --out.")
    tasks = kept.get("tasks", {})
    for name in REHEARSED if arguments.rehearse else TASKS:
        minutes = (time.perf_counter() - started) / 60
        late = minutes > arguments.minutes and TASKS[name].get("spare")
        if name in tasks or late:
            continue
        print(f"{name}: predicted {predicted(name):.1f} minutes on an H100", flush=True)
        tasks[name] = run(name, arguments) if arguments.rehearse else alone(name)
        not_run = [one for one in TASKS if one not in tasks]
        environment.write_json(file, about | {"tasks": tasks, "not_run": not_run})
    print(f"{file}: {len(tasks)} of {len(TASKS)} tasks")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--pack", type=pathlib.Path, default=environment.ROOT / "build" / "gpu")
    option("--out", type=pathlib.Path, default=environment.ROOT / "results")
    option("--minutes", type=float, default=MINUTES, help="then no spare task begins")
    option("--rehearse", action="store_true", help="all tasks, tiny, on a CPU")
    option("--predict", action="store_true", help="only the minutes for an H100")
    option("--task", choices=TASKS, help="this one alone; prints its result")
    arguments = parser.parse_args()
    arguments.pack, arguments.out = arguments.pack.resolve(), arguments.out.resolve()
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
                "does everything at a tiny size on a CPU."
            )
        if arguments.rehearse:
            vgg16.BLOCKS = TINY
        photographs(arguments.pack, 32)  # damaged files are told before an hour begins
        pretrained(arguments.pack)
        if arguments.task:
            print(json.dumps(run(arguments.task, arguments)))
        else:
            measured(arguments)
        return 0
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
