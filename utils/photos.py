"""Anybody's photos in, upright, RGB, 8 bits; masks and overlays out, whole files."""

import json
import os
import pathlib
import tempfile
import warnings
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageOps, UnidentifiedImageError

from utils import plots

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Named, because Pillow knows sixty formats, and starts other programs for some of them.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 80_000_000  # fewer than Pillow itself warns of
TOO_LARGE = f"has more than {MOST_PIXELS // 10**6} million pixels; make it smaller."


def found(path: str | os.PathLike) -> list[pathlib.Path]:
    """List the photos that a file or a folder stands for.

    A file is taken whatever its name. Of a folder its own files are taken whose suffix
    is one of `SUFFIXES`, in the order of their names: not those that begin with a dot,
    and nothing from folders inside it. Links are followed.

    Args:
        path: a file, which need not exist, or a folder.

    Returns:
        The photos.

    Raises:
        ValueError: when there is no photo in the folder, or it cannot be read.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        return [path]
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); see that you may."
        ) from error
    inside = [
        one
        for one in inside
        if one.suffix.lower() in SUFFIXES
        and not one.name.startswith(".")
        and not one.is_dir()
    ]
    if not inside:
        raise ValueError(
            f"{path} is a folder without photos; give one with files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    return inside


def read(path: str | os.PathLike) -> np.ndarray:
    """Read a photo as people see it: upright, RGB, 8 bits a channel.

    The camera's note on orientation (EXIF) is honoured. Of 16 bits the upper 8 are
    kept; grey, palette and CMYK become RGB; what is transparent is laid on white.
    Colour profiles are not applied.

    Args:
        path: a file of one of `FORMATS`, whatever its name says.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: one sentence, for whatever is no photo, is damaged, moves, or has
            more than `MOST_PIXELS`.
    """
    path = pathlib.Path(path)
    try:
        if not path.exists():
            raise ValueError(f"{path} does not exist; check its name.")
        if not path.is_file():  # a pipe would make us wait for ever
            raise ValueError(f"{path} is not a file; give a photo.")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty; copy it again.")
        file = path.open("rb")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); see that you may."
        ) from error
    with file, warnings.catch_warnings():
        # What Pillow warns of is a photo that might not be what was photographed.
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _upright(file)
        except _Refused as reason:
            raise ValueError(f"{path} {reason}") from None
        except UnidentifiedImageError:
            raise ValueError(
                f"{path} is no picture with pixels in it; give one of the formats "
                f"{', '.join(FORMATS)}."
            ) from None
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            raise ValueError(f"{path} {TOO_LARGE}") from None
        except Exception as error:  # whatever a damaged file makes of Pillow
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"{path} is damaged ({reason[0][:120]}); copy it again."
            ) from error


def _upright(file: BinaryIO) -> np.ndarray:
    """Decode an open file into (H, W, 3) uint8."""
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise _Refused(TOO_LARGE)
    # MPO is what some cameras write: a JPEG, and more pictures of the same behind it.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise _Refused("holds several pictures; save the one you mean as a file.")
    image = ImageOps.exif_transpose(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.asarray(image)  # (H, W), 0..65535
        if grey.min() < 0 or grey.max() > 65535:
            raise _Refused("has more than 16 bits a pixel; save it with 8.")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode == "F":
        raise _Refused("has fractions for pixels; save it with 8 bits.")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


class _Refused(Exception):
    """Says what a photo has, or is, that makes it unreadable here."""


def palette(class_names: Sequence[str]) -> np.ndarray:
    """Return the colours (C, 3), uint8, in which masks of these classes are drawn."""
    other = plots.LINE_COLORS
    colors = [
        plots.COLORS.get(name, other[index % len(other)])
        for index, name in enumerate(class_names)
    ]
    return np.uint8([[round(255 * part) for part in to_rgb(one)] for one in colors])


def draw(
    image: np.ndarray, mask: np.ndarray, class_names: Sequence[str]
) -> tuple[Image.Image, Image.Image]:
    """Make the two pictures of a prediction.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W), class ids.
        class_names: name of each id.

    Returns:
        The mask as an indexed picture, whose pixels are the ids, and the photo tinted
        with it; background is left as it is.
    """
    ids = Image.fromarray(mask.astype(np.uint8)).convert("L")
    ids.putpalette(palette(class_names).tobytes())
    photo = Image.fromarray(image)
    tinted = Image.blend(photo, ids.convert("RGB"), 0.55)
    named = [name == "background" for name in class_names]
    background = Image.fromarray(np.array(named)[mask])
    tinted.paste(photo, mask=background)
    return ids, tinted


def targets(path: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """Name the three files that are made of a photo."""
    endings = ("_mask.png", "_overlay.jpg", ".json")
    return [folder / f"{path.stem}{ending}" for ending in endings]


def check_free(
    path: pathlib.Path,
    folder: pathlib.Path,
    force: bool,
    given: set[pathlib.Path],
    made_of: dict[str, pathlib.Path],
) -> None:
    """Refuse a photo for which a file would be lost.

    Args:
        path: the photo.
        folder: where its three files go.
        force: whether files of an earlier run may be replaced.
        given: all photos of this run, resolved; these are never overwritten.
        made_of: name, in small letters -> photo, of those this run has written.

    Raises:
        ValueError: naming the file.
    """
    first = made_of.get(path.stem.casefold())
    if first:
        raise ValueError(
            f"{path} has the name of {first}, and would overwrite what is made of it; "
            "give it another --out."
        )
    for target in targets(path, folder):
        if target.resolve() in given:
            raise ValueError(
                f"{path} would overwrite the photo {target}; give another --out."
            )
        if target.exists() and not force:
            raise ValueError(
                f"{path} was not done: {target} exists; give another --out, or --force."
            )


def write(
    path: pathlib.Path,
    folder: pathlib.Path,
    image: np.ndarray,
    mask: np.ndarray,
    class_names: Sequence[str],
    about: dict,
) -> None:
    """Write mask, overlay and shares of a photo, each file whole or not at all.

    Args:
        path: the photo; its name is kept.
        folder: where the three files go.
        image: (H, W, 3) uint8.
        mask: (H, W), class ids.
        class_names: name of each id.
        about: what else the JSON file says.

    Raises:
        OSError: when there is no room, or the folder cannot be written.
    """
    ids, tinted = draw(image, mask, class_names)
    counts = np.bincount(mask.ravel(), minlength=len(class_names))
    shares = (counts / mask.size).tolist()
    height, width = mask.shape
    about = {
        "photo": path.name,
        **about,
        "mask_size": {"width": width, "height": height},
        "share": dict(zip(class_names, shares, strict=True)),
    }
    try:
        with tempfile.TemporaryDirectory(prefix=".predict-", dir=folder) as name:
            aside = targets(path, pathlib.Path(name))
            ids.save(aside[0])
            tinted.save(aside[1], quality=90)
            aside[2].write_text(json.dumps(about, indent=1) + "\n")
            for one, target in zip(aside, targets(path, folder), strict=True):
                os.replace(one, target)
    except OSError as error:
        raise OSError(
            f"{path} was not done: {folder} cannot be written "
            f"({error.strerror or error}); make room or give another --out."
        ) from error
