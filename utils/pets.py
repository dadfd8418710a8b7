"""Photographs and masks of pets, ready for a network: three sources, one pipeline.

    train = pets.load("synthetic_pets", "train", image_size=160, augment=True)

The source is `"oxford_iiit_pet"` (downloaded by TFDS), `"synthetic_pets"` (drawn on
the spot) or a folder of your own in the official layout.
"""

import numbers
import os
from collections.abc import Iterator

import numpy as np
import skimage
import tensorflow as tf

from data.oxford_pets_folder.breeds import BREEDS
from utils import batching
from utils import pet_records as records
from utils.environment import ROOT

VOID = batching.VOID
CLASS_NAMES = {
    "trimap": ("pet", "background", "border"),
    "species": ("background", "cat", "dog"),
    "foreground": ("background", "pet"),
}
LABEL_NAMES = {"species": ("cat", "dog"), "breed": BREEDS}


def chelsea() -> tuple[np.ndarray, np.ndarray]:
    """Return a photograph that all machines have, and a trimap drawn for it by hand.

    The cat of scikit-image (300, 451, 3) uint8, RGB, in the public domain, and the
    trimap (300, 451) uint8: 1 pet, 2 background, 3 border.
    """
    trimap = skimage.io.imread(ROOT / "data" / "chelsea_trimap.png")
    return skimage.data.chelsea(), trimap


def class_table(task: str) -> np.ndarray:
    """Return which class each value of a trimap becomes, for cats and for dogs.

    Takes a key of `CLASS_NAMES`. Returns (2, 256) int32: row 0 for cats, 1 for dogs;
    column by the file's value, 1 pet, 2 background, 3 border; all others are `VOID`.
    """
    known = {  # pet, background and border, of cats and of dogs
        "trimap": [(0, 1, 2), (0, 1, 2)],
        "species": [(1, 0, VOID), (2, 0, VOID)],
        "foreground": [(1, 0, VOID), (1, 0, VOID)],
    }
    if task not in known:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(known)}.")
    table = np.full((2, 256), VOID, np.int32)
    table[:, 1:4] = known[task]
    return table


def to_classes(trimaps: tf.Tensor, species: tf.Tensor, table: np.ndarray) -> tf.Tensor:
    """Look up the class of every pixel.

    Takes trimaps (B, H, W) uint8 as in the files, species (B,) int32 (0 cat, 1 dog) and
    a table of `class_table`; returns class ids (B, H, W) int32.
    """
    rows = 256 * species[:, None, None]
    return tf.gather(table.reshape(-1), rows + tf.cast(trimaps, tf.int32))


def _check(split: str, on_error: str, **least: tuple[int, int]) -> None:
    """Raise a sentence for what no source can serve; numbers come with their least."""
    if split not in records.SPLITS:
        known = ", ".join(records.SPLITS)
        raise ValueError(f"unknown split {split!r}: choose one of {known}.")
    if on_error not in ("stop", "skip"):
        raise ValueError(f'unknown on_error {on_error!r}: write "stop" or "skip".')
    for name, (value, lowest) in least.items():
        if not isinstance(value, numbers.Integral) or value < lowest:
            raise ValueError(
                f"{name} is {value!r}: give a whole number from {lowest} up."
            )


def load(
    dataset: str | os.PathLike,
    split: str,
    *,
    task: str = "trimap",
    image_size: int = 224,
    batch_size: int = 16,
    augment: bool = False,
    shuffle: bool = False,
    seed: int = 0,
    on_error: str = "stop",
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Load photos and masks in batches.

    Photos are decoded and resized once and stay in memory (224 px: 0.2 MB each; a split
    over 2 GB stays encoded and is decoded at every pass). The same arguments give the
    same batches, bit for bit, on any number of cores; every pass has its own order and
    augmentation, drawn from (seed, epoch): `batching.plan_of` tells them.

    Args:
        dataset: `"oxford_iiit_pet"`, `"synthetic_pets"` or the path of a folder in the
            official layout.
        split: `"train"` and `"validation"` (nine and one in ten of the official
            trainval list), `"trainval"` (both) or `"test"` (the official test list).
        task: what the ids in the mask mean, see `CLASS_NAMES`; border is `VOID` in
            `"species"` and `"foreground"`.
        image_size: side of the square photos, in pixels.
        batch_size: photos in a batch; the last batch holds the rest.
        augment: change each photo at random, and its mask with it (`utils.batching`);
            what lies outside the photo is `VOID`.
        shuffle: another order in each pass.
        seed: a whole number from 0 up.
        on_error: what a bad photo of a folder does: `"stop"`, or `"skip"` it, counted
            and named in a warning.
        data_dir: where prepared data is kept, `data/cache/tfds` unless given.

    Returns:
        Batches of images (B, image_size, image_size, 3) float32 RGB 0..255 and masks
        (B, image_size, image_size) int32.

    Raises:
        ValueError: an unknown name, or a bad file in a folder.
        FileNotFoundError: a folder lacks a file it should have.
        ConnectionError: the download cannot be reached.
        OSError: the disk is full, or cannot be written.
    """
    table = class_table(task)
    least = {"image_size": (image_size, 1), "batch_size": (batch_size, 1)}
    _check(split, on_error, seed=(seed, 0), **least)
    path = records.prepared_path(dataset, data_dir, on_error, split)
    known = records.split_of(path, split)
    resized = records.fits(known.count, image_size)
    plan = batching.Plan(known.file_names, batch_size, shuffle, augment, seed)

    def numbers() -> Iterator[tuple[int, np.ndarray]]:
        """Yield (epoch, places (B,)) for one pass over the photos."""
        epoch, plan.epoch = plan.epoch, plan.epoch + 1
        for batch in range(len(plan)):
            yield epoch, plan.places(epoch, batch)

    with tf.device("CPU:0"):  # a GPU has better things to hold
        images, masks = records.stored(path, split, image_size)
        species = tf.constant(known.species)

        def read(epoch, places):
            image, mask = tf.gather(images, places), tf.gather(masks, places)
            if not resized:
                image, mask = tf.map_fn(
                    lambda pair: records.resize(*records.decode(*pair), image_size),
                    (image, mask),
                    fn_output_signature=(tf.uint8, tf.uint8),
                )
            image, mask = tf.numpy_function(
                plan.changed,
                (image, mask, epoch, places),
                (tf.float32, tf.uint8),
                stateful=False,  # else deterministic runs would do one batch at a time
            )
            image.set_shape((None, image_size, image_size, 3))
            mask.set_shape((None, image_size, image_size))
            return image, to_classes(mask, tf.gather(species, places), table)

        signature = tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64)
        photos = tf.data.Dataset.from_generator(numbers, output_signature=signature)
        photos = photos.map(read, num_parallel_calls=records.PARALLEL_CALLS)
        known_length = tf.data.experimental.assert_cardinality(len(plan))
        photos = records.untuned(photos.apply(known_length).prefetch(2))
    batching.PLANS[photos] = plan
    return photos


def load_examples(
    dataset: str | os.PathLike,
    split: str,
    *,
    task: str = "trimap",
    on_error: str = "stop",
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Load photos one by one at their own size, with all that is known of them.

    The order is that of `load` without shuffling. Arguments are those of `load`.

    Returns:
        Dictionaries of `image` (H, W, 3) uint8, `mask` (H, W) int32 by `task`,
        `trimap` (H, W) uint8 as in the file (1 pet, 2 background, 3 border),
        `file_name` string, `species` int32 (0 cat, 1 dog) and `label` int32 (breed).

    Raises:
        ValueError, FileNotFoundError, ConnectionError, OSError: as for `load`.
    """
    table = class_table(task)
    _check(split, on_error)
    path = records.prepared_path(dataset, data_dir, on_error, split)

    def complete(record):
        image, trimap = records.decode(record["image"], record["segmentation_mask"])
        species = tf.cast(record["species"], tf.int32)
        return {
            "image": image,
            "mask": to_classes(trimap[None], species[None], table)[0],
            "trimap": trimap,
            "file_name": record["file_name"],
            "species": species,
            "label": tf.cast(record["label"], tf.int32),
        }

    examples = records.split_of(path, split).examples()
    examples = examples.map(complete, num_parallel_calls=records.PARALLEL_CALLS)
    return records.untuned(examples)
