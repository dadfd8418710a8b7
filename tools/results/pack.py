"""Pack photos, masks and the backbone for a machine with a GPU and no network.

    python -m tools.results.pack --dataset path/to/oxford-iiit-pet

Writes build/gpu/pets.npz (JPEG and PNG files one behind the other) and
build/gpu/vgg16.npz (float16), which `benchmarks.gpu` reads. Neither is committed.
"""

import argparse
import io
import pathlib
import sys

import numpy as np
from PIL import Image

from utils import environment, pets
from utils.imagenet import imagenet_weights

FEW = 30  # photos of a breed in all; the breeds below are reported apart


def files(pictures: np.ndarray, kind: str, **options) -> tuple[np.ndarray, np.ndarray]:
    """Return encoded pictures as one row of bytes, and where each one ends."""
    parts = []
    for picture in pictures:
        data = io.BytesIO()
        Image.fromarray(picture).save(data, kind, **options)
        parts.append(np.frombuffer(data.getvalue(), np.uint8))
    return np.concatenate(parts), np.cumsum([len(part) for part in parts])


def packed(dataset: str, side: int, quality: int) -> dict[str, np.ndarray]:
    """Return what pets.npz holds: both splits, the test photos behind."""
    images, masks, breeds, test = [], [], [], []
    for split in ("trainval", "test"):
        for photos, ids in pets.load(dataset, split, image_size=side):
            images.append(np.uint8(photos))
            masks.append(np.uint8(ids))
        rows = pets.load_examples(dataset, split).as_numpy_iterator()
        breeds += [int(row["label"]) for row in rows]
        test += [split == "test"] * (len(breeds) - len(test))
    photos, photos_ends = files(
        np.concatenate(images), "JPEG", quality=quality, optimize=True
    )
    ids, ids_ends = files(np.concatenate(masks), "PNG", optimize=True)
    return {
        "photos": photos,
        "photos_ends": photos_ends,
        "masks": ids,
        "masks_ends": ids_ends,
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
    option("--dataset", required=True, help="as in pets.load")
    option("--side", type=int, default=448, help="of the square photos, in pixels")
    option("--quality", type=int, default=60, help="of the JPEG files")
    option("--out", type=pathlib.Path, default=environment.ROOT / "build" / "gpu")
    arguments = parser.parse_args()
    try:
        pack = packed(arguments.dataset, arguments.side, arguments.quality)
        for name, arrays in (("pets.npz", pack), ("vgg16.npz", backbone())):
            path = arguments.out / name
            with environment.replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
