"""A TFDS builder for the official Oxford-IIIT Pet files in a folder of the reader's.

    builder = prepared("path/to/oxford-iiit-pet", data_dir="data/cache/tfds")
    dataset = builder.as_dataset(split="train")

The folder holds `images/*.jpg`, `annotations/trimaps/*.png`, `annotations/trainval.txt`
and `annotations/test.txt`, or the two official archives. Nothing in it is changed.
`annotations/list.txt` and `annotations/xmls/` are not read: they repeat what the two
lists say, and hold boxes this project has no use for.
"""

import concurrent.futures
import contextlib
import errno
import functools
import hashlib
import io
import itertools
import logging
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from data.oxford_pets_folder import archives, checks
from data.oxford_pets_folder.breeds import BREEDS

LISTS = {"train": "trainval.txt", "test": "test.txt"}
_CHUNK = 64  # photos read ahead, so that memory stays small
_log = logging.getLogger("pets")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Photos and trimaps as TFDS `oxford_iiit_pet` gives them, without head boxes."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, folder: pathlib.Path, on_error: str, data_dir: str):
        self.folder = folder
        self.on_error = on_error
        self._seen = {}  # photo -> where it is listed, over both lists
        self._species = {}  # breed -> species, over both lists
        super().__init__(data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Oxford-IIIT Pets from a folder in the official layout.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "label": tfds.features.ClassLabel(names=list(BREEDS)),
                    "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
                    "file_name": tfds.features.Text(),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), use_colormap=True
                    ),
                }
            ),
            homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
            metadata=tfds.core.MetadataDict(listed=0, left_out=[]),
        )

    def _split_generators(self, dl_manager) -> dict:
        listed = _listed(self.folder)
        self._species = checks.species_of_breeds(itertools.chain(*listed.values()))
        self.info.metadata["listed"] = sum(len(entries) for entries in listed.values())
        return {
            split: self._generate_examples(split, entries)
            for split, entries in listed.items()
        }

    def _generate_examples(
        self, split: str, entries: list[tuple[str, str]]
    ) -> Iterator:
        left_out = self.info.metadata["left_out"]
        seen = self._seen
        kept = 0
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for start in range(0, len(entries), _CHUNK):
                chunk = entries[start : start + _CHUNK]
                waiting = [pool.submit(_read, self.folder, *entry) for entry in chunk]
                for future in waiting:
                    try:
                        entry, example = future.result()
                        checks.check_species(entry, self._species)
                        if entry.name in seen:
                            raise ValueError(
                                f"{entry.where}: {entry.name!r} is listed before, in "
                                f"{seen[entry.name]}: a photo belongs to one list, "
                                "once."
                            )
                    except (ValueError, OSError) as error:
                        if self.on_error == "stop":
                            raise
                        left_out.append(str(error))
                        continue
                    seen[entry.name] = entry.where
                    kept += 1
                    yield example["file_name"], example
        if not kept:
            raise ValueError(
                f"the split {split!r} has no photos: none of those listed in "
                f"{self.folder / 'annotations' / LISTS[split]} can be used; the "
                f"first: {left_out[0]}"
            )


def _listed(folder: pathlib.Path) -> dict[str, list[tuple[str, str]]]:
    """Return the lines of each list that is there and names a photo."""
    paths = {split: folder / "annotations" / name for split, name in LISTS.items()}
    listed = {s: list(checks.lines(p)) for s, p in paths.items() if p.is_file()}
    return {split: entries for split, entries in listed.items() if entries}


def _check_listed(folder: pathlib.Path, split: str) -> None:
    """Raise a sentence when the list of a split is not there, or names no photo."""
    path = folder / "annotations" / LISTS[split]
    if not list(checks.lines(path)):
        raise ValueError(
            f"the split {split!r} has no photos: {path} names none, one a line as "
            "'Abyssinian_100 1 1 1'."
        )


def _read(folder: pathlib.Path, line: str, where: str) -> tuple[checks.Entry, dict]:
    """Read and check the photo and the mask that a line names."""
    entry = checks.parse(line, where)
    path = folder / "images" / f"{entry.name}.jpg"
    trimap = folder / "annotations" / "trimaps" / f"{entry.name}.png"
    try:
        photo, size, orientation = checks.read_photo(path, where)
        mask = checks.read_mask(trimap, size, orientation, where)
    except MemoryError:
        raise ValueError(
            f"{where}: the photo {path} needs more memory than there is; make it and "
            "its mask smaller."
        ) from None
    return entry, {
        "image": io.BytesIO(photo),
        "label": entry.label,
        "species": entry.species,
        "file_name": f"{entry.name}.jpg",
        "segmentation_mask": io.BytesIO(mask),
    }


def _digest(folder: pathlib.Path) -> str:
    """Name the folder's content: lists, and name, size and date of photos and masks.

    Reading all bytes would take minutes on a network drive; a file changed within its
    size and its date is the price.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for name in LISTS.values():
        path = folder / "annotations" / name
        digest.update(path.read_bytes() if path.is_file() else b"no list")
    for part in ("images", "annotations/trimaps"):
        with os.scandir(folder / part) as files:
            for file in sorted(files, key=lambda file: file.name):
                # A link may lead nowhere; where it is listed, the reading says so.
                if file.name.endswith((".jpg", ".png")) and os.path.isfile(file):
                    state = file.stat()
                    known = f"{file.name} {state.st_size} {state.st_mtime_ns}\n"
                    digest.update(os.fsencode(known))
    return digest.hexdigest()[:16]


def _check_layout(folder: pathlib.Path) -> None:
    """Raise a sentence unless the folder looks like the official one."""
    for part in ("annotations", "annotations/trimaps", "images"):
        if not (folder / part).is_dir():
            raise FileNotFoundError(
                f"{folder} has no folder {part}/: the official layout is images/*.jpg, "
                "annotations/trimaps/*.png, annotations/trainval.txt and "
                "annotations/test.txt, or the two archives images.tar.gz and "
                "annotations.tar.gz."
            )


def _no_room(error: BaseException) -> bool:
    """Return whether the error, or one it came from, says that the disk is full."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # What TensorFlow makes of the same three.
    full_in_tensorflow = (tf.errors.ResourceExhaustedError, tf.errors.OutOfRangeError)
    while error is not None:
        if isinstance(error, full_in_tensorflow):
            return True
        if isinstance(error, OSError) and error.errno in full:
            return True
        error = error.__cause__ or error.__context__
    return False


def _remove_abandoned(data_dir: pathlib.Path) -> None:
    """Remove what killed preparations left; one younger than a day may be at work."""
    for pattern in ("unpacked/incomplete.*", "folder-*/*/incomplete.*"):
        for partial in data_dir.glob(pattern):
            if time.time() - partial.stat().st_mtime > 86_400:
                shutil.rmtree(partial, ignore_errors=True)


def _check_writable(data_dir: pathlib.Path) -> None:
    """Raise a sentence when nothing can be written there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=data_dir).close()
    except OSError as error:
        raise OSError(
            error.errno,
            f"prepared photos cannot be kept in {data_dir} ({error.strerror}): give "
            "another data_dir, or copy the project to where you may write",
        ) from error


@contextlib.contextmanager
def room_in(data_dir: pathlib.Path, what: str | pathlib.Path) -> Iterator[None]:
    """Say in one sentence why data cannot be kept, whichever library found out.

    Args:
        data_dir: where data is being written.
        what: the data set being prepared.

    Raises:
        ValueError: TFDS cannot use one of the two paths.
        OSError: with `errno.ENOSPC`, when the block failed for want of room; with
            another, when nothing can be written there.
    """
    for path in map(os.fsencode, (data_dir, what)):
        readable = path.decode(errors="backslashreplace")
        if readable.encode() != path:
            raise ValueError(f"{readable} is not named in UTF-8: rename that folder.")
    if "**" in os.fspath(data_dir):  # a pattern to TFDS, and one it does not know
        raise ValueError(f"{data_dir} has ** in its name: give another data_dir.")
    try:
        yield
    except Exception as error:
        if _no_room(error):
            raise OSError(
                errno.ENOSPC,
                f"no room left in {data_dir} while preparing {what}: free about twice "
                "the size of the photos there, or choose another data_dir; nothing "
                "half-written remains",
            ) from error
        if not isinstance(error, (ValueError, FileNotFoundError)):
            _check_writable(data_dir)
        raise


def is_complete(builder: tfds.core.DatasetBuilder) -> bool:
    """Return whether the prepared records are there; they appear when complete only.

    As `builder.is_prepared()`, which logs a warning each time they are not.
    """
    return (builder.data_path / "dataset_info.json").exists()


def prepare_quietly(builder: tfds.core.DatasetBuilder, what: str) -> None:
    """Prepare data that is already here, without TFDS's talk of a download.

    Args:
        builder: one that downloads nothing; nothing happens when it is complete.
        what: what is prepared, for the line that says why the reader waits.
    """
    if is_complete(builder):
        return
    print(f"preparing {what}, once", flush=True)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except Exception:
        if not is_complete(builder):  # else another process was faster
            raise


def prepared(
    folder: str | os.PathLike,
    *,
    data_dir: str | os.PathLike,
    on_error: str = "stop",
    split: str | None = None,
) -> Builder:
    """Check and prepare a folder for fast reading, once for each state of the folder.

    The prepared copy carries the lists and the names, sizes and dates of all photos
    and masks in its name: a changed folder is prepared anew and never served from an
    old copy. It appears only when complete.

    Args:
        folder: the official layout, or the two official archives.
        data_dir: where prepared copies go (and the archives' content).
        on_error: `"stop"` raises at the first bad photo; `"skip"` leaves bad photos
            out and logs a warning that counts and names them, at every call.
        split: `"train"` or `"test"` when the folder must list it; else one is enough.

    Returns:
        The builder, ready for `as_dataset`; `info.metadata["left_out"]` lists what was
        left out and why.

    Raises:
        FileNotFoundError: the layout, a listed photo or a mask is missing.
        ValueError: a bad line, photo, mask or archive, or a split without photos.
        OSError: the disk is full, or cannot be written.
    """
    folder, data_dir = pathlib.Path(folder).expanduser(), pathlib.Path(data_dir)
    _remove_abandoned(data_dir)
    with room_in(data_dir, folder):
        if not (folder / "annotations").is_dir() and any(
            (folder / name).is_file() for name in archives.ARCHIVES
        ):
            folder = archives.unpacked(folder, data_dir)
        _check_layout(folder)
        _check_listed(folder, split or next(iter(_listed(folder)), "train"))
        copy = data_dir / f"folder-{_digest(folder)}-{on_error}"
        make = functools.partial(
            Builder, folder=folder, on_error=on_error, data_dir=os.fspath(copy)
        )
        prepare_quietly(make(), f"{folder} as it is now")
        builder = make()  # a new one has read what the first has written
    left_out = builder.info.metadata["left_out"]
    if left_out:
        _log.warning(
            "left out %d of %d photos of %s:\n  %s",
            len(left_out),
            builder.info.metadata["listed"],
            folder,
            "\n  ".join(left_out),
        )
    return builder
