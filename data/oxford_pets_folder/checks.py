"""Every check of a photo, a mask and a line of a list: one sentence per fault.

A reader's folder holds more than the official one does: phone photos lying on their
side, PNG files called .jpg, half-copied files. Whatever shows a picture is read (by
`utils.photos`, as everywhere); all else raises `ValueError` or `FileNotFoundError`
naming the file and the fault.
"""

import collections
import contextlib
import dataclasses
import io
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
from PIL import Image

from data.oxford_pets_folder.breeds import BREEDS
from utils import photos

# The official archive's files that are no clean JPEG (PNG, GIF, or JPEG with stray
# bytes at which decoders grumble at every reading): stored anew, once. The list is the
# one TFDS keeps in its builder of oxford_iiit_pet.
ODD_FILES = frozenset(
    ["Abyssinian_5", "Abyssinian_34", "beagle_116", "chihuahua_121"]
    + [f"Egyptian_Mau_{n}" for n in (14, 139, 145, 156, 167, 177, 186, 191)]
)
NUM_SPECIES = 2


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of `trainval.txt` or `test.txt`.

    `label` is the breed, 0 to 36; `species` 0 for a cat, 1 for a dog; `where` names
    the list and the line, for messages.
    """

    name: str
    label: int
    species: int
    where: str


def lines(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Yield (text, where it stands) for each line that is neither blank nor a comment.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: the file is not text.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the official folder has annotations/trainval.txt and "
            "annotations/test.txt, so copy both from annotations.tar.gz."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a BOM
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}): save "
            "it as UTF-8, one photo a line."
        ) from None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip(), f"{path}, line {number}"


def parse(line: str, where: str) -> Entry:
    """Read `name breed species number`, the four columns of the official lists.

    Args:
        line: the text; the name may hold spaces, the last three columns may not.
        where: list and line number, for messages.

    Returns:
        The entry, with breed and species counted from 0.

    Raises:
        ValueError: another number of columns, an unknown breed or species number, or a
            name that points out of the folder.
    """
    columns = line.rsplit(maxsplit=3)
    try:
        name, label, species = columns[0], int(columns[1]), int(columns[2])
        int(columns[3])
    except (IndexError, ValueError):
        raise ValueError(
            f"{where}: {line[:99]!r} is not 'name breed species number', for example "
            "'Abyssinian_100 1 1 1': correct or remove the line."
        ) from None
    if not 1 <= label <= len(BREEDS):
        raise ValueError(
            f"{where}: unknown breed number {label} of {name!r}: the data set has "
            f"breeds 1 to {len(BREEDS)}."
        )
    if not 1 <= species <= NUM_SPECIES:
        raise ValueError(
            f"{where}: unknown species number {species} of {name!r}: 1 is a cat, "
            "2 a dog."
        )
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(
            f"{where}: the name {name!r} points out of the folder: list plain file "
            "names, without folders."
        )
    return Entry(name, label - 1, species - 1, where)


def species_of_breeds(entries: Iterable[tuple[str, str]]) -> dict[int, int]:
    """Return the species that most lines of `lines` give each breed."""
    votes = collections.Counter()
    for line, where in entries:
        with contextlib.suppress(ValueError):  # said when the photo's turn comes
            entry = parse(line, where)
            votes[entry.label, entry.species] += 1
    # Of two with as many lines the first one counts.
    return {label: species for (label, species), _ in votes.most_common()[::-1]}


def check_species(entry: Entry, known: dict[int, int]) -> None:
    """Raise a ValueError when most lines say another species of the entry's breed."""
    if entry.species != known[entry.label]:
        raise ValueError(
            f"{entry.where}: {entry.name!r} has breed {entry.label + 1} and species "
            f"{entry.species + 1}, but the other lines say that this breed has species "
            f"{known[entry.label] + 1}: correct one of the two numbers."
        )


def _content(path: pathlib.Path, kind: str, where: str) -> bytes:
    """Return the file's bytes; a sentence when it is missing or cannot be read."""
    if not os.path.isfile(path):  # nor is a link that leads nowhere, a name too long
        raise FileNotFoundError(f"{where}: the {kind} {path} is missing.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{where}: the {kind} {path} cannot be read ({error.strerror}): see that "
            "you may."
        ) from error


def _png(image: Image.Image) -> bytes:
    """Encode without loss; level 1, because size matters less than the wait."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _is_plain_jpeg(content: bytes) -> bool:
    """Return whether TensorFlow may read the file as it is: upright RGB or grey."""
    try:
        header = Image.open(io.BytesIO(content), formats=["JPEG"])
    except Exception:  # not even a header: the full reading says what is wrong
        return False
    return (
        (header.format, header.mode) in (("JPEG", "RGB"), ("JPEG", "L"))
        and header.width * header.height <= photos.MOST_PIXELS
        and photos.orientation(header) == 1
    )


def read_photo(path: pathlib.Path, where: str) -> tuple[bytes, tuple[int, int], int]:
    """Read one photo, whatever the file really is.

    An upright 8-bit JPEG is passed on byte by byte (nothing lost, and fastest); all
    else (GIF, PNG, CMYK, RGBA, 16 bit, EXIF orientation) is turned upright and into
    RGB and encoded as PNG.

    Args:
        path: the file.
        where: list and line that name the photo, for messages.

    Returns:
        The encoded photo; its upright (width, height) in pixels; its EXIF orientation
        (1 when upright).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, or damaged pixels.
        MemoryError: when there is too little memory for it.
    """
    content = _content(path, "photo", where)
    if path.stem not in ODD_FILES and _is_plain_jpeg(content):
        try:  # with the decoder that will read it in every epoch
            height, width, _ = tf.io.decode_jpeg(content, channels=3).shape
            return content, (width, height), 1
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
            pass  # Pillow reads some that TensorFlow refuses, or says what is wrong
    name = f"{where}: the photo {path}"
    image = photos.load_picture(io.BytesIO(content), name)
    upright = photos.to_upright_rgb(image, name, as_tfds=True)
    return _png(upright), upright.size, photos.orientation(image)


def read_mask(
    path: pathlib.Path, size: tuple[int, int], orientation: int, where: str
) -> bytes:
    """Read one trimap and compare it with its photo.

    The mask belongs to the upright photo. Where the photo's EXIF orientation is a
    quarter turn and the mask has the size of the photo as stored, it was drawn on the
    stored pixels and is turned with them.

    Args:
        path: the PNG file.
        size: (width, height) of the upright photo in pixels.
        orientation: the photo's EXIF orientation, 1 to 8.
        where: list and line that name the photo, for messages.

    Returns:
        The mask as an 8-bit grey PNG holding 1 (pet), 2 (background), 3 (border).

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, another size than the photo, or other values than 1, 2, 3.
    """
    content = _content(path, "mask", where)
    image = photos.load_picture(io.BytesIO(content), f"{where}: the mask {path}")
    values = np.asarray(image)
    if values.ndim != 2:
        raise ValueError(
            f"{where}: the mask {path} has {values.shape[-1]} channels: a trimap has "
            "one, holding 1, 2 or 3."
        )
    turned = orientation in (5, 6, 7, 8)
    if turned and image.size != size and image.size[::-1] == size:
        values = np.asarray(image.transpose(photos.TURNS[orientation]))
    if values.shape[::-1] != size:
        raise ValueError(
            f"{where}: the mask {path} is {image.width} x {image.height} pixels, its "
            f"photo {size[0]} x {size[1]}: a trimap has the size of its photo."
        )
    wrong = sorted(set(np.unique(values).tolist()) - {1, 2, 3})
    if wrong:
        listed = ", ".join(str(value) for value in wrong[:5])
        more = ", ..." if len(wrong) > 5 else ""
        raise ValueError(
            f"{where}: the mask {path} holds {listed}{more}: a trimap holds only 1 "
            "(pet), 2 (background) and 3 (border)."
        )
    # Stored anew always: Pillow reads some PNG files at which TensorFlow stops.
    return _png(Image.fromarray(values.astype(np.uint8)))
