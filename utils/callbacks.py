"""What watches a training run: repeatable epochs, a stop at NaN, checkpoints."""

import contextlib
import json
import os
import pathlib

import keras
import numpy as np

from utils import environment
from utils.batching import plan_of


class RepeatableEpochs(keras.callbacks.Callback):
    """Makes every epoch depend on (seed, epoch) alone: order, augmentation, dropout.

    Then a run that goes on after a stop sees what it would have seen without one.

    Args:
        data: what is trained on; one of `pets.load` or `Batches` follows, another
            keeps its own order.
        seed: of dropout.
    """

    def __init__(self, data, seed: int):
        super().__init__()
        self.plan, self.seed = plan_of(data), seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the epoch of the photos, and the state of each dropout layer."""
        if self.plan:
            self.plan.epoch = epoch
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                start = np.random.SeedSequence([self.seed, epoch, number])
                generator.state.assign(start.generate_state(2))


class StopAtNaN(keras.callbacks.Callback):
    """Stops when the loss or a weight is not a finite number, and names the files.

    Args:
        data: what is trained on; file names are known for one of `pets.load`.
    """

    def __init__(self, data):
        super().__init__()
        self.plan, self.epoch, self.batch = plan_of(data), 0, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the loss: a mean over the epoch so far, so one NaN stays in it.

        Raises:
            FloatingPointError: when it is NaN or infinite.
        """
        self.batch = batch
        if not np.isfinite(float(logs["loss"])):
            self._stop("The loss is")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look at the weights: the last step may have spoilt them after a good loss.

        Raises:
            FloatingPointError: when one is NaN or infinite.
        """
        for weight in self.model.trainable_weights:
            if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
                self._stop(f"The weight {weight.path} is")

    def _stop(self, what: str) -> None:
        files = "unknown"
        if self.plan:
            # The step of the batch before may be the one that went too far.
            suspects = range(self.batch, max(-1, self.batch - 2), -1)
            named = (self.plan.names(self.epoch, batch) for batch in suspects)
            files = " after ".join(", ".join(names) for names in named)
        raise FloatingPointError(
            f"{what} not a finite number in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, files: {files}; look at these photos and masks, or "
            "lower the learning rate."
        )


class Checkpoints(keras.callbacks.Callback):
    """Keeps all that training needs to go on, after every epoch, the last two of them.

    A checkpoint is one file that appears when it is whole, so a kill at any moment
    leaves a good one. (`keras.callbacks.BackupAndRestore` writes weights and epoch one
    after the other: a kill between the two makes it train an epoch twice.) Early
    stopping's own count is not kept.

    Args:
        folder: for this run alone; made when absent.
        model: compiled, its optimiser built; takes over what the folder holds.

    Attributes:
        history: a list with a value per epoch done, for each name `fit` measured.

    Raises:
        ValueError: the folder holds another network's checkpoints, or damaged ones.
    """

    def __init__(self, folder: str | os.PathLike, model: keras.Model):
        super().__init__()
        self.folder, self.history = pathlib.Path(folder), {}
        kept = self._kept()
        if kept and not any(self._restored(model, path) for path in reversed(kept)):
            raise ValueError(
                f"The checkpoints in {self.folder} are damaged; remove that folder, "
                "and this part of the training begins again."
            )

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return len(self.history.get("loss", ()))

    def _kept(self) -> list[pathlib.Path]:
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        return sorted(self.folder / n for n in names if n.startswith("epoch_"))

    def _restored(self, model: keras.Model, path: pathlib.Path) -> bool:
        """Take over a checkpoint; return whether it can be read."""
        try:
            with np.load(path) as stored:
                values = {name: stored[name] for name in stored.files}
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
        """Write a checkpoint.

        Raises:
            OSError: when that fails; the one before is still there.
        """
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        values = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in _state(self.model).items()
        }
        path = self.folder / f"epoch_{epoch + 1:04}.npz"
        with environment.replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, history=json.dumps(self.history), **values)
        for old in self._kept()[:-2]:
            with contextlib.suppress(OSError):
                old.unlink()


def _state(model: keras.Model) -> dict[str, keras.Variable]:
    """Name all that a run changes: weights, and what the optimiser remembers."""
    optimizer = {f"optimizer {n}": v for n, v in enumerate(model.optimizer.variables)}
    return {f"weight {n}": v for n, v in enumerate(model.variables)} | optimizer
