"""The one reader of photographs: whatever shows a picture, upright, RGB, 8 bits."""

import contextlib
import io
import os
import pathlib
import warnings
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

# Of what lies beside the pixels; where warnings are errors it would look like damage.
warnings.filterwarnings("ignore", module=r"PIL\.")
Image.init()
# Named, because Pillow knows sixty formats, and starts other programs for some of them.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
FORMATS = tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF is new
SUFFIXES = tuple(sorted(s for s, name in Image.EXTENSION.items() if name in FORMATS))
MOST_PIXELS = 80_000_000  # fewer than Pillow itself warns of
TURNS = {  # EXIF's orientation -> what brings the stored pixels upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def list_photos(path: str | os.PathLike) -> list[pathlib.Path]:
    """List the photos that a file or a folder stands for.

    A file is taken whatever its name; of a folder its own files whose suffix is one of
    `SUFFIXES` and whose name begins with no dot, by name. Links are followed.

    Raises:
        ValueError: when there is no photo in the folder, or it cannot be read.
    """
    path = pathlib.Path(path)
    if not os.path.isdir(path):
        return [path]
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); see that you may."
        ) from error
    seen = [one for one in inside if one.suffix.lower() in SUFFIXES]
    photos = [p for p in seen if not (p.name.startswith(".") or p.is_dir())]
    if not photos:
        raise ValueError(
            f"{path} is a folder without photos; give one with files that end in "
            f"{', '.join(SUFFIXES)}."
        )
    return photos


def read(path: str | os.PathLike) -> np.ndarray:
    """Read a photo as people see it: upright, RGB, 8 bits a channel.

    Of 16 bits the upper 8 are kept; grey, palette and CMYK become RGB; what is
    transparent is laid on white. Colour profiles are not applied.

    Args:
        path: a file of one of `FORMATS`, whatever its name says.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: one sentence, for whatever is no photo, has damaged pixels, moves,
            or has more than `MOST_PIXELS`.
        MemoryError: when there is too little memory for it.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_file():  # a pipe would make us wait for ever
            raise ValueError(f"{path} does not exist or is not a file; give a photo.")
        file = path.open("rb")
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); see that you may."
        ) from error
    with file:
        return np.asarray(to_upright_rgb(load_picture(file, path), path))


def load_picture(file: BinaryIO, name: object) -> Image.Image:
    """Decode all pixels of an open file, as they are stored; messages call it `name`.

    What lies beside them may be broken: notes of the camera, text, colour profiles.
    Raises what `read` raises.
    """
    try:
        try:
            return _load(file)
        except Exception:
            file.seek(0)
            if file.read(8) != b"\x89PNG\r\n\x1a\n":
                raise
            file.seek(0)
            return _load(io.BytesIO(_pixels_of_png(file.read())))
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise ValueError(
            f"{name} has more than {MOST_PIXELS // 10**6} million pixels; make it "
            "smaller."
        ) from None
    except UnidentifiedImageError:
        file.seek(0)
        if not file.read(1):
            raise ValueError(f"{name} is empty; copy it again.") from None
        raise ValueError(
            f"{name} is no picture with pixels in it; give one of the formats "
            f"{', '.join(FORMATS)}."
        ) from None
    except Exception as error:  # whatever a damaged file makes of Pillow
        reason = str(error).split(" <_io")[0].splitlines() or [type(error).__name__]
        raise ValueError(
            f"{name} is damaged ({reason[0][:120]}); copy it again."
        ) from error


def _load(file: BinaryIO) -> Image.Image:
    image = Image.open(file, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError
    image.load()
    return image


def _pixels_of_png(content: bytes) -> bytes:
    """Leave out what Pillow refuses a whole PNG for: long texts, wrong checksums."""
    kept, start = [content[:8]], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        name, check = content[start + 4 : start + 8], content[end - 4 : end]
        whole = zlib.crc32(content[start + 4 : end - 4]).to_bytes(4, "big") == check
        # Capital letters: chunks that no reader may leave out.
        needed = name[:1].isupper() or name in (b"tRNS", b"acTL")
        if needed or (name == b"eXIf" and whole):
            kept.append(content[start:end])
        start = end
    return b"".join(kept)


def orientation(image: Image.Image) -> int:
    """Return how the camera was held, 1 to 8 as in EXIF; 1 when it does not say."""
    try:
        noted = image.getexif().get(0x0112)
        return noted if noted in TURNS else 1
    except Exception:  # a note that cannot be read; the pixels are sound
        return 1


def to_upright_rgb(image, name: object, as_tfds: bool = False) -> Image.Image:
    """Turn a picture as the camera was held, and its pixels into RGB of 8 bits.

    Args:
        image: the picture that `load_picture` returned.
        name: what messages call it.
        as_tfds: as TFDS reads the official files: what is transparent keeps its
            colour, and of several pictures the first is taken.
    """
    turn = TURNS.get(orientation(image))
    # MPO is what some cameras write: a JPEG, and more pictures of the same behind it.
    moves, single = False, as_tfds or image.format == "MPO"
    with contextlib.suppress(Exception):  # no such thing, or one too broken to count
        moves = not single and image.is_animated
    if moves:
        raise ValueError(
            f"{name} holds several pictures; save the one you mean as a file."
        )
    if image.mode == "F":
        raise ValueError(f"{name} has fractions for pixels; save it with 8 bits.")
    if image.mode.startswith("I"):
        grey = np.asarray(image)  # (H, W), 0..65535
        if grey.min() < 0 or grey.max() > 65535:
            raise ValueError(f"{name} has more than 16 bits a pixel; save it with 8.")
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    elif image.has_transparency_data and not as_tfds:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)
