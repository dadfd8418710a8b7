"""Anybody's photos, from the shell: read upright or refused, written whole."""

import contextlib
import io
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import keras
import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from conftest import ROOT
from keras import layers
from PIL import Image

from utils import environment, fcn, networks, photos, plots, predict

NAMES = ("pet", "background", "border")


def identity(size: int) -> keras.Model:
    """Return a network whose logits are the photo itself."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Identity(dtype="float32")(image))
    return networks.remember(model, size, NAMES)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return the file of a network that says pet where a photo is red, and so on."""
    path = tmp_path_factory.mktemp("model") / "small.keras"
    networks.save_model(identity(32), path)
    return path


@pytest.fixture
def run(monkeypatch, capsys, network, tmp_path):
    """Return a function that runs the command line here: (status, its stderr)."""
    monkeypatch.setattr(environment, "prepare", lambda *_, **__: "")  # global switches

    def run(*words, model=network, out=tmp_path / "out"):
        words = ["predict", *words, "--model", model, "--out", out]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            status = predict.main()
        except SystemExit as ended:  # argparse's way
            status = ended.code
        run.printed, told = capsys.readouterr()
        return status, told

    return run


def start(*words, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "utils.predict", *(str(word) for word in words)]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options
    )


def picture(height=40, width=60, seed=0) -> np.ndarray:
    """Return a picture (H, W, 3) whose corners all differ."""
    generator = np.random.default_rng(seed)
    rows = np.linspace(0, 200, height)[:, None, None]
    columns = np.linspace(0, 55, width)[None, :, None]
    noise = generator.integers(0, 30, (height, width, 3))
    return (
        (rows * [1, 0, 0.5] + columns * [0, 4, 1] + noise).clip(0, 255).astype("uint8")
    )


def saved(path, array=None, **options):
    """Save a picture as a file of the kind its name says; return the path."""
    Image.fromarray(picture() if array is None else array).save(path, **options)
    return path


# Reading


STORED = {  # orientation -> how a camera that notes it stores an upright picture
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_reads_upright_whichever_way_the_camera_was_held(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    path = saved(tmp_path / "x.png", stored, exif=exif)
    np.testing.assert_array_equal(photos.read(path), picture())


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_of_16_bits_the_upper_8_are_kept(tmp_path, suffix, order):
    grey = np.arange(65536, dtype=order).reshape(256, 256)
    mode = "I;16" if order == "<u2" else "I;16B"
    path = tmp_path / f"x.{suffix}"
    Image.frombytes(mode, grey.shape, grey.tobytes()).save(path)
    expected = np.repeat(grey // 256, 3).reshape(256, 256, 3)
    np.testing.assert_array_equal(photos.read(path), expected)


def test_reads_grey_black_and_white_palette_and_cmyk(tmp_path):
    grey = picture()[..., 0]
    saved(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(
        photos.read(tmp_path / "grey.png"), np.stack([grey] * 3, axis=-1)
    )
    saved(tmp_path / "one_bit.png", grey > 100)
    np.testing.assert_array_equal(
        photos.read(tmp_path / "one_bit.png")[..., 1], 255 * (grey > 100)
    )
    palette = Image.fromarray(grey // 32)
    palette.putpalette([7, 8, 9] * 4 + [200, 100, 50] * 4)
    palette.save(tmp_path / "palette.png")
    expected = np.where(grey[..., None] < 128, [7, 8, 9], [200, 100, 50])
    np.testing.assert_array_equal(photos.read(tmp_path / "palette.png"), expected)
    ink = 255 - picture()  # cyan is what is not red
    ink = np.concatenate([ink, np.zeros_like(ink[..., :1])], axis=-1)
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.tif")
    np.testing.assert_allclose(photos.read(tmp_path / "ink.tif"), picture(), atol=1)
    Image.fromarray(ink, "CMYK").save(tmp_path / "ink.jpg", quality=95)
    error = photos.read(tmp_path / "ink.jpg").astype(int) - picture()
    assert np.abs(error).mean() < 10  # inverted, it would be 100


def test_what_is_transparent_is_laid_on_white(tmp_path):
    color = np.full((4, 6, 4), 80, np.uint8)
    color[..., 3] = [0, 0, 0, 255, 255, 255]
    image = photos.read(saved(tmp_path / "x.png", color))
    assert (image[:, :3] == 255).all() and (image[:, 3:] == 80).all()
    palette = Image.fromarray(picture()[..., 0] // 128)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "p.png", transparency=0)
    assert set(map(tuple, photos.read(tmp_path / "p.png").reshape(-1, 3))) == {
        (255, 255, 255),
        (200, 100, 50),
    }


def test_a_camera_s_file_of_several_pictures_is_its_first(tmp_path):
    first, second = (Image.fromarray(picture(seed=seed)) for seed in (0, 1))
    first.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[second])
    error = photos.read(tmp_path / "x.jpg").astype(int) - picture()
    assert np.abs(error).mean() < 10


def png_header(width, height) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (1, 1)).save(data, "PNG")
    start, end = data.getvalue()[:16], data.getvalue()[24:29]
    header = start + width.to_bytes(4, "big") + height.to_bytes(4, "big") + end
    rest = data.getvalue()[33:]
    return header + zlib.crc32(header[12:]).to_bytes(4, "big") + rest


BAD = {
    "text.jpg": (b"This is no photo, and it is long enough to be one.", "no picture"),
    "empty.jpg": (b"", "is empty"),
    "no_pixels.png": (png_header(0, 7), "no picture with pixels"),
    "bomb.png": (png_header(10_000, 8_001), "more than 80 million pixels"),
    "warned_of.png": (png_header(10_000, 9_500), "more than 80 million pixels"),
    "larger_bomb.png": (png_header(65_000, 65_000), "more than 80 million pixels"),
}


def cut(format, share, **options) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture()).save(data, format, **options)
    return data.getvalue()[: int(share * len(data.getvalue()))]


@pytest.mark.parametrize("name", BAD)
def test_refuses_what_is_no_photo_in_a_sentence(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        photos.read(tmp_path / name)
    assert is_sentence(str(error.value), tmp_path / name)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_refuses_what_was_cut_off(tmp_path, format):
    path = tmp_path / "cut.jpg"
    path.write_bytes(cut(format, 0.6))
    with pytest.raises(ValueError, match=r"damaged|no picture") as error:
        photos.read(path)
    assert is_sentence(str(error.value), path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_refuses_what_moves(tmp_path, suffix):
    first, second = (Image.fromarray(picture(seed=seed)) for seed in (0, 1))
    path = tmp_path / f"x.{suffix}"
    first.save(path, save_all=True, append_images=[second])
    with pytest.raises(ValueError, match="several pictures"):
        photos.read(path)


@pytest.mark.parametrize(
    ("mode", "reason"), [("F", "fractions"), ("I", "more than 16 bits")]
)
def test_refuses_pixels_that_are_no_grey_levels(tmp_path, mode, reason):
    Image.new(mode, (4, 4), 70_000).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=reason):
        photos.read(tmp_path / "x.tif")


def test_refuses_what_cannot_be_opened(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        photos.read(tmp_path / "nothing.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg", tmp_path / "loop.jpg"):
        with pytest.raises(ValueError, match=r"not a file|cannot be read"):
            photos.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_refuses_what_may_not_be_read(tmp_path):
    path = saved(tmp_path / "x.png")
    path.chmod(0)
    with pytest.raises(ValueError, match="cannot be read"):
        photos.read(path)


def test_an_error_of_the_disk_is_a_sentence(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "x.png")
    monkeypatch.setattr(photos.pathlib.Path, "open", denied)
    with pytest.raises(ValueError, match=r"x\.png cannot be read \(Permission denied"):
        photos.read(path)


def is_sentence(message: str, path) -> bool:
    return str(path) in message and "\n" not in message and message.endswith(".")


def test_of_a_folder_its_own_visible_photos_are_taken(tmp_path):
    for name in ("b.JPG", "a.png", "c.jfif", "d.JPE", ".hidden.jpg", "notes.txt"):
        saved(tmp_path / name, format="PNG")
    (tmp_path / "inside.jpg").mkdir()
    saved(tmp_path / "inside.jpg" / "c.png")
    (tmp_path / "link.jpg").symlink_to("a.png")
    names = [path.name for path in photos.list_photos(tmp_path)]
    assert names == ["a.png", "b.JPG", "c.jfif", "d.JPE", "link.jpg"]
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="folder without photos"):
        photos.list_photos(tmp_path / "none")


def test_too_little_memory_is_no_damage(tmp_path, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(photos.Image, "open", full)
    with pytest.raises(MemoryError):
        photos.read(saved(tmp_path / "x.png"))


# The network


@pytest.mark.parametrize("size", [(32, 32), (21, 97), (64, 8)])
def test_the_square_is_what_tensorflow_makes_of_it(size):
    image = picture(*size)
    small = predict.to_square(image, 32)
    expected = tf.image.resize(image, (32, 32), "bilinear", antialias=True)
    expected = tf.clip_by_value(tf.round(expected), 0, 255)
    assert small.dtype == np.float32 and isinstance(small, np.ndarray)
    np.testing.assert_array_equal(small, expected)


def test_logits_come_back_to_where_they_belong():
    """Down to a square and back, a ramp stays a ramp: no shift, no axis exchanged."""
    rows, columns = np.mgrid[0:90, 0:60]
    image = np.stack([2 * rows, 4 * columns, 0 * rows], axis=-1).astype("uint8")
    logits = predict.predict(identity(30), image)
    assert logits.shape == (90, 60, 3)
    inside = np.s_[4:-4, 4:-4]  # at the frame there is nothing to interpolate with
    np.testing.assert_allclose(logits[inside], image[inside], atol=1)


def test_a_photo_scaled_to_one_is_refused():
    photo = picture() / np.float32(255)
    with pytest.raises(ValueError, match=r"within 0\.\.1, .* multiply them by 255\."):
        predict.predict(identity(32), photo)
    for black in (0 * photo, np.uint8(photo > 0.5)):  # as dark as a sound one may be
        assert predict.predict(identity(32), black).shape == (40, 60, 3)


def test_logits_of_another_size_are_those_of_the_photo_shrunk():
    image = picture(80, 120)
    logits = predict.predict(identity(32), image, size=(40, 60))
    assert logits.shape == (40, 60, 3)
    whole = predict.predict(identity(32), image)
    halved = whole.reshape(40, 2, 60, 2, 3).mean((1, 3))
    assert np.abs(logits - halved).mean() < 2


def test_what_a_network_remembers_survives_the_file(network):
    known = networks.trained_on(predict.load_network(network))
    assert (known.image_size, known.class_names) == (32, NAMES)


def with_code(path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Lambda(lambda x: x)(image))
    model.save(path)


def classifier(path):
    image = keras.Input((8, 8, 3))
    keras.Model(image, layers.Dense(3)(layers.Flatten()(image))).save(path)


def nameless(path):
    image = keras.Input((None, None, 3))
    keras.Model(image, layers.Conv2D(3, 1)(image)).save(path)


def other_classes(path):
    """Write a network of three classes whose file names only two."""
    whole = path.with_name("whole.keras")
    identity(32).save(whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                content = content.replace(b', "border"]', b"]")
            changed.writestr(name, content)


def too_many_classes(path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(257, 1)(image))
    networks.remember(model, 32, [str(k) for k in range(257)]).save(path)


def three_outputs(path):
    image = keras.Input((None, None, 3))
    maps = {name: layers.Conv2D(3, 1)(image) for name in ("s32", "s16", "s8")}
    keras.Model(image, maps).save(path)


MODELS = {
    "three_outputs": (three_outputs, "has 3 outputs"),
    "too_many_classes": (too_many_classes, "257 classes"),
    "code": (with_code, "safe mode"),
    "classifier": (classifier, "does not turn photos"),
    "nameless": (nameless, "does not know the size"),
    "other_classes": (other_classes, "3 classes apart, but 2 names"),
    "damaged": (lambda path: path.write_bytes(b"PK no"), "cannot be read"),
    "missing": (lambda path: None, r"not a \.keras file"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_network_of_another_kind_is_wrong_usage(tmp_path, run, kind):
    make, reason = MODELS[kind]
    make(tmp_path / "x.keras")
    status, told = run(saved(tmp_path / "x.png"), model=tmp_path / "x.keras")
    assert status == 2
    assert re.search(reason, told) and told.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_names_must_fit_the_network():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(4, 1)(image))
    with pytest.raises(ValueError, match="4 classes apart, but 3 names"):
        networks.remember(model, 32, NAMES)


# The command line


def test_writes_mask_overlay_and_shares(tmp_path, run, network):
    image = picture(50, 70)
    path = saved(tmp_path / "cat.png", image)
    assert run(path) == (0, "")
    out = tmp_path / "out"
    assert sorted(one.name for one in out.iterdir()) == [
        "cat.json",
        "cat_mask.png",
        "cat_overlay.jpg",
    ]
    ids = predict.predict(predict.load_network(network), image).argmax(-1)
    assert len(np.unique(ids)) > 1, "this network is too dull for the test"
    mask = Image.open(out / "cat_mask.png")
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), ids)
    colored = plots.colored(ids, NAMES)
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), colored)
    about = json.loads((out / "cat.json").read_text())
    for index, name in enumerate(NAMES):
        assert about["share"][name] == pytest.approx((ids == index).mean())
    assert about["photo_size"] == {"width": 70, "height": 50}
    tinted = 0.45 * image + 0.55 * colored
    expected = np.where((ids == 1)[..., None], image, tinted)
    found = np.asarray(Image.open(out / "cat_overlay.jpg"), float)
    assert np.abs(found - expected).mean() < 12  # JPEG, on noise


def test_masks_of_a_turned_photo_lie_upright(tmp_path, run):
    image = picture(48, 96)
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path / "upright.png", image)
    stored = np.ascontiguousarray(np.rot90(image))
    saved(tmp_path / "turned.png", stored, exif=exif)
    run(tmp_path / "upright.png", tmp_path / "turned.png")
    for ending in ("_mask.png", "_overlay.jpg"):
        one, other = (
            np.asarray(Image.open(tmp_path / "out" / f"{name}{ending}"))
            for name in ("upright", "turned")
        )
        assert one.shape[:2] == (48, 96)
        np.testing.assert_array_equal(one, other)


def test_max_side_limits_what_is_written(tmp_path, run):
    wide, small = (
        saved(tmp_path / "wide.png", picture(60, 90)),
        tmp_path / "small.png",
    )
    saved(small, picture(20, 30))
    assert run(wide, small, "--max-side", 45)[0] == 0
    out = tmp_path / "out"
    for ending in ("_mask.png", "_overlay.jpg"):
        assert Image.open(out / f"wide{ending}").size == (45, 30)
        assert Image.open(out / f"small{ending}").size == (30, 20)
    about = json.loads((out / "wide.json").read_text())
    assert about["mask_size"] == {"width": 45, "height": 30}


def test_refused_photos_are_named_and_the_others_written(tmp_path, run):
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "none").mkdir()
    good = saved(tmp_path / "good.png")
    status, told = run(tmp_path / "bad.jpg", tmp_path / "none", good)
    assert status == 1
    assert len(told.splitlines()) == 2
    assert "bad.jpg" in told and "folder without photos" in told
    assert (tmp_path / "out" / "good.json").is_file()


def test_a_folder_ends_with_a_line_of_counts(tmp_path, run):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no photo")
    (tmp_path / "in" / ".hidden").touch()
    (tmp_path / "in" / "cat.heic").touch()
    good = saved(tmp_path / "in" / "good.png")
    assert run(tmp_path / "in")[0] == 1
    assert run.printed == "1 written, 1 refused, 1 passed over (cat.heic)\n"
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").touch()
    run(tmp_path / "in", "--force")
    assert run.printed.endswith(
        "7 passed over (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...)\n"
    )
    run(good, "--force")
    assert run.printed == ""


def test_links_that_lead_nowhere_and_names_too_long_are_refused(tmp_path, run):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "in" / "none.jpg").symlink_to("nowhere")
    saved(tmp_path / "in" / "good.png")
    status, told = run(tmp_path / "in", "x" * 300 + ".jpg")
    assert status == 1 and told.count("refused: ") == told.count("\n") == 3
    assert run.printed == "1 written, 3 refused, 0 passed over\n"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
@pytest.mark.slow
def test_names_that_the_terminal_cannot_show_are_counted(tmp_path, network):
    (tmp_path / "in").mkdir()
    saved(tmp_path / "in" / "gr\xfcn.png")
    (tmp_path / "in" / os.fsdecode(b"gr\xfcn.txt")).touch()
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for settings in (ascii_alone, {"PYTHONIOENCODING": "utf-8:strict"}):
        out = tmp_path / f"out {len(settings)}"
        words = [tmp_path / "in", "--model", network, "--out", out]
        options = {"env": os.environ | settings, "stdout": subprocess.PIPE}
        process = start(*words, **options, errors="replace")
        printed, told = process.communicate()
        assert (process.returncode, told) == (0, "")
        assert printed.startswith("1 written, 0 refused, 1 passed over (gr")


def test_a_photo_longer_than_a_jpeg_is_refused_or_made_smaller(tmp_path, run):
    path = saved(tmp_path / "x.png", np.zeros((1, 70_000, 3), np.uint8))
    status, told = run(path)
    assert status == 1 and re.fullmatch(
        r"refused: .* over 65500 .*--max-side\.\n", told
    )
    assert list((tmp_path / "out").iterdir()) == []
    assert run(path, "--max-side", 9000) == (0, "")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_a_photo_too_large_for_the_memory_is_refused(tmp_path, run, monkeypatch, error):
    def full(model, image, size):
        if len(image) > 100:
            raise error
        return whole(model, image, size=size)

    whole = predict.predict
    monkeypatch.setattr(predict, "predict", full)
    large, small = tmp_path / "large.png", saved(tmp_path / "small.png")
    status, told = run(saved(large, picture(200)), small)
    assert status == 1 and re.fullmatch(
        r"refused: .*large.png needs .*--max-side\.\n", told
    )
    assert (tmp_path / "out" / "small.json").is_file()


def test_overwrites_only_when_told_to(tmp_path, run):
    path = saved(tmp_path / "x.png")
    run(path)
    mask = tmp_path / "out" / "x_mask.png"
    mask.write_bytes(b"mine")
    (tmp_path / "out" / "x.json").unlink()  # one file of three is enough to refuse
    status, told = run(path)
    assert status == 1 and "--force" in told and mask.read_bytes() == b"mine"
    assert run(path, "--force") == (0, "")
    assert mask.read_bytes() != b"mine"


def test_two_photos_of_one_name_do_not_share_files(tmp_path, run):
    (tmp_path / "other").mkdir()
    one = saved(tmp_path / "x.png")
    other = saved(tmp_path / "other" / "X.PNG", picture(seed=1))
    for force in ([], ["--force"]):
        status, told = run(one, other, *force)
        assert status == 1 and f"{other} has the name of {one}" in told
    assert json.loads((tmp_path / "out" / "x.json").read_text())["photo"] == "x.png"


def test_a_name_is_free_again_when_its_photo_was_refused(tmp_path, run):
    (tmp_path / "x.jpg").write_bytes(b"no photo")
    status, told = run(tmp_path / "x.jpg", saved(tmp_path / "x.png"))
    assert status == 1 and told.count("refused") == 1
    assert (tmp_path / "out" / "x.json").is_file()


def test_a_photo_named_twice_is_done_once(tmp_path, run):
    path = saved(tmp_path / "x.png")
    assert run(path, path, tmp_path)[0] == 0
    assert run(path, path, tmp_path, "--force")[0] == 0


def test_never_overwrites_a_photo_it_was_given(tmp_path, run):
    photo, mask = saved(tmp_path / "x.png"), saved(tmp_path / "x_mask.png")
    before = mask.read_bytes()
    status, told = run(photo, mask, "--force", out=tmp_path)
    assert status == 1 and "would overwrite the photo" in told
    assert mask.read_bytes() == before


@pytest.mark.parametrize(
    "words", [[], ["--max-side", "0"], ["--max-side", "wide"], ["--unknown"]]
)
def test_wrong_usage_is_2(tmp_path, run, words):
    assert run(*words, *([saved(tmp_path / "x.png")] if words else []))[0] == 2


def test_a_place_that_cannot_be_written_is_2(tmp_path, run):
    path = saved(tmp_path / "x.png")
    status, told = run(path, out=path / "inside")
    assert status == 2 and "nothing can be written" in told
    status, told = run(tmp_path, out=tmp_path)
    assert status == 2 and "photos' own folder" in told


def test_a_disk_that_fills_up_is_a_refusal_and_leaves_nothing(
    tmp_path, run, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    status, told = run(saved(tmp_path / "x.png"))
    assert status == 1 and "No space left" in told and told.count("\n") == 1
    assert list((tmp_path / "out").iterdir()) == []


def on_a_terminal(*words) -> tuple[int, str]:
    """Run the command line with a terminal for its stderr; return status and text."""
    fcntl, pty, termios = map(pytest.importorskip, ("fcntl", "pty", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    command = [sys.executable, "-m", "utils.predict", *(str(word) for word in words)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=theirs)
    os.close(theirs)
    told = b""
    with contextlib.suppress(OSError):  # the terminal hangs up when the program ends
        while part := os.read(ours, 4096):
            told += part
    os.close(ours)
    return process.wait(), told.decode()


@pytest.mark.slow
def test_the_same_photo_twice_gives_the_same_bytes_and_a_terminal_sees_progress(
    tmp_path, network
):
    path = saved(tmp_path / "x.png", picture(64, 80))
    quiet = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    process = start(path, "--model", network, "--out", tmp_path / "one", env=quiet)
    _, told = process.communicate()
    assert (process.returncode, told) == (0, "")  # no word from any library
    words = [path, "--model", network, "--out", tmp_path / "two"]
    status, told = on_a_terminal(*words)
    assert status == 0 and "1/1" in told
    for one in (tmp_path / "one").iterdir():
        assert one.read_bytes() == (tmp_path / "two" / one.name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_give_the_same_without_tensorflow(tmp_path, network, backend):
    pytest.importorskip(backend, reason="requirements-backends.txt")
    path = saved(tmp_path / "x.png", picture(64, 80))
    masks = []
    for name, missing in (("tensorflow", "None"), (backend, "tensorflow")):
        program = f"import sys; sys.modules[{missing!r}] = None; "
        program += "from utils import predict; sys.exit(predict.main())"
        words = [path, "--model", network, "--out", tmp_path / name]
        subprocess.run(
            [sys.executable, "-c", program, *(str(word) for word in words)],
            cwd=ROOT,
            env=os.environ | {"KERAS_BACKEND": name},
            check=True,
        )
        masks.append(np.asarray(Image.open(tmp_path / name / "x_mask.png")))
    assert (masks[0] == masks[1]).mean() > 0.999


@pytest.mark.slow
def test_stopped_by_hand_it_leaves_whole_files_and_one_sentence(tmp_path, network):
    (tmp_path / "many").mkdir()
    for number in range(300):
        saved(tmp_path / "many" / f"{number:03}.bmp", picture(200, 300))
    out = tmp_path / "out"
    process = start(tmp_path / "many", "--model", network, "--out", out)
    while len(list(out.glob("*.json"))) < 3 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130, told
    assert told.count("stopped;") == 1 and "Traceback" not in told
    assert not list(out.glob(".*"))
    assert 3 <= len(list(out.glob("*.json"))) < 300
    for path in out.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text())
        else:
            Image.open(path).load()


def damaged(folder, count: int) -> None:
    """Write photos of all formats with bytes flipped, or with the end cut off."""
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    cat = Image.fromarray(skimage.data.chelsea()[::4, ::4])
    formats = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
    for number in range(count):
        kind = formats[number % len(formats)]
        data = io.BytesIO()
        cat.save(data, kind, **({"exif": exif} if kind in formats[:4] else {}))
        content = bytearray(data.getvalue())
        # Headers and directories are where a flipped byte does most.
        reach = len(content) if generator.random() < 0.5 else min(len(content), 200)
        for place in generator.integers(0, reach, generator.integers(1, 9)):
            content[place] = generator.integers(256)
        if generator.random() < 0.4:
            content = content[: generator.integers(1, len(content))]
        (folder / f"{number:03}.jpg").write_bytes(content)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
@pytest.mark.slow
def test_damaged_photos_never_end_the_program(tmp_path, network, count):
    (tmp_path / "photos").mkdir()
    damaged(tmp_path / "photos", count)
    out = tmp_path / "out"
    process = start(tmp_path / "photos", "--model", network, "--out", out)
    _, told = process.communicate(timeout=60 + 5 * count)
    assert process.returncode == 1, told
    assert "Traceback" not in told
    refused = set(re.findall(r"^refused: \S*/(\d+)\.jpg .*\.$", told, re.MULTILINE))
    written = {path.stem for path in out.glob("*.json")}
    assert len(refused) + len(written) == count
    assert refused and written and not refused & written


@pytest.mark.parametrize(
    ("width", "height"),
    [(1000, 750), pytest.param(4000, 3000, marks=pytest.mark.long)],
)
@pytest.mark.slow
def test_a_large_photo_fits_into_4_gigabytes(tmp_path, width, height):
    """With the whole VGG16, the process and TensorFlow included."""
    model = fcn.build("8s", 3, fc_units=512, fc_kernel=1, weights=None)
    networks.save_model(networks.remember(model, 160, NAMES), tmp_path / "m.keras")
    cat = Image.fromarray(skimage.data.chelsea()).resize((width, height))
    cat.save(tmp_path / "x.jpg")
    words = [tmp_path / "x.jpg", "--model", tmp_path / "m.keras", "--out", tmp_path]
    program = (
        "from benchmarks import timing; from utils import predict; "
        "print(predict.main(), timing.peak_memory())"
    )
    command = [sys.executable, "-c", program, *(str(word) for word in words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    status, gigabytes = done.stdout.split()
    assert status == "0", done.stderr
    assert Image.open(tmp_path / "x_mask.png").size == (width, height)
    if sys.platform == "linux":
        assert float(gigabytes) < 4


def test_the_measured_photo_was_as_cheap_as_asked():
    """On the machine that measured it, the start of the process included."""
    runs = environment.results("large_photo")["runs"]
    assert len(runs) >= 3
    assert statistics.median(run["seconds"] for run in runs) < 10
    assert max(run["peak_memory_gb"] for run in runs) < 4
