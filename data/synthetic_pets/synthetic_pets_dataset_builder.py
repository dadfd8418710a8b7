"""A TFDS builder that draws its pictures: 480 for training, 120 for the test.

builder = Builder(data_dir="data/cache/tfds")
builder.download_and_prepare()  # downloads nothing
"""

import io
import pathlib
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from data.synthetic_pets import drawing

SEED = 0
SPLITS = {"train": range(480), "test": range(480, 600)}


class Builder(tfds.core.GeneratorBasedBuilder):
    """Drawn cats and dogs as TFDS `oxford_iiit_pet` gives photos, no head boxes."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Cats and dogs drawn by code, with trimaps: a stand-in for "
                "Oxford-IIIT Pets where there is no network. No claim about "
                "photographs rests on it."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(names=list(drawing.BREEDS)),
                    "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
                    "file_name": tfds.features.Text(),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), use_colormap=True
                    ),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        """Prepare, then write each record with its features in order.

        Protocol buffers keep the features of a record in no order, so that the same
        pictures would give other bytes in every process.
        """
        super()._download_and_prepare(dl_manager, download_config)
        for path in sorted(pathlib.Path(self.data_dir).glob("*.tfrecord-*")):
            records = [bytes(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
            with tf.io.TFRecordWriter(str(path)) as writer:
                for record in records:
                    example = tf.train.Example.FromString(record)
                    writer.write(example.SerializeToString(deterministic=True))

    def _split_generators(self, dl_manager) -> dict:
        return {split: self._generate_examples(at) for split, at in SPLITS.items()}

    def _generate_examples(self, indices: range) -> Iterator[tuple[str, dict]]:
        for index in indices:
            example = draw_example(index)
            yield example["file_name"], example


def draw_example(index: int) -> dict:
    """Draw one picture of the set, encoded as TFDS stores it.

    Args:
        index: 0 to 599; the breeds take turns.

    Returns:
        The features, image (JPEG) and mask (PNG) as files in memory.

    Introduced in notebook 00.
    """
    breed = drawing.BREEDS[index % len(drawing.BREEDS)]
    image, trimap = drawing.draw(breed, seed=SEED, index=index)
    return {
        "image": _encoded(image, "JPEG", quality=92, subsampling=0),
        "label": breed,
        "species": breed.split("_")[1].capitalize(),
        "file_name": f"{breed}_{index}.jpg",
        "segmentation_mask": _encoded(trimap, "PNG"),
    }


def _encoded(pixels: np.ndarray, file_format: str, **how) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **how)
    file.seek(0)
    return file
