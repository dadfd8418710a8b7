"""Where things are, what this machine is, and making runs repeatable."""

import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import platform
import sys
import time
from collections.abc import Iterator

import keras
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = ROOT / "data" / "cache"
STARTED = time.perf_counter()
POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def gpus() -> list[tuple[str, tuple[int, int]]]:
    """Return name and compute capability of the GPUs that Keras's backend sees."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        details = map(tf.config.experimental.get_device_details, found)
        return [
            (one.get("device_name", "GPU"), one.get("compute_capability") or (0, 0))
            for one in details
        ]
    if backend == "jax":
        import jax

        found = [one for one in jax.devices() if one.platform == "gpu"]
        capable = (one.compute_capability.partition(".") for one in found)
        capable = [(int(major), int(minor)) for major, _, minor in capable]
        return list(zip([one.device_kind for one in found], capable, strict=True))
    from torch import cuda

    numbers = range(cuda.device_count())
    return [(cuda.get_device_name(n), cuda.get_device_capability(n)) for n in numbers]


def on_gpu() -> bool:
    """Return whether Keras's backend sees a GPU."""
    return bool(gpus())


def device_name() -> str:
    """Name the device that computes, for example `CPU, 2 cores`."""
    found = [name for name, _ in gpus()]
    if not found:
        return f"CPU, {os.cpu_count()} cores"
    return found[0] if len(found) == 1 else f"{len(found)} x {found[0]}"


def versions() -> dict[str, str]:
    """Return the versions that decide a result, by package name."""
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        backend: importlib.import_module(backend).__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def prepare(seed: int, deterministic: bool = False) -> str:
    """Seed Python, NumPy and the backend, and say what runs here.

    A keras.json that asks for channels first or for 16-bit weights is overruled. Under
    TensorFlow the memory of a GPU grows as it is needed.

    Args:
        seed: the one seed all random numbers come from.
        deterministic: whether the same run must give the same bits on this machine,
            even where that is slower; TensorFlow alone has a switch for it.

    Returns:
        One line naming the device and the versions.
    """
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    if keras.config.dtype_policy().variable_dtype != "float32":
        keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            try:
                tf.config.experimental.set_memory_growth(gpu, True)
            except RuntimeError:  # already in use: too late to change, and harmless
                break
        if deterministic:
            tf.config.experimental.enable_op_determinism()
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{device_name()}; {listed}; seed {seed}"


def provenance(*, data: str, seed: int, source: str) -> None:
    """Print how the page was made; its time is that since this module was imported."""
    print(f"device   {device_name()}")
    print("versions " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    print(f"data     {data}, seed {seed}")
    print(f"time     {time.perf_counter() - STARTED:.0f} s")
    print(f"source   {source}")


def cached_network(name: str, *settings: object) -> pathlib.Path:
    """Return where a network is kept: a path in `data/cache/models`, without ending.

    Takes how the file's name begins, and all that decides the weights, the data's state
    included. Keras's version is added: an older one cannot read a newer one's files.
    """
    key = hashlib.sha256(repr((*settings, keras.__version__)).encode()).hexdigest()
    return CACHE / "models" / f"{name}-{key[:16]}"


def results(name: str) -> dict:
    """Read what a tool or benchmark measured, from `results/`, by the file's stem."""
    path = ROOT / "results" / f"{name}.json"
    if not path.is_file():
        them = ", ".join(sorted(p.stem for p in path.parent.glob("*.json")))
        raise FileNotFoundError(f"{path} does not exist; there are {them}.")
    return json.loads(path.read_text(encoding="utf-8"))


def write_results(name: str, figures: dict) -> pathlib.Path:
    """Write what was measured to `results/` in one step, with what measured it.

    Takes the file's stem and what JSON can hold; returns the path written.
    """
    path = ROOT / "results" / f"{name}.json"
    made = {"command": command(), "device": device_name(), "versions": versions()}
    write_json(path, {**made, **figures})
    return path


def write_json(path: pathlib.Path, content: dict) -> None:
    """Write a JSON file as `replacing` does; arrays become lists."""
    text = json.dumps(content, indent=1, default=np.ndarray.tolist) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a file to write beside `path`, which takes its place once it is whole.

    A kill leaves the old file, or none; an error leaves nothing new.

    Raises:
        OSError: when there is no room, or the folder cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error.strerror or error}); make room or give "
            "another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def command() -> str:
    """Return the running command, with paths beside the checkout relative to it."""
    words = [word.replace(f"{ROOT.parent}/", "../") for word in sys.argv[1:]]
    module = pathlib.Path(sys.argv[0]).resolve().relative_to(ROOT).with_suffix("")
    return " ".join(["python -m", ".".join(module.parts), *words])


def precision_policy() -> str:
    """Choose Keras's dtype policy by what the first GPU has units for.

    `mixed_bfloat16` from capability 8.0, `mixed_float16` from 7.0, else `float32`.
    """
    found = gpus()
    capability = found[0][1] if found else (0, 0)
    if capability >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= (7, 0) else "float32"
