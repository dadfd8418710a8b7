"""Pack photos, masks and the backbone for a machine with a GPU and no network.

    python -m tools.results.pack --dataset path/to/oxford-iiit-pet

Writes build/gpu/vgg16.npz (float16) and build/gpu/pets.npz (the bytes of all WebP and
all PNG files in a row), which `benchmarks.gpu` reads. Neither is committed.
"""

import argparse
import functools
import io
import pathlib
import sys

import numpy as np
from PIL import Image

from utils import environment, pets
from utils.imagenet import imagenet_weights

FEW = 30  # photos of a breed in all; the breeds below are reported apart


def encoded(picture: np.ndarray, kind: str, **options) -> np.ndarray:
    """Return the bytes of a picture's file."""
    data = io.BytesIO()
    Image.fromarray(np.uint8(picture)).save(data, kind, **options)
    return np.frombuffer(data.getvalue(), np.uint8)


def packed(dataset: str, side: int, quality: int) -> dict[str, np.ndarray]:
    """Return what pets.npz holds: both splits, the test photos behind."""
    photos, masks, breeds, test = [], [], [], []
    for split in ("trainval", "test"):
        for images, ids in pets.load(dataset, split, image_size=side):
            photos += [encoded(one, "WEBP", quality=quality) for one in images]
            masks += [encoded(one, "PNG", optimize=True) for one in ids]
        rows = pets.load_examples(dataset, split).as_numpy_iterator()
        breeds += [int(row["label"]) for row in rows]
        test += [split == "test"] * (len(breeds) - len(test))
    return {
        "photos": np.concatenate(photos),
        "photos_ends": np.cumsum([len(one) for one in photos]),
        "masks": np.concatenate(masks),
        "masks_ends": np.cumsum([len(one) for one in masks]),
        "test": np.array(test),
        "small": np.bincount(breeds)[breeds] < FEW,
        "classes": np.array(pets.CLASS_NAMES["trimap"]),
    }


def backbone() -> dict[str, np.ndarray]:
    """Return what vgg16.npz holds: the weights of each layer by number, float16."""
    _, layers = imagenet_weights()
    return {
        f"{name}/{number}": np.float16(array)
        for name, arrays in layers.items()
        for number, array in enumerate(arrays)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("--dataset", required=True, help="a folder, or oxford_iiit_pet (811 MB)")
    option("--side", type=int, default=448, help="of the square photos, in pixels")
    option("--quality", type=int, default=80, help="of the WebP files")
    option("--out", type=pathlib.Path, default=environment.ROOT / "build" / "gpu")
    arguments = parser.parse_args()
    try:
        photos = functools.partial(
            packed, arguments.dataset, arguments.side, arguments.quality
        )
        for name, arrays in (("vgg16.npz", backbone), ("pets.npz", photos)):
            path = arguments.out / name
            content = arrays()
            with environment.replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **content)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
