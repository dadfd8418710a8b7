"""Makes small folders and archives in the official layout, for several test modules."""

import hashlib
import io
import tarfile

import numpy as np
from PIL import Image


def photo(number, height=40, width=50):
    """Return an (H, W, 3) uint8 photo: three ramps, another one for each number."""
    y, x = np.mgrid[:height, :width]
    ramps = [(x * 5 + 40 * number) % 256, y * 6, (x + y) * 2 + 10 * number]
    return np.stack([ramp % 256 for ramp in ramps], -1).astype(np.uint8)


def trimap(number, height=40, width=50):
    """Return an (H, W) uint8 trimap: a pet of its own size inside a border."""
    mask = np.full((height, width), 2, np.uint8)
    mask[8:30, 5 + number % 8 : 35] = 3
    mask[11:27, 9 + number % 8 : 31] = 1
    return mask


def save_photo(path, array, **options):
    Image.fromarray(array).save(path, options.pop("format", "JPEG"), **options)


def make(folder, trainval=12, test=4):
    """Write a folder in the official layout: cats (breed 1) and dogs (breed 2)."""
    images = folder / "images"
    trimaps = folder / "annotations" / "trimaps"
    images.mkdir(parents=True)
    trimaps.mkdir(parents=True)
    number = 0
    for name, count in (("trainval", trainval), ("test", test)):
        lines = []
        for _ in range(count):
            number += 1
            kind, breed, species = (("cat", 1, 1), ("dog", 2, 2))[number % 2]
            stem = f"{kind}_{number}"
            save_photo(images / f"{stem}.jpg", photo(number), quality=95)
            Image.fromarray(trimap(number)).save(trimaps / f"{stem}.png")
            lines.append(f"{stem} {breed} {species} {number}\n")
        (folder / "annotations" / f"{name}.txt").write_text("".join(lines))
    return folder


def pack(folder, target, *, mode="w:gz"):
    """Pack a folder into the two official archives; return their sizes and hashes."""
    target.mkdir(parents=True, exist_ok=True)
    known = {}
    for name in ("images", "annotations"):
        path = target / f"{name}.tar.gz"
        with tarfile.open(path, mode) as tar:
            tar.add(folder / name, name)
        content = path.read_bytes()
        known[path.name] = (len(content), hashlib.sha256(content).hexdigest())
    return known


def add(tar, name, content=b"x", **fields):
    """Add one made-up member to an open archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))
