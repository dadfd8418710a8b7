"""What watches a training run: repeatable epochs, checkpoints, NaN, TensorBoard."""

import json
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from utils import pets, plots


class RepeatableEpochs(keras.callbacks.Callback):
    """Makes every epoch depend on (seed, epoch) alone: order, augmentation, dropout.

    Then a run that goes on after a stop sees what it would have seen without one.

    Args:
        dataset: what `fit` trains on; one of `pets.load` follows, another keeps its own
            order.
        seed: of all random numbers.

    Introduced in notebook 06.
    """

    def __init__(self, dataset: tf.data.Dataset, seed: int):
        super().__init__()
        self.dataset, self.seed = dataset, seed

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the pass over the photos, and the state of each dropout layer."""
        if pets.counts_passes(self.dataset):
            pets.set_epoch(self.dataset, epoch)
        for number, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                start = np.random.SeedSequence([self.seed, epoch, number])
                generator.state.assign(start.generate_state(2))


class StopAtNaN(keras.callbacks.Callback):
    """Stops at the first batch whose loss is not a finite number, and names its files.

    Args:
        dataset: what `fit` trains on; file names are known for one of `pets.load`.

    Introduced in notebook 06.
    """

    def __init__(self, dataset: tf.data.Dataset):
        super().__init__()
        self.dataset, self.epoch = dataset, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the loss: a mean over the epoch so far, so one NaN stays in it.

        Raises:
            FloatingPointError: when it is NaN or infinite.
        """
        if np.isfinite(float(logs["loss"])):
            return
        files = "unknown"
        if pets.counts_passes(self.dataset):
            files = ", ".join(pets.file_names(self.dataset, self.epoch, batch))
        raise FloatingPointError(
            f"The loss is not a finite number in epoch {self.epoch + 1}, batch "
            f"{batch + 1}, files: {files}; look at these photos and masks, or lower "
            "the learning rate."
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
        ValueError: the folder holds another network's checkpoint.

    Introduced in notebook 06.
    """

    def __init__(self, folder: str | os.PathLike, model: keras.Model):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self._done = tf.Variable(0, dtype=tf.int64)
        self._history = tf.Variable("{}")
        model.optimizer.build(model.trainable_variables)
        state = tf.train.Checkpoint(
            model=model, optimizer=model.optimizer, done=self._done, told=self._history
        )
        self._manager = tf.train.CheckpointManager(state, self.folder, max_to_keep=2)
        if self._manager.latest_checkpoint:
            try:
                state.restore(self._manager.latest_checkpoint).assert_consumed()
            except (ValueError, AssertionError) as error:
                raise ValueError(
                    f"{self.folder} holds the checkpoint of another network; give "
                    "another folder, or remove it."
                ) from error

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


class MaskImages(keras.callbacks.Callback):
    """Shows TensorBoard photo, truth and prediction side by side after every epoch.

    Args:
        folder: where TensorBoard looks.
        images: (N, H, W, 3), RGB 0..255.
        masks: (N, H, W), true class ids.
        names: class name of each id, a key of `plots.COLORS`.
        model: the network to ask; the one in training unless given.

    Introduced in notebook 06.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        images: np.ndarray,
        masks: np.ndarray,
        names: Sequence[str],
        model: keras.Model | None = None,
    ):
        super().__init__()
        self.writer = tf.summary.create_file_writer(os.fspath(folder))
        self.images, self.masks, self.names = np.asarray(images), masks, names
        self.network = model

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Predict and write."""
        network = self.network or self.model
        predicted = network.predict_on_batch(self.images).argmax(-1)  # (N, H, W)
        panels = [
            np.concatenate(
                [plots.photo(image), *(plots.colored(m, self.names) for m in pair)], 1
            )
            for image, *pair in zip(self.images, self.masks, predicted, strict=True)
        ]  # (H, 3 * W, 3) each
        with self.writer.as_default():
            tf.summary.image(
                "photo, truth, prediction", np.stack(panels), epoch, len(panels)
            )
