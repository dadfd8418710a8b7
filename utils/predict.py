"""From a trained network to the mask of any photo."""

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from utils import training


@keras.saving.register_keras_serializable(package="learn_fcn")
class TrainedOn(layers.Layer):
    """Hands logits on unchanged, and keeps what the network was trained on.

    A layer, because a layer's configuration stays with the network wherever it goes:
    through `.keras` files, copies and exports.

    Args:
        image_size: side of the square photos, in pixels.
        class_names: name of each class id.
        kwargs: as for `keras.layers.Layer`.

    Introduced in notebook 08.
    """

    def __init__(self, image_size: int, class_names: Sequence[str], **kwargs):
        super().__init__(**{"dtype": "float32", "name": "trained_on", **kwargs})
        self.image_size, self.class_names = image_size, tuple(class_names)

    def call(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """Return what comes in, (B, H, W, C)."""
        return logits

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {
            "image_size": self.image_size,
            "class_names": self.class_names,
        }


def remember(
    model: keras.Model, image_size: int, class_names: Sequence[str]
) -> keras.Model:
    """Return a network that knows what it was trained on; it shares all layers.

    Args:
        model: of `fcn.build`, with one output.
        image_size: side of the square photos it was trained on, in pixels.
        class_names: name of each class id.

    Raises:
        ValueError: when model and names do not fit.

    Introduced in notebook 08.
    """
    if isinstance(model.output, dict):
        raise ValueError(
            f"This network has {len(model.output)} outputs; build one with a single "
            'output, "8s" for example.'
        )
    if model.output.shape[-1] != len(class_names):
        raise ValueError(
            f"The network tells {model.output.shape[-1]} classes apart, but "
            f"{len(class_names)} names were given; give one a class."
        )
    output = TrainedOn(image_size, class_names)(model.output)
    return keras.Model(model.input, output, name=model.name)


def trained_on(model: keras.Model) -> TrainedOn | None:
    """Return the layer that keeps what a network was trained on, if it has one.

    Introduced in notebook 08.
    """
    found = [layer for layer in model.layers if isinstance(layer, TrainedOn)]
    return found[-1] if found else None


def load(path: str | os.PathLike) -> keras.Model:
    """Read a network from a `.keras` file, in safe mode: no code is taken from it.

    Args:
        path: a file that `training.save` or `keras.Model.save` wrote.

    Raises:
        ValueError: when there is no such file, or it is not a network for
            segmentation that can be read safely.

    Introduced in notebook 08.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"{path} is not a .keras file; name one that a training left.")
    try:
        model = training.load(path)
    except Exception as error:  # whatever a damaged archive makes of Keras
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be read as a Keras network, in safe mode "
            f"({reason[0][:200]}); take an undamaged file without code in it."
        ) from error
    inputs, outputs = model.inputs, model.outputs
    if (
        [len(one.shape) for one in (*inputs, *outputs)] != [4, 4]
        or inputs[0].shape[-1] != 3
        or None not in inputs[0].shape[1:3]
    ):
        raise ValueError(
            f"{path} does not turn photos (B, H, W, 3) into logits (B, H, W, C); take "
            "one of the networks of utils.fcn."
        )
    return model


def predict(
    model: keras.Model, image: np.ndarray, image_size: int | None = None
) -> np.ndarray:
    """Compute the logits of a photo of any size, for each of its own pixels.

    The photo is brought to the square the network was trained on, as `pets.load` does
    it, and the logits back to the photo. Logits, not class ids: between two ids lies
    the id of something else.

    Args:
        model: a network of `fcn.build`.
        image: (H, W, 3), RGB 0..255.
        image_size: side of the square in pixels; what the model remembers, unless
            given.

    Returns:
        Float32 (H, W, C).

    Raises:
        ValueError: for another shape, or when no size is known.

    Introduced in notebook 07.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"The photo has shape {image.shape}; give (H, W, 3).")
    known = trained_on(model)
    if image_size is None:
        if known is None:
            raise ValueError(
                "This network does not know the size it was trained at; give "
                "image_size, or keep it with predict.remember before saving."
            )
        image_size = known.image_size
    size = (image_size, image_size)
    small = tf.image.resize(image, size, "bilinear", antialias=True)  # (S, S, 3)
    small = tf.clip_by_value(tf.round(small), 0, 255)
    logits = model(small[None], training=False)  # (1, S, S, C)
    return tf.image.resize(logits[0], image.shape[:2]).numpy()  # (H, W, C)
