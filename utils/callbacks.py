"""What watches a training run: repeatable epochs, checkpoints, NaN, TensorBoard."""

import json
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from utils import plots


class RepeatableEpochs(keras.callbacks.Callback):
    """Makes every epoch depend on (seed, epoch) alone: order, augmentation, dropout.

    Then a run that goes on after a stop sees what it would have seen without one.

    Args:
        dataset: what `fit` trains on; one of `pets.load` follows, and arrays do;
            another keeps its own order.
        seed: of all random numbers.
    """

    def __init__(self, dataset, seed: int):
        super().__init__()
        self.dataset, self.seed = dataset, seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the pass over the photos, and the state of each dropout layer."""
        passes = getattr(self.dataset, "passes", None)
        if passes is not None:
            passes.epoch = epoch
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                start = np.random.SeedSequence([self.seed, epoch, number])
                generator.state.assign(start.generate_state(2))


class StopAtNaN(keras.callbacks.Callback):
    """Stops when the loss or a weight is not a finite number, and names the files.

    Args:
        dataset: what `fit` trains on; file names are known for one of `pets.load`.
    """

    def __init__(self, dataset):
        super().__init__()
        self.dataset, self.epoch, self.batch = dataset, 0, 0

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
        passes = getattr(self.dataset, "passes", None)
        if passes is not None:
            # The step of the batch before may be the one that went too far.
            batches = range(max(0, self.batch - 1), self.batch + 1)
            names = [passes.names(self.epoch, b) for b in batches]
            files = " after ".join(", ".join(batch) for batch in reversed(names))
        raise FloatingPointError(
            f"{what} not a finite number in epoch {self.epoch + 1}, batch "
            f"{self.batch + 1}, files: {files}; look at these photos and masks, or "
            "lower the learning rate."
        )


class Checkpoints(keras.callbacks.Callback):
    """Keeps all that training needs to go on, after every epoch, the last two of them.

    A checkpoint is written beside the one before and takes its place when it is whole,
    so that a kill at any moment leaves a good one. (`keras.callbacks.BackupAndRestore`
    writes over its one file.) Early stopping's own count is not kept.

    Args:
        folder: for this run alone; made when absent.
        model: compiled and built; takes over what the folder holds.

    Attributes:
        epoch: how many epochs are done.
        history: a list with a value per epoch done, for each name `fit` measured.

    Raises:
        ValueError: the folder holds another network's checkpoints, or damaged ones.
    """

    def __init__(self, folder: str | os.PathLike, model: keras.Model):
        import tensorflow as tf

        super().__init__()
        self.folder = pathlib.Path(folder)
        self._done = tf.Variable(0, dtype=tf.int64)
        self._history = tf.Variable("{}")
        state = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, done=self._done, told=self._history
        )
        self._manager = tf.train.CheckpointManager(state, self.folder, max_to_keep=2)
        kept = self._manager.checkpoints[::-1]
        if kept and not any(self._restored(state, path) for path in kept):
            raise ValueError(
                f"The checkpoints in {self.folder} are damaged; remove that folder, "
                "and this part of the training begins again."
            )

    def _restored(self, state, path: str) -> bool:
        """Take over a checkpoint; return whether it can be read."""
        import tensorflow as tf

        try:
            state.restore(path).assert_consumed()
        except (ValueError, AssertionError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"{self.folder} holds the checkpoint of another network; give "
                "another folder, or remove it."
            ) from error
        except (tf.errors.OpError, IndexError):
            return False
        return True

    @property
    def epoch(self) -> int:
        """Return how many epochs are done."""
        return int(self._done)

    @property
    def history(self) -> dict[str, list]:
        """Return what was measured so far."""
        return json.loads(self._history.numpy())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: when that fails; the one before is still there.
        """
        import tensorflow as tf

        history = self.history
        for name, value in (logs or {}).items():
            history.setdefault(name, []).append(np.asarray(value).tolist())
        self._history.assign(json.dumps(history))
        self._done.assign(epoch + 1)
        try:
            self._manager.save()
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0][:200]
            raise OSError(
                f"The checkpoint of epoch {epoch + 1} cannot be written to "
                f"{self.folder} ({reason}); make room or give another folder and start "
                "again: what was there before is kept."
            ) from error


class TensorBoard(keras.callbacks.Callback):
    """Shows TensorBoard curves, and masks: photo, truth and prediction side by side.

    (`keras.callbacks.TensorBoard` fails on metrics with a value for each class.)

    Args:
        folder: where TensorBoard looks.
        images: (N, H, W, 3), RGB 0..255.
        masks: (N, H, W), true class ids.
        names: class name of each id, a key of `plots.COLORS`.
        model: the network to ask; the one in training unless given.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        images: np.ndarray,
        masks: np.ndarray,
        names: Sequence[str],
        model: keras.Model | None = None,
    ):
        import tensorflow as tf

        super().__init__()
        self.writer = tf.summary.create_file_writer(os.fspath(folder))
        self.images, self.masks, self.names = np.asarray(images), masks, names
        self.network = model

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write numbers and pictures."""
        import tensorflow as tf

        network = self.network or self.model
        predicted = network.predict_on_batch(self.images).argmax(-1)  # (N, H, W)
        panels = [
            np.concatenate(
                [plots.photo(image), *(plots.colored(m, self.names) for m in pair)], 1
            )
            for image, *pair in zip(self.images, self.masks, predicted, strict=True)
        ]  # (H, 3 * W, 3) each
        with self.writer.as_default(epoch):
            for name, value in (logs or {}).items():
                if np.ndim(value) == 0:
                    tf.summary.scalar(name, float(value))
            tf.summary.image(
                "photo, truth, prediction", np.stack(panels), max_outputs=len(panels)
            )
