"""Networks as files, their heads alone, trained ones from the cache."""

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers

from utils import environment, fcn, training
from utils.batching import VOID

PRETRAINED = environment.ROOT / "data" / "networks" / "fcn_at_once_int8.npz"


def save_model(model: keras.Model, path: str | os.PathLike) -> None:
    """Write a model as `.keras`, without its optimiser; OSError where that fails."""
    with environment.replacing(pathlib.Path(path)) as partial:
        # A new model of the same layers leaves the optimiser out: twice its own size.
        keras.Model(model.input, model.output, name=model.name).save(partial)


def load_model(path: str | os.PathLike) -> keras.Model:
    """Read a network from a `.keras` file in safe mode: no code is taken from it.

    Raises:
        ValueError: when there is no such file, or it cannot be read safely.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"{path} is not a .keras file; name one that a training left.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged archive makes of Keras
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be read as a Keras network, in safe mode "
            f"({reason[0][:200]}); take an undamaged file without code in it."
        ) from error


@keras.saving.register_keras_serializable(package="learn_fcn")
class TrainedOn(layers.Layer):
    """Hands logits on unchanged, and keeps what the network was trained on.

    A layer, because its configuration stays with the network in `.keras` files, copies
    and exports.

    Args:
        image_size: side of the square photos, in pixels.
        class_names: name of each class id.
        kwargs: as for `keras.layers.Layer`.
    """

    def __init__(self, image_size: int, class_names: Sequence[str], **kwargs):
        super().__init__(**{"dtype": "float32", "name": "trained_on", **kwargs})
        self.image_size, self.class_names = image_size, tuple(class_names)

    def build(self, shape: tuple) -> None:
        """Refuse logits (B, H, W, C) that do not fit the names."""
        if shape[-1] != len(self.class_names):
            raise ValueError(
                f"The network tells {shape[-1]} classes apart, but "
                f"{len(self.class_names)} names were given; give one a class."
            )

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

    Takes a model of `fcn.build` with one output, and what `TrainedOn` takes; raises a
    ValueError when they do not fit.
    """
    if isinstance(model.output, dict):
        raise ValueError(
            f"This network has {len(model.output)} outputs; build one with a single "
            'output, "8s" for example.'
        )
    output = TrainedOn(image_size, class_names)(model.output)
    return keras.Model(model.input, output, name=model.name)


def trained_on(model: keras.Model) -> TrainedOn | None:
    """Return the layer that keeps what a network was trained on, if it has one."""
    return next((x for x in model.layers[::-1] if isinstance(x, TrainedOn)), None)


def rescaling(model: keras.Model) -> list[layers.Rescaling]:
    """List the layers that divide features by their spread; a factor is no weight."""
    return [one for one in model.layers if isinstance(one, layers.Rescaling)]


def restore(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace weights and factors of a network of `fcn.build` by those of an int8 file.

    `arrays` holds each weight by its number in `model.get_weights()`; of int8 ones also
    `NUMBER scale`, for each output channel; factors by the layer's name.
    """
    count = len(model.get_weights())
    scales = [arrays.get(f"{n} scale", np.float32(1)) for n in range(count)]
    model.set_weights([np.float32(arrays[f"{n}"]) * scales[n] for n in range(count)])
    for layer in rescaling(model):
        layer.scale = float(arrays[layer.name])


def pretrained(variant: str = "8s") -> keras.Model:
    """Return the network that comes with the series, trained on photographs of pets.

    What it learned from, scores and limits: `data/networks/README.md`.

    Args:
        variant: which of its three outputs, "32s", "16s" or "8s".

    Returns:
        Photos (B, H, W, 3), RGB 0..255, to logits (B, H, W, 3) of pet, background and
        border. `predict.predict` brings a photo to the 320 px it was trained at.

    Raises:
        ValueError: for another variant; when the file is missing or damaged.
    """
    if variant not in ("32s", "16s", "8s"):
        raise ValueError(f"Variant {variant!r} is unknown; take 32s, 16s or 8s.")
    model = fcn.build("at_once", 3, fc_units=512, fc_kernel=1, weights=None)
    try:
        with np.load(PRETRAINED) as stored:
            restore(model, stored)
            about = int(stored["image_size"]), stored["class_names"].tolist()
    except Exception as error:  # there are many ways to be damaged, and one cure
        raise ValueError(
            f"{PRETRAINED} is missing or damaged; take it from the repository again."
        ) from error
    chosen = keras.Model(model.input, model.output[f"s{variant[:-1]}"])
    return remember(chosen, *about)


def heads(model: keras.Model) -> keras.Model:
    """Return the part of a network of `fcn.build` behind the backbone, layers shared.

    It goes from the list of pool3, pool4 and pool5 to the same logits, but for the
    whole padded image. Training it trains the network.
    """
    names = [f"s{s}" for s in (32, 16, 8) if f"s{s}" in {x.name for x in model.layers}]
    logits = {n: model.get_layer(f"up{n[1:]}_crop").output for n in names}
    pools = _pools(model)
    if isinstance(model.output, dict):
        return keras.Model(pools, logits)
    # Keras 3.13 refuses inputs that lead nowhere, as pool3 and pool4 in a 32s.
    output, *_ = layers.Identity(autocast=False)([logits[names[0]], *pools])
    return keras.Model(pools, output)


def backbone_features(model: keras.Model, dataset):
    """Compute what a frozen backbone says about every photo, once.

    Args:
        model: of `fcn.build`.
        dataset: a `tf.data` data set of batches (images, masks), images of one size;
            what is made of them is kept in memory, 0.3 MB for a photo of 160 px.

    Returns:
        A `tf.data` data set of examples, unbatched and in order: the inputs of `heads`,
        and the mask, void where the padded image reaches beyond it.
    """
    import tensorflow as tf

    from utils import pet_records

    call = training.forward(keras.Model(model.input, _pools(model)))
    parts = []
    for images, masks in dataset:
        # float16 keeps 3 digits, and halves the memory.
        features = [np.float16(pool) for pool in call(images)]
        height, width = (32 * side for side in features[-1].shape[1:3])
        beyond = [(0, 0), (0, height - masks.shape[1]), (0, width - masks.shape[2])]
        parts.append([*features, np.pad(masks, beyond, constant_values=VOID)])
    *features, masks = map(np.concatenate, zip(*parts, strict=True))
    examples = tf.data.Dataset.from_tensor_slices((tuple(features), masks))
    return pet_records.untuned(examples)


def _pools(model: keras.Model) -> list[keras.KerasTensor]:
    return [model.get_layer(f"block{block}_pool").output for block in (3, 4, 5)]


def trained_fcn(
    variant: str,
    dataset: str | os.PathLike,
    *,
    task: str = "trimap",
    image_size: int | None = None,
    epochs: int = 12,
    seed: int = 0,
) -> keras.Model:
    """Return a trained network, from the cache or trained on the spot.

    Without a GPU the heads alone are trained, on the features of a frozen backbone;
    with one, everything. The staged variants grow out of each other, and each stage is
    cached: asking for the 8s first trains, and keeps, the 32s and the 16s. A cached
    network is found again by these arguments, the photos' content and Keras's version;
    remove `data/cache/models` after changing the code of training.

    Args:
        variant: as for `fcn.build`.
        dataset: as for `pets.load`; its trainval split is used.
        task: as for `pets.load`.
        image_size: side in pixels; 96 without a GPU and 224 with one, unless given.
        epochs: of each stage.
        seed: of weights, order and augmentation.

    Returns:
        The network, with a slim fc6 and fc7 (512 units, 1x1); 55 MB on disk.

    Raises:
        ValueError, OSError: as `fcn.build` and `pets.load` do.
    """
    from utils import pet_records, pets

    if variant not in fcn.VARIANTS:  # before a download
        raise ValueError(f"Variant {variant!r} is unknown; take one of {fcn.VARIANTS}.")
    on_gpu = environment.on_gpu()
    image_size = image_size or (224 if on_gpu else 96)
    stages = ["32s", "16s", "8s"]
    stages = stages[: stages.index(variant) + 1] if variant in stages else [variant]
    slim = {"fc_units": 512, "fc_kernel": 1, "weights": "imagenet_convolutions"}
    state = pet_records.state(dataset)
    settings = (state, task, image_size, epochs, seed, on_gpu, slim)
    kept = [environment.cached_network(f"{s}-{task}", *settings) for s in stages]
    paths = [path.with_suffix(".keras") for path in kept]
    done = [stage for stage, path in enumerate(paths) if path.is_file()]
    model = load_model(paths[done[-1]]) if done else None
    todo = range(done[-1] + 1 if done else 0, len(stages))
    if not todo:
        return model
    keras.utils.set_random_seed(seed)
    model = model or fcn.build(stages[0], len(pets.CLASS_NAMES[task]), **slim)
    options = {"task": task, "image_size": image_size, "seed": seed}
    train = pets.load(dataset, "trainval", augment=on_gpu, shuffle=on_gpu, **options)
    if not on_gpu:
        training.freeze(model, (1, 2, 3, 4, 5))
        features = backbone_features(model, train)
        train = features.shuffle(len(features), seed=seed).batch(16).prefetch(1)
    for stage in todo:
        if stage > 0:
            model = fcn.grow(model)
        training.fit(model if on_gpu else heads(model), train, epochs=epochs, verbose=0)
        try:
            save_model(model, paths[stage])
        except OSError as error:  # what was trained is not lost
            warnings.warn(f"Not kept for the next time: {error}", stacklevel=2)
    return model
