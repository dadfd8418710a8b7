"""Makes small folders and archives in the official layout, for several test modules."""

import hashlib
import io
import struct
import tarfile
import zlib

import numpy as np
from PIL import Image, PngImagePlugin


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


def odd_metadata():
    """Return (sound photo, {name: the same pixels beside broken metadata}), as bytes.

    A JPEG's are put behind its first two bytes, a PNG's behind its header.
    """

    def encoded(form, **options):
        data = io.BytesIO()
        Image.fromarray(photo(1)).save(data, form, **options)
        return data.getvalue()

    def tiff(*entries, rest=b""):  # each entry: tag, type, count, value or offset
        packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + rest

    def segment(marker, content):
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    def chunk(name, content, check=None):
        check = zlib.crc32(name + content) if check is None else check
        return struct.pack(">I", len(content)) + name + content + check.to_bytes(4)

    exif = {
        "maker note beyond the file": tiff((0x927C, 7, 999_999, 26), rest=bytes(4)),
        "EXIF cut short": tiff((0x0112, 3, 1, 1), (0x010F, 2, 40, 99))[:-9],
        "a tag twice": tiff((0x0112, 3, 1, 1), (0x0112, 3, 2, 1), rest=bytes(4)),
        "orientation in letters": tiff((0x0112, 2, 4, 0x00636261), rest=bytes(4)),
        "EXIF that is no TIFF": b"no TIFF at all",
    }
    jpeg, png = encoded("JPEG", quality=95), encoded("PNG")
    header = 8 + 25
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 2**21, zip=True)
    found = {
        "JPEG, broken MPF": jpeg[:2] + segment(0xE2, b"MPF\0" + b"?" * 40) + jpeg[2:],
        "PNG, wrong checksum": png[:header] + chunk(b"tEXt", b"a\0b", 7) + png[header:],
        "PNG, long text": encoded("PNG", pnginfo=text),
        "PNG, long profile": encoded("PNG", icc_profile=bytes(2**21)),
    }
    for name, content in exif.items():
        app1 = segment(0xE1, b"Exif\0\0" + content)
        found[f"JPEG, {name}"] = jpeg[:2] + app1 + jpeg[2:]
        found[f"PNG, {name}"] = png[:header] + chunk(b"eXIf", content) + png[header:]
    return jpeg, found
