"""Where the photographs come from: three sources, four splits, one order.

Everything here works on whole splits; `utils.pets` makes batches of them.
"""

import functools
import hashlib
import os
import pathlib
import urllib.request

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from data.oxford_pets_folder import oxford_pets_folder_dataset_builder as folder_builder
from data.synthetic_pets import synthetic_pets_dataset_builder
from utils.environment import CACHE

# Our splits, and the official list each is taken from.
SPLITS = {"train": "train", "validation": "train", "trainval": "train", "test": "test"}
DOWNLOAD = "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz"
MEMORY = 2 * 2**30  # bytes of resized photos and masks kept; more is decoded each pass
PARALLEL_CALLS = os.cpu_count() or 1


def in_validation(file_name: str) -> bool:
    """Return whether a photo of the official trainval list belongs to validation.

    One in ten, by a hash of the file name: the same on every machine, and a photo
    added later moves no other.
    """
    return int(hashlib.sha256(file_name.encode()).hexdigest(), 16) % 10 == 0


def resize(
    image: tf.Tensor, mask: tf.Tensor, image_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Bring a photo (H, W, 3) and its mask (H, W), both uint8, to squares (S, S).

    The photo bilinearly, averaging where it shrinks; the mask by nearest neighbour,
    because the mean of two ids is the id of something else.
    """
    size = (image_size, image_size)
    image = tf.image.resize(image, size, "bilinear", antialias=True)
    mask = tf.image.resize(mask[..., None], size, "nearest")[..., 0]
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8), mask


def _downloaded(data_dir: pathlib.Path) -> tfds.core.DatasetBuilder:
    """Return TFDS's own builder, after the download where that is still to do."""
    builder = tfds.builder("oxford_iiit_pet", data_dir=data_dir)
    if folder_builder.is_complete(builder):
        return builder
    print("oxford_iiit_pet: 811 MB to download, once, into", data_dir, flush=True)
    with folder_builder.room_in(data_dir, "oxford_iiit_pet"):
        try:  # TFDS itself would retry for minutes before it says anything
            request = urllib.request.Request(DOWNLOAD, method="HEAD")
            urllib.request.urlopen(request, timeout=3).close()
            builder.download_and_prepare()
        except Exception as error:  # each library between here and there has its own
            reason = str(error).partition("\n")[0]
            raise ConnectionError(
                f"{DOWNLOAD} cannot be had ({reason}): give the path of a folder with "
                'the official files, or "synthetic_pets", which needs no network.'
            ) from error
    return builder


def _drawing_hash() -> str:
    """Name the code that draws, so that pictures of older code are never served."""
    folder = pathlib.Path(synthetic_pets_dataset_builder.__file__).parent
    code = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:16]


def prepared_path(dataset, data_dir, on_error: str, split: str | None = None) -> str:
    """Prepare any of the three sources where that is still to do.

    Arguments and errors are those of `pets.load`; without a split any that a folder has
    will do. Returns the folder with the prepared records.
    """
    data_dir = pathlib.Path(CACHE / "tfds" if data_dir is None else data_dir)
    if dataset == "oxford_iiit_pet":
        builder = _downloaded(data_dir)
    elif dataset == "synthetic_pets":
        drawn = data_dir / f"drawn-{_drawing_hash()}"
        builder = synthetic_pets_dataset_builder.Builder(data_dir=os.fspath(drawn))
        with folder_builder.room_in(data_dir, dataset):
            folder_builder.prepare_quietly(builder, dataset)
    elif os.path.isdir(os.path.expanduser(dataset)):
        options = {"data_dir": data_dir, "on_error": on_error}
        builder = folder_builder.prepared(dataset, **options, split=SPLITS.get(split))
    else:
        raise ValueError(
            f'unknown data set {os.fspath(dataset)!r}: write "oxford_iiit_pet", '
            '"synthetic_pets" or the path of a folder in the official layout.'
        )
    return os.fspath(builder.data_dir)


def state(dataset: str | os.PathLike) -> str:
    """Name the content of a data set, photos and masks, by 16 hexadecimal digits.

    `prepared_path` prepares it where that is still to do, and says what it raises.
    """
    return _content(prepared_path(dataset, None, "stop"))


@functools.lru_cache
def _content(path: str) -> str:
    """Hash all records below a path, which names one prepared state."""
    digest = hashlib.sha256()
    for file in sorted(pathlib.Path(path).glob("*.tfrecord*")):
        with file.open("rb") as records:
            digest.update(hashlib.file_digest(records, "sha256").digest())
    return digest.hexdigest()[:16]


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Switch off tf.data's tuner, whose thread holds up the end of every pass.

    It sleeps for 10 ms, then 20, 40 and so on up to a minute, and is not always woken
    when a pass is over: an epoch of 33 s ends after 41 (seen with TensorFlow 2.21).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class Split:
    """The records of one split, in the order TFDS fixed when it wrote them.

    Attributes:
        count: number of photos.
        file_names: of the photos (N,).
        species: 0 cat, 1 dog (N,) int32.
    """

    def __init__(self, path: str, split: str):
        self._builder = tfds.builder_from_directory(path)
        self._official = SPLITS[split]
        rows = self._records().map(lambda row: (row["file_name"], row["species"]))
        known = [(name.decode(), animal) for name, animal in rows.as_numpy_iterator()]
        wanted = {"train": (False,), "validation": (True,)}.get(split, (False, True))
        self._keep = np.array([in_validation(n) in wanted for n, _ in known], bool)
        if not self._keep.any():
            raise ValueError(
                f"the split {split!r} has no photos: by the hashes of their names none "
                f"of the {len(known)} in trainval.txt falls into it; add some."
            )
        names, species = zip(*known, strict=True)
        self.file_names = np.array(names)[self._keep]
        self.species = np.int32(species)[self._keep]
        self.count = len(self.file_names)

    def _records(self) -> tf.data.Dataset:
        skip = tfds.decode.SkipDecoding()
        return self._builder.as_dataset(
            split=self._official,
            decoders={"image": skip, "segmentation_mask": skip},
            # One file after another: with several at once the order would depend on
            # how many files TFDS wrote.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )

    def examples(self) -> tf.data.Dataset:
        """Return the records as TFDS gives them, photo and mask still encoded."""
        keep = tf.constant(self._keep)
        numbered = self._records().enumerate().filter(lambda i, _: keep[i])
        return numbered.map(lambda _, record: record)


def decode(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode one photo and its mask.

    Takes two scalar strings; returns (H, W, 3) and (H, W), both uint8.
    """
    image = tf.io.decode_image(image, channels=3, expand_animations=False)
    mask = tf.io.decode_image(mask, channels=1, expand_animations=False)
    image.set_shape((None, None, 3))
    mask.set_shape((None, None, 1))
    return image, mask[..., 0]


@functools.lru_cache(maxsize=4)
def split_of(path: str, split: str) -> Split:
    """Return a split's records; a path names one prepared state, so it is kept."""
    return Split(path, split)


def fits(count: int, image_size: int) -> bool:
    """Return whether a resized split stays in memory."""
    return 4 * count * image_size**2 <= MEMORY


@functools.lru_cache(maxsize=3)
def stored(path: str, split: str, image_size: int) -> tuple[tf.Tensor, ...]:
    """Hold a split in memory, resized or, where that takes too much, still encoded.

    Returns photos (N, S, S, 3) and masks (N, S, S) uint8 when `fits`, for squares of
    `image_size` pixels a side, else (N,) strings.
    """
    records = split_of(path, split)
    pairs = records.examples().map(lambda e: (e["image"], e["segmentation_mask"]))
    if fits(records.count, image_size):
        pairs = pairs.map(
            lambda image, mask: resize(*decode(image, mask), image_size),
            num_parallel_calls=PARALLEL_CALLS,
        )
    return pairs.batch(records.count).get_single_element()
