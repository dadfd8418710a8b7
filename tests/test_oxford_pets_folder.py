"""The folder builder: what it reads, what it refuses, what it leaves behind."""

import errno
import gzip
import io
import logging
import os
import re
import signal
import subprocess
import sys
import tarfile

import numpy as np
import official_folder
import pytest
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from data.oxford_pets_folder import archives, checks
from data.oxford_pets_folder.oxford_pets_folder_dataset_builder import prepared
from utils import photos


@pytest.fixture
def folder(tmp_path):
    return official_folder.make(tmp_path / "official", trainval=4, test=2)


@pytest.fixture
def prepare(tmp_path):
    return lambda folder, **options: prepared(
        folder, data_dir=tmp_path / "cache", **options
    )


def examples(builder, split="train"):
    rows = builder.as_dataset(split=split).as_numpy_iterator()
    return {row["file_name"].decode(): row for row in rows}


def assert_nothing_half_written(tmp_path):
    """No record, no list and no unpacked file is left of a failed preparation."""
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


# What is read


def test_reads_what_the_folder_holds(folder, prepare):
    rows = examples(prepare(folder))
    assert set(rows) == {"dog_1.jpg", "cat_2.jpg", "dog_3.jpg", "cat_4.jpg"}
    row = rows["dog_1.jpg"]
    assert row["species"] == 1 and row["label"] == 1
    assert rows["cat_2.jpg"]["species"] == 0 and rows["cat_2.jpg"]["label"] == 0
    np.testing.assert_array_equal(
        row["segmentation_mask"][..., 0], official_folder.trimap(1)
    )
    stored = np.asarray(Image.open(folder / "images" / "dog_1.jpg")).astype(int)
    assert np.abs(row["image"] - stored).mean() < 3  # two JPEG decoders


def test_a_plain_jpeg_is_passed_on_byte_by_byte(folder):
    path = folder / "images" / "dog_1.jpg"
    content, size, orientation = checks.read_photo(path, "here")
    assert content == path.read_bytes()
    assert (size, orientation) == ((50, 40), 1)


def palette(array):
    return Image.fromarray(array).convert("P", palette=Image.Palette.ADAPTIVE)


def rgba(array):
    alpha = np.full((*array.shape[:2], 1), 100, np.uint8)
    return Image.fromarray(np.concatenate([array, alpha], -1))


GREY = np.tile(np.arange(50, dtype=np.uint8)[None] * 5, (40, 1))
FLAT = np.full((40, 50, 3), (200, 60, 20), np.uint8)
ODD_PHOTOS = {
    "png": (Image.fromarray(official_folder.photo(1)), "PNG", None, 0),
    "gif": (palette(FLAT), "GIF", FLAT, 0),
    "grey": (Image.fromarray(GREY), "JPEG", np.dstack([GREY] * 3), 6),
    "cmyk": (Image.fromarray(FLAT).convert("CMYK"), "JPEG", FLAT, 4),
    "rgba": (rgba(official_folder.photo(1)), "PNG", None, 0),
    "16 bit": (
        Image.fromarray(GREY.astype(np.uint16) * 257),
        "PNG",
        np.dstack([GREY] * 3),
        0,
    ),
    "bmp": (Image.fromarray(official_folder.photo(1)), "BMP", None, 0),
}


@pytest.mark.parametrize("kind", ODD_PHOTOS)
def test_odd_photos_are_read(folder, prepare, kind):
    image, form, expected, tolerance = ODD_PHOTOS[kind]
    expected = official_folder.photo(1) if expected is None else expected
    image.save(folder / "images" / "dog_1.jpg", form)
    found = examples(prepare(folder))["dog_1.jpg"]["image"]
    assert found.shape == (40, 50, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_photo_upright(folder, prepare, orientation):
    # Turn the upright photo into what a camera stores, by the inverse of what the
    # EXIF standard says a viewer does.
    upright = np.kron([[250, 10, 90], [10, 170, 50]], np.ones((16, 16)))
    upright = np.dstack([upright] * 3).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "images" / "dog_1.jpg"
    official_folder.save_photo(path, stored, quality=98, exif=exif)
    mask = np.where(upright[..., 0] > 200, 1, np.where(upright[..., 0] > 60, 3, 2))
    Image.fromarray(mask.astype(np.uint8)).save(
        folder / "annotations" / "trimaps" / "dog_1.png"
    )
    row = examples(prepare(folder))["dog_1.jpg"]
    assert row["image"].shape == (32, 48, 3)
    assert np.abs(row["image"].astype(int) - upright).max() <= 12
    np.testing.assert_array_equal(row["segmentation_mask"][..., 0], mask)


def test_a_mask_drawn_on_the_stored_pixels_turns_with_its_photo(folder, prepare):
    stored = np.zeros((20, 60, 3), np.uint8)
    stored[:, :10] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    official_folder.save_photo(folder / "images" / "dog_1.jpg", stored, exif=exif)
    mask = np.where(stored[..., 0] > 100, 1, 2).astype(np.uint8)
    Image.fromarray(mask).save(folder / "annotations" / "trimaps" / "dog_1.png")
    row = examples(prepare(folder))["dog_1.jpg"]
    assert row["image"].shape[:2] == row["segmentation_mask"].shape[:2] == (60, 20)
    bright = row["image"][..., 0] > 100
    np.testing.assert_array_equal(bright, row["segmentation_mask"][..., 0] == 1)


JPEG, ODD_METADATA = official_folder.odd_metadata()


@pytest.mark.parametrize("kind", ODD_METADATA)
def test_broken_metadata_beside_sound_pixels_are_no_damage(tmp_path, kind):
    """Nor to `predict`: both readers are one."""
    path = tmp_path / "x.jpg"
    path.write_bytes(ODD_METADATA[kind])
    content, size, orientation = checks.read_photo(path, "here")
    assert (size, orientation) == ((50, 40), 1)
    sound = JPEG if kind.startswith("JPEG") else None
    expected = official_folder.photo(1)
    if sound:
        expected = np.asarray(Image.open(io.BytesIO(sound)))
        assert content == ODD_METADATA[kind]  # passed on byte by byte
    else:
        decoded = tf.io.decode_image(content, channels=3, expand_animations=False)
        np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(photos.read(path), expected)


def test_lists_may_be_untidy_and_strays_may_lie_about(folder, prepare):
    for part, suffix in (("images", "jpg"), ("annotations/trimaps", "png")):
        os.rename(folder / part / f"cat_2.{suffix}", folder / part / f"my cat.{suffix}")
    (folder / "annotations" / "trainval.txt").write_bytes(
        b"\xef\xbb\xbf# a comment\r\n\r\n  dog_1 2 2 1  \r\nmy cat 1 1 1\r\n\t\r\n"
    )
    (folder / "images" / "dog_1.mat").write_bytes(b"stray")
    (folder / "annotations" / "trimaps" / "._dog_1.png").write_bytes(b"stray")
    assert set(examples(prepare(folder))) == {"dog_1.jpg", "my cat.jpg"}


def test_the_sample_is_read_whole(sample, tmp_path):
    builder = prepared(sample, data_dir=tmp_path)
    assert builder.info.splits["train"].num_examples == 300
    assert builder.info.splits["test"].num_examples == 200
    assert list(builder.info.metadata["left_out"]) == []


def test_a_changed_folder_is_never_served_from_the_old_copy(folder, prepare):
    before = examples(prepare(folder))["dog_1.jpg"]["image"]
    again = prepare(folder)
    assert again.data_dir == prepare(folder).data_dir
    official_folder.save_photo(folder / "images" / "dog_1.jpg", 255 - before)
    after = examples(prepare(folder))["dog_1.jpg"]["image"]
    assert np.abs(after.astype(int) - (255 - before)).mean() < 8
    lines = (folder / "annotations" / "test.txt").read_text().splitlines()
    (folder / "annotations" / "test.txt").write_text(lines[0] + "\n")
    assert len(examples(prepare(folder), "test")) == 1


# What is refused


def rewrite(path, function):
    def change(folder):
        target = folder / path
        target.write_bytes(function(target.read_bytes()))

    return change


def mask_of(array):
    def change(folder):
        Image.fromarray(array).save(folder / "annotations/trimaps/dog_1.png")

    return change


def remove(path):
    return lambda folder: (folder / path).unlink()


def rename(path):
    return lambda folder: (folder / path).rename(folder / "elsewhere")


PHOTO, MASK = "images/dog_1.jpg", "annotations/trimaps/dog_1.png"
TRAINVAL = "annotations/trainval.txt"
BAD_FOLDERS = {
    "no annotations": (rename("annotations"), FileNotFoundError, "annotations/"),
    "no trimaps": (rename("annotations/trimaps"), FileNotFoundError, "trimaps/"),
    "no images": (rename("images"), FileNotFoundError, "no folder images/"),
    "no list": (remove(TRAINVAL), FileNotFoundError, "trainval.txt is missing"),
    "binary list": (
        rewrite(TRAINVAL, lambda _: b"\xff\xfe\x00x"),
        ValueError,
        "trainval.txt is not UTF-8",
    ),
    "empty split": (
        rewrite("annotations/test.txt", lambda _: b"# nothing\n"),
        ValueError,
        "split 'test' has no photos: .*test.txt",
    ),
}
BAD_PHOTOS = {
    "photo missing": (remove(PHOTO), FileNotFoundError, "dog_1.jpg is missing"),
    "photo empty": (rewrite(PHOTO, lambda _: b""), ValueError, "dog_1.jpg is empty"),
    "photo truncated": (
        rewrite(PHOTO, lambda content: content[:-99]),
        ValueError,
        "dog_1.jpg is damaged",
    ),
    "photo is text": (
        rewrite(PHOTO, lambda _: b"<html>404</html>"),
        ValueError,
        "dog_1.jpg is no picture",
    ),
    "mask missing": (remove(MASK), FileNotFoundError, "dog_1.png is missing"),
    "mask empty": (rewrite(MASK, lambda _: b""), ValueError, "dog_1.png is empty"),
    "mask truncated": (
        rewrite(MASK, lambda content: content[:-30]),
        ValueError,
        "dog_1.png is damaged",
    ),
    "mask of another size": (
        mask_of(np.full((41, 50), 2, np.uint8)),
        ValueError,
        "dog_1.png is 50 x 41 pixels, its photo 50 x 40",
    ),
    "mask turned": (
        mask_of(np.full((50, 40), 2, np.uint8)),
        ValueError,
        "dog_1.png is 40 x 50 pixels, its photo 50 x 40",
    ),
    "mask holds 0": (
        mask_of(np.full((40, 50), 0, np.uint8)),
        ValueError,
        "dog_1.png holds 0: ",
    ),
    "mask holds 255": (
        mask_of(np.where(official_folder.trimap(1) == 1, 255, 2).astype(np.uint8)),
        ValueError,
        "dog_1.png holds 255: ",
    ),
    "mask in colour": (
        mask_of(official_folder.photo(1)),
        ValueError,
        "dog_1.png has 3 channels",
    ),
    "unknown breed": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1 2", b"dog_1 38")),
        ValueError,
        "trainval.txt, line 1: unknown breed number 38 of 'dog_1'",
    ),
    "breed zero": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1 2", b"dog_1 0")),
        ValueError,
        "trainval.txt, line 1: unknown breed number 0 of 'dog_1'",
    ),
    "unknown species": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1 2 2", b"dog_1 2 3")),
        ValueError,
        "trainval.txt, line 1: unknown species number 3 of 'dog_1'",
    ),
    "no columns": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1 2 2 1", b"dog_1")),
        ValueError,
        "trainval.txt, line 1: 'dog_1' is not",
    ),
    "word for number": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1 2", b"dog_1 two")),
        ValueError,
        "trainval.txt, line 1: 'dog_1 two 2 1' is not",
    ),
    "name leaves the folder": (
        rewrite(TRAINVAL, lambda text: text.replace(b"dog_1", b"../dog_1")),
        ValueError,
        "trainval.txt, line 1: the name '../dog_1' points out of the folder",
    ),
}


def split_of(case):
    return "test" if case == "empty split" else "train"


@pytest.mark.parametrize("case", BAD_FOLDERS | BAD_PHOTOS)
def test_bad_input_stops_with_a_sentence(folder, prepare, tmp_path, case):
    change, kind, message = (BAD_FOLDERS | BAD_PHOTOS)[case]
    change(folder)
    with pytest.raises(kind, match=message) as caught:
        prepare(folder, split=split_of(case))
    assert "\n" not in str(caught.value)
    assert_nothing_half_written(tmp_path)


@pytest.mark.parametrize("case", BAD_PHOTOS)
def test_bad_photos_are_left_out_counted_and_named(folder, prepare, case, caplog):
    change, _, message = BAD_PHOTOS[case]
    change(folder)
    for _ in range(2):  # prepared, then read again: told both times
        caplog.clear()
        with caplog.at_level(logging.WARNING, "pets"):
            builder = prepare(folder, on_error="skip")
        told = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
        assert len(told) == 1 and told[0].startswith("left out 1 of 6 photos")
        assert len(builder.info.metadata["left_out"]) == 1
        assert re.search(message, told[0])
    assert set(examples(builder)) == {"cat_2.jpg", "dog_3.jpg", "cat_4.jpg"}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(folder)  # the incomplete copy is not taken for a complete one


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_bad_folder_is_refused_even_when_photos_may_be_skipped(folder, prepare, case):
    change, kind, message = BAD_FOLDERS[case]
    change(folder)
    with pytest.raises(kind, match=message):
        prepare(folder, on_error="skip", split=split_of(case))


@pytest.mark.parametrize(("split", "count"), [("train", 4), ("test", 2)])
def test_one_list_is_enough_for_its_split(folder, prepare, split, count):
    lists = [folder / "annotations" / name for name in ("trainval.txt", "test.txt")]
    asked, other = lists if split == "train" else lists[::-1]
    content = other.read_bytes()
    for change in (other.unlink, lambda: other.write_bytes(b"# nothing\n")):
        change()
        for wanted in (split, None):
            assert len(examples(prepare(folder, split=wanted), split)) == count
    # The same bytes in the other list are another folder.
    asked.rename(other)
    with pytest.raises(FileNotFoundError, match=f"{asked.name} is missing"):
        prepare(folder, split=split)
    asked.write_bytes(content)
    assert len(examples(prepare(folder, split=split), split)) == 6 - count


def test_a_folder_without_any_list_is_refused(folder, prepare):
    for path in folder.glob("annotations/*.txt"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"trainval\.txt is missing"):
        prepare(folder)


@pytest.mark.parametrize("target", ["nowhere", "itself.jpg"])
def test_a_link_that_leads_nowhere_counts_only_where_it_is_listed(
    folder, prepare, target
):
    (folder / "images" / "itself.jpg").symlink_to(target)
    assert len(examples(prepare(folder))) == 4
    (folder / PHOTO).unlink()
    (folder / PHOTO).symlink_to(target)
    with pytest.raises(FileNotFoundError, match=r"line 1: the photo .* is missing"):
        prepare(folder)
    assert len(examples(prepare(folder, on_error="skip"))) == 3


def test_a_photo_that_may_not_be_read_is_named(folder, prepare, monkeypatch):
    def denied(path):
        if path.name == "dog_1.jpg":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    read_bytes = checks.pathlib.Path.read_bytes
    monkeypatch.setattr(checks.pathlib.Path, "read_bytes", denied)
    with pytest.raises(ValueError, match=r"line 1: .*dog_1.jpg cannot be read \(Perm"):
        prepare(folder)


def test_a_breed_has_one_species(folder, prepare):
    """Whichever line comes first, and in whichever list."""
    text = (folder / TRAINVAL).read_text()
    changed = text.replace("dog_1 2 2", "dog_1 2 1")
    (folder / TRAINVAL).write_text(changed)
    sentence = r"trainval.txt, line 1: 'dog_1' has breed 2 and species 1, but the other"
    with pytest.raises(ValueError, match=sentence):
        prepare(folder)
    builder = prepare(folder, on_error="skip")
    assert set(examples(builder)) == {"cat_2.jpg", "dog_3.jpg", "cat_4.jpg"}
    for breeds in ("1 2", "37 2"):  # any number, if all say the same
        (folder / TRAINVAL).write_text(text.replace(" 2 2 ", f" {breeds} "))
        if breeds == "1 2":
            with pytest.raises(ValueError, match="has breed 1 and species 2"):
                prepare(folder, split="train")
        else:
            assert len(examples(prepare(folder))) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
@pytest.mark.parametrize("named", ["folder", "data_dir"])
def test_a_folder_whose_name_is_not_utf_8_is_a_sentence(folder, tmp_path, named):
    odd = tmp_path / os.fsdecode(b"gr\xfcn")
    folder.rename(odd) if named == "folder" else None
    paths = (odd, tmp_path / "cache") if named == "folder" else (folder, odd)
    with pytest.raises(ValueError, match=r"gr\\xfcn is not named in UTF-8: rename"):
        prepared(paths[0], data_dir=paths[1])


@pytest.mark.parametrize("name", ["[1] a*b?", "{x}", "a b", "é"])
def test_paths_that_look_like_patterns_are_paths(folder, tmp_path, name):
    home = tmp_path / name
    home.mkdir()
    folder = folder.rename(home / "pets")
    for _ in range(2):
        builder = prepared(folder, data_dir=home / "cache")
        assert len(examples(builder)) == 4
    assert not list(home.rglob("incomplete*"))
    with pytest.raises(ValueError, match=r"\*\* in its name: give another data_dir"):
        prepared(folder, data_dir=home / "a**b")


@pytest.mark.parametrize("kind", ["a file in the way", "read-only"])
@pytest.mark.parametrize("source", ["folder", "archives"])
def test_where_nothing_can_be_written_the_cure_is_named(
    folder, tmp_path, monkeypatch, source, kind
):
    if source == "archives":
        official_folder.pack(folder, tmp_path / "packed")
        folder = tmp_path / "packed"
    data_dir = tmp_path / "cache"
    assert len(examples(prepared(folder, data_dir=data_dir))) == 4
    if kind == "a file in the way":
        data_dir = tmp_path / "file" / "cache"
        data_dir.parent.touch()
    else:  # whoever runs this may be root, who writes everywhere

        def refused(path, *_, **__):
            raise OSError(errno.EROFS, "Read-only file system", os.fspath(path))

        for name in ("mkdir", "makedirs"):
            monkeypatch.setattr(os, name, refused)
        # What is prepared already needs no writing.
        assert len(examples(prepared(folder, data_dir=data_dir))) == 4
        data_dir = tmp_path / "another"
    with pytest.raises(OSError, match=r"cannot be kept in .*: give another data_dir"):
        prepared(folder, data_dir=data_dir)


def test_a_photo_listed_twice_is_refused(folder, prepare, tmp_path):
    with open(folder / "annotations" / "test.txt", "a") as lines:
        lines.write("dog_1 2 2 1\n")
    with pytest.raises(
        ValueError, match=r"'dog_1' is listed before, in .*trainval.txt"
    ):
        prepare(folder)
    assert_nothing_half_written(tmp_path)


def test_a_photo_too_large_for_the_memory_is_named(folder, prepare, monkeypatch):
    def full(path, *_):
        if path.stem == "dog_1":
            raise MemoryError
        return read(path, *_)

    read = checks.read_photo
    monkeypatch.setattr(checks, "read_photo", full)
    with pytest.raises(ValueError, match=r"line 1: the photo .*dog_1\.jpg needs more"):
        prepare(folder)
    assert len(examples(prepare(folder, on_error="skip"))) == 3


def test_a_split_whose_photos_are_all_bad_has_no_photos(folder, prepare, tmp_path):
    for path in (folder / "images").glob("*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="the split 'train' has no photos"):
        prepare(folder, on_error="skip")
    assert_nothing_half_written(tmp_path)


# The two archives


def test_the_two_archives_serve_as_well_as_their_content(folder, prepare, tmp_path):
    for mode in ("w:gz", "w"):  # the official ones are plain tar, says TFDS
        packed = tmp_path / f"packed {mode.replace(':', ' ')}"
        official_folder.pack(folder, packed, mode=mode)
        from_archive, direct = examples(prepare(packed)), examples(prepare(folder))
        assert set(from_archive) == set(direct)
        for name, row in direct.items():
            np.testing.assert_array_equal(from_archive[name]["image"], row["image"])
    assert not any(path.is_dir() for path in packed.iterdir())


def evil(name, content=b"x", **fields):
    def change(folder):
        with tarfile.open(folder / "images.tar.gz", "w:gz") as tar:
            official_folder.add(tar, name, content, **fields)

    return change


def claim(name, size):
    """Write an archive whose one member claims a size it does not have."""

    def change(folder):
        member = tarfile.TarInfo(name)
        member.size = size
        with gzip.open(folder / "images.tar.gz", "wb") as file:
            file.write(member.tobuf())

    return change


def long_name_bomb(folder):
    """Write an archive whose header for a long name claims 10 GB."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 10 * 2**30
    with gzip.open(folder / "images.tar.gz", "wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))


def many_files(folder):
    with tarfile.open(folder / "images.tar.gz", "w:gz") as tar:
        for number in range(20):
            official_folder.add(tar, f"images/{number}.jpg")


LEAVES = "which leaves the folder"
BAD_ARCHIVES = {
    "parent": (evil("images/../../evil.jpg"), LEAVES),
    "absolute": (evil("/tmp/evil.jpg"), LEAVES),
    "backslashes": (evil("images\\..\\..\\evil.jpg"), LEAVES),
    "drive": (evil("C:/evil.jpg"), LEAVES),
    "symbolic link": (
        evil("images/a.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "a link or a device",
    ),
    "hard link": (
        evil("images/a.jpg", b"", type=tarfile.LNKTYPE, linkname="../../x"),
        "a link or a device",
    ),
    "device": (evil("images/a.jpg", b"", type=tarfile.CHRTYPE), "a link or a device"),
    "large file": (claim("images/a.jpg", 10 * 2**30), "unpacks to more"),
    "large stray": (claim("elsewhere/a.jpg", 10 * 2**30), "unpacks to more"),
    "large header": (long_name_bomb, "unpacks to more"),
    "many files": (many_files, "unpacks to more"),
    "truncated": (
        rewrite("images.tar.gz", lambda content: content[: len(content) // 2]),
        "truncated or no tar",
    ),
    "no archive": (
        rewrite("images.tar.gz", lambda _: b"<html>404 not found</html>" * 40),
        "truncated or no tar",
    ),
    "empty": (rewrite("images.tar.gz", lambda _: b""), "truncated or no tar"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_archives_are_refused(folder, prepare, tmp_path, monkeypatch, case):
    change, message = BAD_ARCHIVES[case]
    monkeypatch.setattr(archives, "MAX_FILES", 15)
    packed = tmp_path / "packed"
    official_folder.pack(folder, packed)
    change(packed)
    with pytest.raises(ValueError, match=message) as caught:
        prepare(packed)
    assert str(packed / "images.tar.gz") in str(caught.value)
    assert_nothing_half_written(tmp_path)
    assert not list(tmp_path.rglob("evil*"))


def test_a_bomb_is_refused_by_what_it_unpacks_to(
    folder, prepare, tmp_path, monkeypatch
):
    monkeypatch.setattr(archives, "MAX_TOTAL", 10_000)
    packed = tmp_path / "packed"
    official_folder.pack(folder, packed)
    with tarfile.open(packed / "images.tar.gz", "w:gz") as tar:
        for number in range(3):
            official_folder.add(tar, f"images/{number}.jpg", bytes(5_000))
    with pytest.raises(ValueError, match="unpacks to more"):
        prepare(packed)
    assert_nothing_half_written(tmp_path)


def test_one_archive_of_two_is_not_enough(folder, prepare, tmp_path):
    official_folder.pack(folder, tmp_path / "packed")
    (tmp_path / "packed" / "annotations.tar.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"annotations.tar.gz is missing"):
        prepare(tmp_path / "packed")


# Damage nobody thought of


def damaged(content, random):
    """Return the content with some bytes changed, cut off or put in."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 20)):
        changed[random.integers(len(changed))] = random.integers(256)
    if random.random() < 0.3:
        del changed[random.integers(len(changed)) :]
    if random.random() < 0.3:
        place = random.integers(len(changed) + 1)
        changed[place:place] = random.bytes(random.integers(1, 50))
    return bytes(changed)


FUZZ = [
    pytest.param(60, id="short"),
    pytest.param(5000, id="long", marks=pytest.mark.long),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, of bad TIFF tags
@pytest.mark.parametrize("rounds", FUZZ)
def test_a_damaged_photo_or_mask_is_read_or_refused_with_a_sentence(folder, rounds):
    """Whatever passes can be decoded in training; whatever fails says why."""
    random = np.random.default_rng(0)
    photo, mask = folder / PHOTO, folder / MASK
    forms = [photo.read_bytes()]
    for form in ("PNG", "GIF", "TIFF"):
        Image.open(folder / "images" / "cat_2.jpg").save(photo, form)
        forms.append(photo.read_bytes())
    whole_mask = mask.read_bytes()
    outcomes = []
    for _ in range(rounds):
        photo.write_bytes(damaged(forms[random.integers(len(forms))], random))
        try:
            content, size, _ = checks.read_photo(photo, "here")
            decoded = tf.io.decode_image(content, channels=3, expand_animations=False)
            assert decoded.shape == (*size[::-1], 3)
            outcomes.append("read")
        except ValueError as error:
            assert str(photo) in str(error)
            outcomes.append("refused")
        mask.write_bytes(damaged(whole_mask, random))
        try:
            content = checks.read_mask(mask, (50, 40), 1, "here")
            decoded = tf.io.decode_image(content, channels=1, expand_animations=False)
            assert decoded.shape == (40, 50, 1)
            assert set(np.unique(decoded)) <= {1, 2, 3}
        except ValueError as error:
            assert str(mask) in str(error)
    assert set(outcomes) == {"read", "refused"}


@pytest.mark.parametrize("rounds", FUZZ)
def test_a_damaged_archive_is_unpacked_or_refused_with_a_sentence(
    folder, tmp_path, rounds
):
    random = np.random.default_rng(0)
    for mode in ("w:gz", "w"):
        packed = tmp_path / mode.replace(":", " ")
        official_folder.pack(folder, packed, mode=mode)
        whole = (packed / "annotations.tar.gz").read_bytes()
        for _ in range(rounds // 2):
            (packed / "annotations.tar.gz").write_bytes(damaged(whole, random))
            try:
                found = archives.unpacked(packed, tmp_path / "cache")
                assert found.parent == tmp_path / "cache" / "unpacked"
            except ValueError as error:
                assert "annotations.tar.gz" in str(error)
    made = {path.name for path in tmp_path.iterdir()}
    assert made <= {"official", "w gz", "w", "cache"}


@pytest.mark.parametrize("rounds", FUZZ)
def test_a_damaged_line_is_parsed_or_refused_with_a_sentence(rounds):
    random = np.random.default_rng(0)
    for _ in range(rounds):
        line = damaged(b"dog_1 2 2 1", random).decode("latin-1").strip()
        if not line:
            continue
        try:
            entry = checks.parse(line, "list, line 1")
            assert 0 <= entry.label <= 36 and entry.species in (0, 1)
            assert "/" not in entry.name and entry.name
        except ValueError as error:
            assert str(error).startswith("list, line 1: ")


def test_a_photo_of_twelve_megapixels_from_a_phone(folder, prepare):
    ramp = np.linspace(0, 255, 4000, dtype=np.uint8)
    wide = np.broadcast_to(ramp[None, :, None], (3000, 4000, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    official_folder.save_photo(folder / PHOTO, np.ascontiguousarray(wide), exif=exif)
    mask = np.full((4000, 3000), 2, np.uint8)
    mask[1000:3000] = 1
    Image.fromarray(mask).save(folder / MASK)
    row = examples(prepare(folder))["dog_1.jpg"]
    assert row["image"].shape == (4000, 3000, 3)
    np.testing.assert_array_equal(row["segmentation_mask"][..., 0], mask)
    assert abs(int(row["image"][3999, 0, 0]) - 255) < 8


# A full disk, a killed process


@pytest.mark.parametrize("source", ["folder", "archives"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    folder, prepare, tmp_path, source
):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    official_folder.save_photo(folder / "images" / "dog_1.jpg", noise, quality=100)
    mask = np.full((300, 300), 2, np.uint8)
    Image.fromarray(mask).save(folder / "annotations" / "trimaps" / "dog_1.png")
    if source == "archives":
        official_folder.pack(folder, tmp_path / "packed")
        folder = tmp_path / "packed"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="no room left") as caught:
            prepare(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.ENOSPC
    assert_nothing_half_written(tmp_path)
    assert len(examples(prepare(folder))) == 4  # with room again, all is well


KILLED = """
import os, signal, sys
from data.oxford_pets_folder import checks
from data.oxford_pets_folder.oxford_pets_folder_dataset_builder import prepared
real = checks.read_mask
def read_mask(path, *rest):
    if path.stem == "dog_3":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(path, *rest)
checks.read_mask = read_mask
prepared(sys.argv[1], data_dir=sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_preparation_is_never_taken_for_a_whole_one(folder, prepare, tmp_path):
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "cache")]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "cache").rglob("incomplete.*"))
    assert len(examples(prepare(folder))) == 4
    for partial in (tmp_path / "cache").rglob("incomplete.*"):
        os.utime(partial, (0, 0))  # a day later, another state of the folder
    (folder / "annotations" / "test.txt").write_text("dog_5 2 2 1\n")
    assert len(examples(prepare(folder), "test")) == 1
    assert not list((tmp_path / "cache").rglob("incomplete.*"))


@pytest.mark.slow
def test_the_lines_that_lay_out_the_development_sample(sample, tmp_path, prepare):
    """data/README.md's commands, on the sample with strangers added to its lists."""
    text = (ROOT / "data" / "README.md").read_text()
    section = text.partition("### The development sample")[2]
    lines = section.partition("```\n")[2].partition("```")[0]
    (tmp_path / "learn-fcn").symlink_to(ROOT)
    official = tmp_path / "oxford-iiit-pet"
    (official / "annotations").mkdir(parents=True)
    for name in ("images", "annotations/trimaps"):
        (official / name).symlink_to(sample / name)
    lists = {"trainval.txt": "beagle_1 5 2 3\n", "test.txt": "Bengal_999 6 1 2\n"}
    for name, strangers in lists.items():
        known = (sample / "annotations" / name).read_text()
        (official / "annotations" / name).write_text(strangers + known)
    subprocess.run(["bash", "-ec", lines], cwd=tmp_path, check=True)
    for name in lists:
        found = (tmp_path / "sample" / "annotations" / name).read_text()
        assert found == (sample / "annotations" / name).read_text()
    builder = prepare(tmp_path / "sample")
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert counts == {"train": 300, "test": 200}
