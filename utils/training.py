"""Training a segmentation network: loss, optimiser, freezing, heads alone, cache.

On Keras alone, so on TensorFlow, JAX and PyTorch; checkpoints, stored features and the
cache of networks need TensorFlow, and `dice` does not run on PyTorch yet.
"""

import contextlib
import functools
import math
import os
import pathlib
import re
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from utils import callbacks as watching
from utils import environment, fcn
from utils.metrics import SegmentationMetrics


def cross_entropy(
    mask: keras.KerasTensor, logits: keras.KerasTensor, ignore_class: int = 255
) -> keras.KerasTensor:
    """Average the cross-entropy over the pixels that are not void.

    Args:
        mask: class ids (B, H, W), below C or ignore_class.
        logits: (B, H, W, C), float32.
        ignore_class: id of pixels that do not count.

    Returns:
        A scalar; 0 when every pixel is void.
    """
    mask = ops.cast(mask, "int32")
    valid = mask != ignore_class
    # Void becomes class 0 only so that there is something to look up.
    ids = ops.where(valid, mask, 0)
    per_pixel = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
    count = ops.sum(ops.cast(valid, per_pixel.dtype))
    return ops.sum(ops.where(valid, per_pixel, 0.0)) / ops.maximum(count, 1.0)


def dice(
    mask: keras.KerasTensor, logits: keras.KerasTensor, ignore_class: int = 255
) -> keras.KerasTensor:
    """Measure how little predicted probabilities and truth overlap, class by class.

    Cross-entropy counts pixels, so a thin class hardly matters to it; this counts
    classes, as mean IoU does.

    Args:
        mask: class ids (B, H, W), below C or ignore_class.
        logits: (B, H, W, C), float32.
        ignore_class: id of pixels that do not count.

    Returns:
        A scalar: 1 - 2 |truth and prediction| / (|truth| + |prediction|), averaged over
        the classes, each summed over the batch.

    Source: Milletari, Navab, Ahmadi: V-Net, 3DV 2016, section 3, for several classes.
    """
    mask = ops.cast(mask, "int32")
    valid = ops.cast(mask != ignore_class, logits.dtype)[..., None]  # (B, H, W, 1)
    # An id out of range has an all-zero row here, so void does too.
    truth = ops.one_hot(mask, logits.shape[-1], dtype=logits.dtype) * valid
    predicted = ops.softmax(logits) * valid  # (B, H, W, C)
    both = ops.sum(truth * predicted, axis=(0, 1, 2))  # (C,)
    either = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(predicted, axis=(0, 1, 2))
    # One pixel more on both sides: a class that is nowhere counts as met.
    return ops.mean(1 - (2 * both + 1) / (either + 1))


@keras.saving.register_keras_serializable(package="learn_fcn")
class SegmentationLoss(keras.losses.Loss):
    """Cross-entropy over the pixels that are not void, plus the Dice loss if wanted.

    Args:
        dice_weight: what the Dice loss is multiplied with; 0 for none.
        kwargs: as for `keras.losses.Loss`.
    """

    def __init__(self, dice_weight: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.dice_weight = dice_weight

    def call(
        self, y_true: keras.KerasTensor, y_pred: keras.KerasTensor
    ) -> keras.KerasTensor:
        """Return shape (1,) for masks (B, H, W) and logits (B, H, W, C)."""
        loss = cross_entropy(y_true, y_pred)
        if self.dice_weight:
            loss += self.dice_weight * dice(y_true, y_pred)
        # Of a scalar, Keras adds up what several devices find in place of averaging it.
        return loss[None]

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"dice_weight": self.dice_weight}


def check_mask(
    mask: np.ndarray, num_classes: int, ignore_class: int = 255
) -> np.ndarray:
    """Return the mask when it holds nothing but class ids and void.

    Raises:
        ValueError: for any other id; a GPU would train on it without a word.
    """
    found = np.unique(mask)
    unknown = found[((found < 0) | (found >= num_classes)) & (found != ignore_class)]
    if unknown.size:
        raise ValueError(
            f"The mask holds the id {unknown[0]}, but the loss knows 0 to "
            f"{num_classes - 1} and {ignore_class} for void; map it to one of them."
        )
    return mask


@keras.saving.register_keras_serializable(package="learn_fcn")
class AdamW(keras.optimizers.AdamW):
    """AdamW with a lower learning rate for the pretrained backbone than for the heads.

    Args:
        learning_rate: of the heads, or a schedule for it.
        backbone_factor: what the backbone's rate is of it.
        kwargs: as for `keras.optimizers.AdamW`.
    """

    def __init__(self, learning_rate=1e-3, backbone_factor: float = 0.1, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.backbone_factor = backbone_factor

    def build(self, variables: list) -> None:
        """Find out which weights are the backbone's, by the layers in their paths.

        Later TensorFlow hands over a variable without a path, and the name alone is
        `kernel` under JAX and PyTorch.
        """
        super().build(variables)
        self._factors = [
            self.backbone_factor if re.search(r"(^|/)block\d_", v.path) else 1.0
            for v in variables
        ]

    def update_step(self, gradient, variable, learning_rate) -> None:
        """Update one weight."""
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"backbone_factor": self.backbone_factor}


def freeze(model: keras.Model, blocks: Sequence[int]) -> None:
    """Freeze these blocks of the backbone, and thaw the others."""
    for layer in model.layers:
        found = re.match(r"block(\d)_", layer.name)
        if found:
            layer.trainable = int(found[1]) not in blocks


def cosine_schedule(
    learning_rate: float, steps: int
) -> keras.optimizers.schedules.CosineDecay:
    """Let the rate rise over the first twentieth of the steps, then fall to 2 %.

    Args:
        learning_rate: the highest.
        steps: of the whole training; the first one already moves the weights.

    Source: Loshchilov, Hutter: SGDR, ICLR 2017, equation 5, without restarts.
    """
    warmup = math.ceil(steps / 20)
    return keras.optimizers.schedules.CosineDecay(
        learning_rate / (warmup + 1),
        max(1, steps - warmup),
        alpha=0.02,
        warmup_target=learning_rate,
        warmup_steps=warmup,
    )


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in an order that follows from (seed, epoch).

    Args:
        inputs: images (N, H, W, 3), RGB 0..255.
        masks: class ids (N, H, W).
        batch_size: photos in a batch; the last batch holds the rest.
        seed: of the order; None keeps the arrays' own.

    Raises:
        ValueError: arrays of other shapes, or of different length.
    """

    def __init__(self, inputs, masks, batch_size: int = 16, seed: int | None = None):
        super().__init__()
        self.inputs, self.masks = np.asarray(inputs), np.asarray(masks)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.passes = self  # asked by `callbacks.RepeatableEpochs` and `StopAtNaN`
        shapes = self.inputs.shape, self.masks.shape
        if len(shapes[0]) != 4 or shapes[0][3] != 3 or shapes[0][:3] != shapes[1]:
            raise ValueError(
                f"Images of shape {shapes[0]} and masks of shape {shapes[1]} do not "
                "fit; give as many masks as images, (N, H, W, 3) and (N, H, W)."
            )
        if not np.issubdtype(self.masks.dtype, np.integer):
            raise ValueError(
                f"The masks are {self.masks.dtype}; give class ids as whole numbers."
            )
        if self.inputs.size and self.inputs.max() <= 1:
            raise ValueError(
                "The images lie within 0..1, but the networks here take 0..255; "
                "multiply them by 255."
            )

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.inputs) / self.batch_size)

    def rows(self, epoch: int, batch: int) -> np.ndarray:
        """Return which photos a batch holds."""
        order = np.arange(len(self.inputs))
        if self.seed is not None:
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(order)
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def names(self, epoch: int, batch: int) -> list[str]:
        """Name the photos of a batch by their number."""
        return [f"photo {row}" for row in self.rows(epoch, batch)]

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images (B, H, W, 3) float32 and masks (B, H, W) int32."""
        rows = self.rows(self.epoch, batch)
        return np.float32(self.inputs[rows]), np.int32(self.masks[rows])


def _as_batches(data, seed: int | None = None):
    """Return arrays (images, masks) as `Batches`, and anything else as it is."""
    return Batches(*data, seed=seed) if isinstance(data, tuple | list) else data


def _several_outputs(data, names: list[str]):
    """Give every output of `at_once` the same mask."""
    if isinstance(data, keras.utils.PyDataset):
        copy = _SeveralOutputs()
        copy.data, copy.names = data, names
        return copy
    return data.map(functools.partial(_for_all, names))


class _SeveralOutputs(keras.utils.PyDataset):
    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, batch: int) -> tuple:
        return _for_all(self.names, *self.data[batch])


def fit(
    model: keras.Model,
    train,
    *,
    epochs: int,
    learning_rate: float = 1e-3,
    backbone_factor: float = 0.1,
    weight_decay: float = 1e-4,
    dice_weight: float = 0.0,
    validation=None,
    checkpoints: str | os.PathLike | None = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 2,
) -> dict[str, list]:
    """Train with AdamW, the rate warming up and then falling along a cosine.

    Every epoch depends on (seed, epoch) alone, so that with `checkpoints` a run that
    was killed, started again with the same arguments, ends as if nothing had happened.

    Args:
        model: of `fcn.build`, or the `heads` of one.
        train: batches (images or features, masks), of known number: a `tf.data`
            data set, a `keras.utils.PyDataset`; or two arrays, see `Batches`, which are
            cut into batches of 16 in another order in every epoch.
        epochs: passes over them.
        learning_rate: of the heads at its highest.
        backbone_factor: what the backbone's rate is of it.
        weight_decay: per step, times the learning rate.
        dice_weight: of the Dice loss that is added to cross-entropy.
        validation: batches like train, scored after each epoch.
        checkpoints: a folder for this run; its state is kept there after each epoch,
            and taken up again.
        seed: of order, augmentation and dropout.
        callbacks: for `keras.Model.fit`.
        verbose: for `keras.Model.fit`.

    Returns:
        What was measured, a list with a value per epoch for each name; metrics are
        those of `SegmentationMetrics`, for `at_once` of its `s8`.

    Raises:
        ValueError: when the first batch holds an id that is no class, or `checkpoints`
            belongs to another network.
        FloatingPointError: when loss or weights are NaN; it names the batch's files.
        OSError: when a checkpoint cannot be written.
    """
    names = list(model.output) if isinstance(model.output, dict) else None
    num_classes = (model.output["s8"] if names else model.output).shape[-1]
    train = _as_batches(train, seed)
    validation = None if validation is None else _as_batches(validation)
    first = train[0] if hasattr(train, "__getitem__") else next(iter(train.take(1)))
    check_mask(ops.convert_to_numpy(first[1]), num_classes)

    loss = SegmentationLoss(dice_weight)
    schedule = cosine_schedule(learning_rate, epochs * len(train))
    strategy = getattr(model, "distribute_strategy", None)  # TensorFlow's alone
    with strategy.scope() if strategy else contextlib.nullcontext():
        metric = SegmentationMetrics(num_classes)
        model.compile(
            AdamW(schedule, backbone_factor, weight_decay=weight_decay),
            loss={name: loss for name in names} if names else loss,
            metrics={"s8": [metric]} if names else [metric],
            # On a CPU XLA is slower (benchmarks/train_step.py), but JAX has no other.
            jit_compile="auto"
            if environment.on_gpu() or keras.backend.backend() == "jax"
            else False,
        )
        model.optimizer.build(model.trainable_variables)
    watch = [
        watching.RepeatableEpochs(train, seed),
        watching.StopAtNaN(train),
        *callbacks,
    ]
    kept = watching.Checkpoints(checkpoints, model) if checkpoints else None
    if kept:
        watch.append(kept)
    if names:
        train = _several_outputs(train, names)
        validation = validation and _several_outputs(validation, names)
    history = model.fit(
        train,
        epochs=epochs,
        initial_epoch=kept.epoch if kept else 0,
        validation_data=validation,
        callbacks=watch,
        shuffle=False,  # the data set does that itself
        verbose=verbose,
    )
    return kept.history if kept else history.history


def _for_all(names, inputs, mask):
    """Give every output of `at_once` the same mask."""
    return inputs, {name: mask for name in names}


def forward(model: keras.Model):
    """Return a compiled function from images to what the model says when not training.

    As one graph: layer by layer, 16 bits round otherwise. XLA is left to `fit`.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        call = functools.partial(model, training=False)
        return tf.function(call, reduce_retracing=True)
    if backend == "jax":
        import jax

        call = jax.jit(functools.partial(model.stateless_call, training=False))
        parts = model.trainable_variables, model.non_trainable_variables

        def current(images):
            weights = [[variable.value for variable in part] for part in parts]
            return call(*weights, images)[0]

        return current
    import torch

    return torch.no_grad()(functools.partial(model, training=False))


def evaluate(model: keras.Model, dataset, ignore_class: int = 255) -> dict:
    """Score a model on a whole data set.

    Args:
        model: of `fcn.build`, or the `heads` of one.
        dataset: batches (images or features, masks), or two arrays, as for `fit`.
        ignore_class: id of pixels that do not count.

    Returns:
        `SegmentationMetrics`' result as floats and lists; for `at_once` a dict of
        three.
    """
    named = model.output if isinstance(model.output, dict) else {"only": model.output}
    metrics = {
        name: SegmentationMetrics(output.shape[-1], ignore_class)
        for name, output in named.items()
    }
    call, batches = forward(model), _as_batches(dataset)
    if isinstance(batches, keras.utils.PyDataset):
        batches = map(batches.__getitem__, range(len(batches)))
    for inputs, mask in batches:
        logits = call(inputs)
        for name, metric in metrics.items():
            metric.update_state(mask, logits[name] if named is model.output else logits)
    results = {
        name: {
            key: ops.convert_to_numpy(value).tolist()
            for key, value in m.result().items()
        }
        for name, m in metrics.items()
    }
    return results if named is model.output else results["only"]


def heads(model: keras.Model) -> keras.Model:
    """Return the part of a network behind the backbone; training it trains the network.

    Args:
        model: of `fcn.build`; the layers are shared, not copied.

    Returns:
        A model from the list of pool3, pool4 and pool5 to the same logits, but for the
        whole padded image.
    """
    names = [f"s{s}" for s in (32, 16, 8) if f"s{s}" in {x.name for x in model.layers}]
    logits = {n: model.get_layer(f"up{n[1:]}_crop").output for n in names}
    pools = _pools(model)
    if isinstance(model.output, dict):
        return keras.Model(pools, logits)
    # Keras 3.13 refuses inputs that lead nowhere, as pool3 and pool4 in a 32s.
    output, *_ = keras.layers.Identity(autocast=False)([logits[names[0]], *pools])
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

    from utils import pet_records, pets

    call = forward(keras.Model(model.input, _pools(model)))
    parts = []
    for images, masks in dataset:
        # float16 keeps 3 digits, and halves the memory.
        features = tuple(tf.cast(pool, tf.float16) for pool in call(images))
        height, width = 32 * features[-1].shape[1], 32 * features[-1].shape[2]
        beyond = [[0, 0], [0, height - masks.shape[1]], [0, width - masks.shape[2]]]
        parts.append((features, tf.pad(masks, beyond, constant_values=pets.VOID)))
    joined = tf.nest.map_structure(lambda *arrays: tf.concat(arrays, 0), *parts)
    return pet_records.untuned(tf.data.Dataset.from_tensor_slices(joined))


def _pools(model: keras.Model) -> list[keras.KerasTensor]:
    return [model.get_layer(f"block{block}_pool").output for block in (3, 4, 5)]


def trained(
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
        The network, with a slim fc6 and fc7 (512 units, 1x1); about 55 MB on disk, in
        `data/cache/models`.

    Raises:
        ValueError, OSError: as `fcn.build` and `pets.load` do.
    """
    from utils import pet_records, pets

    if variant not in fcn.VARIANTS:
        raise ValueError(f"Variant {variant!r} is unknown; take one of {fcn.VARIANTS}.")
    on_gpu = environment.on_gpu()
    image_size = image_size or (224 if on_gpu else 96)
    stages = ["at_once"] if variant == "at_once" else ["32s", "16s", "8s"]
    stages = stages[: stages.index(variant) + 1]
    slim = {"fc_units": 512, "fc_kernel": 1, "weights": "imagenet_convolutions"}
    settings = (
        pet_records.state(dataset),
        task,
        image_size,
        epochs,
        seed,
        on_gpu,
        slim,
    )
    kept = [environment.cached_network(f"{s}-{task}", *settings) for s in stages]
    paths = [path.with_suffix(".keras") for path in kept]
    done = [stage for stage, path in enumerate(paths) if path.is_file()]
    model = load(paths[done[-1]]) if done else None
    todo = range(done[-1] + 1 if done else 0, len(stages))
    if not todo:
        return model
    keras.utils.set_random_seed(seed)
    model = model or fcn.build(
        stages[0],
        len(pets.CLASS_NAMES[task]),
        **slim,
    )
    train = pets.load(
        dataset,
        "trainval",
        task=task,
        image_size=image_size,
        augment=on_gpu,
        shuffle=on_gpu,
        seed=seed,
    )
    if not on_gpu:
        freeze(model, (1, 2, 3, 4, 5))
        features = backbone_features(model, train)
        train = features.shuffle(len(features), seed=seed).batch(16).prefetch(1)
    for stage in todo:
        if stage > 0:
            model = fcn.grow(model)
        fit(model if on_gpu else heads(model), train, epochs=epochs, verbose=0)
        save(model, paths[stage])
    return model


def save(model: keras.Model, path: str | os.PathLike) -> None:
    """Write a model as `.keras`, without its optimiser, whole or not at all.

    Raises:
        OSError: when there is no room, or the folder cannot be written.
    """
    with environment.replacing(pathlib.Path(path)) as partial:
        # A new model of the same layers leaves the optimiser out: twice its own size.
        keras.Model(model.input, model.output, name=model.name).save(partial)


def load(path: str | os.PathLike) -> keras.Model:
    """Read a model that `save` wrote, in safe mode: no code is taken from the file."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)
