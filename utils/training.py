"""Training and scoring a segmentation network, on Keras alone."""

import contextlib
import functools
import json
import math
import os
import pathlib
import re
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from utils import environment
from utils.batching import Batches, RepeatableEpochs, check_first, check_levels
from utils.metrics import SegmentationLoss, SegmentationMetrics, StopAtNaN, scores


@keras.saving.register_keras_serializable(package="learn_fcn")
class AdamW(keras.optimizers.AdamW):
    """AdamW with the pretrained backbone at `backbone_factor` times the rate."""

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
    """Let the rate rise over the first twentieth of all steps, then fall to 2 %.

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


def _as_batches(data, names: list[str] | None = None, **options):
    """Return arrays (images, masks) as `Batches`, and anything else as it is.

    With `names` of outputs, each of them gets the mask.
    """
    data = Batches(*data, **options) if isinstance(data, tuple | list) else data
    if names is None or data is None:
        return data
    if isinstance(data, keras.utils.PyDataset):
        return _SeveralOutputs(data, names)
    return data.map(lambda inputs, mask: (inputs, dict.fromkeys(names, mask)))


class _SeveralOutputs(keras.utils.PyDataset):
    def __init__(self, data: keras.utils.PyDataset, names: list[str]):
        super().__init__(workers=data.workers)
        self.data, self.names = data, names

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, batch: int) -> tuple:
        inputs, mask = self.data[batch]
        return inputs, dict.fromkeys(self.names, mask)


class Checkpoints(keras.callbacks.Callback):
    """Keeps all that training needs to go on, after every epoch, the last two of them.

    A checkpoint is one file that appears when it is whole, so a kill at any moment
    leaves a good one. (`keras.callbacks.BackupAndRestore` writes weights and epoch one
    after the other: a kill between the two makes it train an epoch twice.)

    Args:
        folder: for this run alone; made when absent.
        model: compiled, its optimiser built; takes over what the folder holds.

    Raises:
        ValueError: the folder holds another network's checkpoints, or damaged ones.
        OSError: when one cannot be written; the one before is still there.
    """

    def __init__(self, folder: str | os.PathLike, model: keras.Model):
        super().__init__()
        self.folder, self.history = pathlib.Path(folder), {}
        kept = sorted(self.folder.glob("epoch_*"), reverse=True)
        if kept and not any(self._restored(model, path) for path in kept):
            raise ValueError(
                f"The checkpoints in {self.folder} are damaged; remove that folder, "
                "and this part of the training begins again."
            )

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return len(self.history.get("loss", ()))

    def _restored(self, model: keras.Model, path: pathlib.Path) -> bool:
        """Take over a checkpoint; return whether it can be read."""
        try:
            with np.load(path) as stored:
                values = dict(stored)
            self.history = json.loads(str(values.pop("history")))
        except Exception:  # there are many ways to be damaged, and one cure
            return False
        variables = _state(model)
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: value.shape for name, value in values.items()}:
            raise ValueError(
                f"{self.folder} holds the checkpoint of another network; give "
                "another folder, or remove it."
            )
        for name, variable in variables.items():
            variable.assign(values[name])
        return True

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write a checkpoint."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        state = _state(self.model)
        values = {name: ops.convert_to_numpy(state[name]) for name in state}
        path = self.folder / f"epoch_{epoch + 1:04}.npz"
        with environment.replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, history=json.dumps(self.history), **values)
        for old in sorted(self.folder.glob("epoch_*"))[:-2]:
            with contextlib.suppress(OSError):
                old.unlink()


def _state(model: keras.Model) -> dict[str, keras.Variable]:
    """Name all that a run changes: weights, and what the optimiser remembers."""
    optimizer = {f"optimizer {n}": v for n, v in enumerate(model.optimizer.variables)}
    return {f"weight {n}": v for n, v in enumerate(model.variables)} | optimizer


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
            data set, a `keras.utils.PyDataset`, such as `Batches`; or two arrays, cut
            into batches of 16 in another order in every epoch.
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
        ValueError: for arrays, or a first batch of either data set, that
            `batching.check_first` refuses; for `checkpoints` of another network.
        FloatingPointError: when loss or weights are NaN; it names the batch's files.
        OSError: when a checkpoint cannot be written.
    """
    names = list(model.output) if isinstance(model.output, dict) else None
    num_classes = (model.output["s8"] if names else model.output).shape[-1]
    train = _as_batches(train, shuffle=True, seed=seed)
    validation = _as_batches(validation)
    for data in (train,) if validation is None else (train, validation):
        check_first(data, num_classes)
    loss = SegmentationLoss(dice_weight)
    schedule = cosine_schedule(learning_rate, epochs * len(train))
    # On a CPU XLA is slower (benchmarks/train_step.py), but JAX has no other.
    xla = environment.on_gpu() or keras.backend.backend() == "jax"
    strategy = getattr(model, "distribute_strategy", None)  # TensorFlow's alone
    with strategy.scope() if strategy else contextlib.nullcontext():
        metric = SegmentationMetrics(num_classes)
        model.compile(
            AdamW(schedule, backbone_factor, weight_decay=weight_decay),
            loss={name: loss for name in names} if names else loss,
            metrics={"s8": [metric]} if names else [metric],
            jit_compile="auto" if xla else False,
        )
        model.optimizer.build(model.trainable_variables)
    watch = [RepeatableEpochs(train, seed), StopAtNaN(train), *callbacks]
    kept = Checkpoints(checkpoints, model) if checkpoints else None
    history = model.fit(
        _as_batches(train, names),
        epochs=epochs,
        initial_epoch=kept.epoch if kept else 0,
        validation_data=_as_batches(validation, names),
        callbacks=[*watch, kept] if kept else watch,
        shuffle=False,  # the data set does that itself
        verbose=verbose,
    )
    return kept.history if kept else history.history


def forward(model: keras.Model):
    """Return a compiled function from images to what the model says when not training.

    As one graph: layer by layer, 16 bits round otherwise. XLA is left to `fit`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        call = tf.function(
            functools.partial(model, training=False), reduce_retracing=True
        )
        return lambda x: keras.tree.map_structure(ops.convert_to_numpy, call(x))
    alone = keras.Model(model.input, model.output)  # with settings of its own
    alone.jit_compile = keras.backend.backend() == "jax"
    return alone.predict_on_batch


def evaluate(model: keras.Model, dataset, ignore_class: int = 255) -> dict:
    """Score a model on a whole data set.

    Args:
        model: of `fcn.build`, or the `heads` of one.
        dataset: batches (images or features, masks), or two arrays, as for `fit`.
        ignore_class: id of pixels that do not count.

    Returns:
        `metrics.scores` as floats and lists; for `at_once` a dict of three.

    Raises:
        ValueError: for a first batch of images scaled to 0..1.
    """
    named = model.output if isinstance(model.output, dict) else {"only": model.output}
    sizes = {name: output.shape[-1] for name, output in named.items()}
    metrics = {n: SegmentationMetrics(size, ignore_class) for n, size in sizes.items()}
    call, batches = forward(model), _as_batches(dataset)
    if isinstance(batches, keras.utils.PyDataset):
        batches = map(batches.__getitem__, range(len(batches)))
    for number, (inputs, mask) in enumerate(batches):
        if number == 0 and not isinstance(inputs, tuple | list):  # no features
            check_levels(ops.convert_to_numpy(inputs))
        logits = call(inputs)
        for name, metric in metrics.items():
            metric.update_state(mask, logits[name] if named is model.output else logits)
    results = {}
    for name, metric in metrics.items():
        found = scores(metric.confusion)
        results[name] = {k: ops.convert_to_numpy(v).tolist() for k, v in found.items()}
    return results if named is model.output else results["only"]
