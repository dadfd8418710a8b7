"""Both users of photographs, data and predict, see the same in whatever people have."""

import functools
import io
import re
import zlib

import numpy as np
import official_folder
import pytest
import tensorflow as tf
from PIL import Image, features

from data.oxford_pets_folder import checks
from utils import photos

COLOR = official_folder.photo(1)  # (40, 50, 3)
GREY = np.ascontiguousarray(COLOR[..., 0])


def encoded(form: str, picture=COLOR, mode: str | None = None, **options) -> bytes:
    """Return a picture, an array or an image, as a file of some format."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    data = io.BytesIO()
    (image.convert(mode) if mode else image).save(data, form, **options)
    return data.getvalue()


def turned(form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(form, exif=exif)


def several(form: str) -> bytes:
    second = Image.fromarray(official_folder.photo(5))
    return encoded(form, save_all=True, append_images=[second])


def png_of_size(width: int, height: int) -> bytes:
    """Return a PNG whose header claims another size."""
    content = encoded("PNG")
    header = content[12:16] + width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header += content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


def translucent() -> np.ndarray:
    alpha = np.full((40, 50, 1), 255, np.uint8)
    alpha[:, :20] = 60
    return np.concatenate([COLOR, alpha], -1)


READ, FIRST, WHITE = "read", "the first one of several", "on white"
NO, DAMAGED = "is no picture", "is damaged"
MANY, SEVERAL = "million pixels", "several pictures"
OF_SEVERAL = "holds several pictures; save the one you mean as a file."


def kinds() -> dict[str, tuple]:
    """Return name -> (what makes the content, what should come of it)."""
    found = {}

    def add(outcome, **named):
        for name, make in named.items():
            make = make if callable(make) else functools.partial(bytes, make)
            found[name.replace("_", " ")] = (make, outcome)

    make = functools.partial(functools.partial, encoded)
    # Formats, modes, bit depths
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        add(READ, **{f"JPEG_{mode}": make("JPEG", mode=mode, quality=95)})
    add(READ, JPEG_progressive=make("JPEG", progressive=True, quality=95))
    add(READ, JPEG_all_colours=make("JPEG", subsampling=0, optimize=True))
    add(READ, JPEG_poor=make("JPEG", quality=5))
    for mode in ("1", "L", "P", "RGB"):
        add(READ, **{f"PNG_{mode}": make("PNG", mode=mode)})
        add(READ, **{f"BMP_{mode}": make("BMP", mode=mode)})
        add(READ, **{f"TIFF_{mode}": make("TIFF", mode=mode)})
    add(READ, PNG_4_bits=make("PNG", mode="P", bits=4), GIF=make("GIF"))
    for order, mode in (("<u2", "I;16"), (">u2", "I;16B")):
        deep = Image.frombytes(mode, (50, 40), (GREY.astype(order) * 257).tobytes())
        add(
            READ,
            **{f"PNG_{mode}": make("PNG", deep), f"TIFF_{mode}": make("TIFF", deep)},
        )
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        add(READ, **{f"TIFF_{packing}": make("TIFF", compression=packing)})
    add(READ, TIFF_CMYK=make("TIFF", mode="CMYK"))
    add(READ, TIFF_fax=make("TIFF", mode="1", compression="group4"))
    add(READ, WEBP=make("WEBP"), WEBP_lossless=make("WEBP", lossless=True))
    add("fractions", TIFF_F=make("TIFF", mode="F"))
    deeper = Image.fromarray(np.int32(GREY) * 70_000)
    add("more than 16 bits", TIFF_32_bits=make("TIFF", deeper))
    for form in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        add(WHITE, **{f"{form}_alpha": make(form, translucent(), **options)})
        add(SEVERAL, **{f"{form}_several": functools.partial(several, form)})
    add(SEVERAL, GIF_several=functools.partial(several, "GIF"))
    colours = Image.fromarray(GREY // 128).convert("P")
    add(WHITE, PNG_one_clear_colour=make("PNG", colours, transparency=0))
    add(FIRST, MPO_several=functools.partial(several, "MPO"))
    if features.check("avif"):
        add(READ, AVIF=make("AVIF"))
    # Orientations, and numbers that are none
    for orientation in range(10):
        add(
            READ,
            **{f"JPEG_{orientation}": functools.partial(turned, "JPEG", orientation)},
        )
    for form in ("PNG", "TIFF", "WEBP"):
        add(READ, **{f"{form}_upside_down": functools.partial(turned, form, 3)})
        add(READ, **{f"{form}_lying": functools.partial(turned, form, 6)})
    # Metadata that is broken
    _, odd = official_folder.odd_metadata()
    for name, content in odd.items():
        add(READ, **{name: content})
    # What a broken copy leaves
    whole = encoded("JPEG", quality=95)
    add(READ, JPEG_with_more_behind=whole + b"more" * 99, JPEG_twice=whole + whole)
    add(DAMAGED, JPEG_zeros_at_the_end=whole[:800] + bytes(len(whole) - 800))
    add(NO, JPEG_behind_a_line=b"HTTP/1.1 200 OK\r\n" + whole)
    for form in ("JPEG", "PNG", "BMP", "TIFF", "WEBP"):
        content = encoded(form)
        for share in (0.3, 0.6, 0.95):
            cut = content[: int(share * len(content))]
            add(None, **{f"{form}_cut_at_{share:.0%}": cut})
        add(None, **{f"{form}_of_20_bytes": content[:20]})
    for form in ("GIF", "PNG", "TIFF", "WEBP", "MPO"):
        content = several(form)
        for share in (0.4, 0.7, 0.97):
            cut = content[: int(share * len(content))]
            add(None, **{f"several_{form}_cut_at_{share:.0%}": cut})
    # Sizes
    for height, width in ((1, 1), (1, 500), (500, 1), (2, 2)):
        picture = np.full((height, width, 3), 77, np.uint8)
        for form in ("JPEG", "PNG"):
            add(READ, **{f"{form}_of_{width}_x_{height}": make(form, picture)})
    for width, height in ((10_000, 8_001), (10_000, 9_500), (65_000, 65_000)):
        claimed = functools.partial(png_of_size, width, height)
        add(MANY, **{f"PNG_claims_{width}_x_{height}": claimed})
    add(NO, PNG_without_pixels=functools.partial(png_of_size, 0, 7))
    # No photos at all
    add("is empty", empty=b"")
    add(NO, text=b"<html>404 not found</html>", PDF=b"%PDF-1.7\n%\xe2\xe3\n" * 9)
    add(NO, HEIC=b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), zeros=bytes(5000))
    add(NO, ICO=make("ICO"), PPM=make("PPM"), TGA=make("TGA"), SVG=b"<svg></svg>")
    return found


KINDS = kinds()


def by_data(path) -> np.ndarray:
    """Return the pixels (H, W, 3) that training would see."""
    content, size, _ = checks.read_photo(path, "here")
    image = tf.io.decode_image(content, channels=3, expand_animations=False).numpy()
    assert image.shape == (*size[::-1], 3)
    return image


def outcome(reader, path) -> np.ndarray | str:
    """Return the pixels, or what the one sentence says of the file."""
    try:
        return reader(path)
    except ValueError as error:
        said = str(error)
    assert said.count("\n") == 0 and said.endswith(".") and len(said) < 400
    return said.partition(str(path))[2].strip()


def test_the_corpus_is_as_large_as_asked():
    assert len(KINDS) >= 60


@pytest.mark.parametrize("kind", KINDS)
def test_data_and_predict_see_the_same(tmp_path, kind):
    make, expected = KINDS[kind]
    path = tmp_path / "x.jpg"
    path.write_bytes(make())
    data, predict = outcome(by_data, path), outcome(photos.read, path)
    refused = [seen for seen in (data, predict) if isinstance(seen, str)]
    if expected == SEVERAL or (expected is None and refused == [OF_SEVERAL]):
        assert refused == [OF_SEVERAL]  # as TFDS, data takes the first one
    elif expected == WHITE:  # as TFDS, data drops what says how transparent it is
        assert data.shape == predict.shape and (predict >= data).all()
        assert (predict != data).any()
    elif refused:
        assert refused == [predict, predict]
        assert expected is None or re.search(expected, predict)
    else:
        assert expected in (READ, FIRST, None)
        assert data.shape == predict.shape
        # Of a plain JPEG training has TensorFlow's decoder.
        assert np.abs(np.int16(data) - predict).mean() < 2


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_eighty_megapixels_are_read_by_both_and_one_row_more_by_none(tmp_path, form):
    path, most = tmp_path / "x.jpg", photos.MOST_PIXELS // 10_000
    Image.new("RGB", (10_000, most), (9, 80, 200)).save(path, form)
    for reader in (by_data, photos.read):
        image = reader(path)
        assert image.shape == (most, 10_000, 3)
        assert np.abs(np.int16(image[-1, -1]) - [9, 80, 200]).max() <= 3
        del image
    Image.new("L", (10_000, most + 1)).save(path, form)
    for reader in (by_data, photos.read):
        assert re.search(MANY, outcome(reader, path))
