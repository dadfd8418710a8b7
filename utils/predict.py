"""From a trained network to the mask of any photo, in Python and from the shell.

    python -m utils.predict PHOTO... --model M.keras --out FOLDER

Of each photo NAME.EXT three files are written: NAME_mask.png (class ids, drawn in the
classes' colours), NAME_overlay.jpg (the photo tinted with them) and NAME.json (the
share of each class). All lie upright, whichever way the camera was held.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up chatter on stderr

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image
from tqdm import tqdm

from utils import environment, networks, photos


@keras.saving.register_keras_serializable(package="learn_fcn")
class TrainedOn(layers.Layer):
    """Hands logits on unchanged, and keeps what the network was trained on.

    A layer, because a layer's configuration stays with the network wherever it goes:
    through `.keras` files, copies and exports.

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

    Args:
        model: of `fcn.build`, with one output.
        image_size: side of the square photos it was trained on, in pixels.
        class_names: name of each class id.

    Raises:
        ValueError: when model and names do not fit.
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
    found = [layer for layer in model.layers if isinstance(layer, TrainedOn)]
    return found[-1] if found else None


def load(path: str | os.PathLike) -> keras.Model:
    """Read a network from a `.keras` file, in safe mode: no code is taken from it.

    Args:
        path: a file that `networks.save_model` or `keras.Model.save` wrote.

    Raises:
        ValueError: when there is no such file, or it is not a network for
            segmentation that can be read safely.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"{path} is not a .keras file; name one that a training left.")
    try:
        model = networks.load_model(path)
    except Exception as error:  # whatever a damaged archive makes of Keras
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"{path} cannot be read as a Keras network, in safe mode "
            f"({reason[0][:200]}); take an undamaged file without code in it."
        ) from error
    inputs, outputs = model.inputs, model.outputs
    if len(outputs) != 1:
        raise ValueError(
            f"{path} has {len(outputs)} outputs, one for each map of logits; take a "
            "network with a single one, an 8s for example."
        )
    if (
        [len(one.shape) for one in (*inputs, *outputs)] != [4, 4]
        or inputs[0].shape[-1] != 3
        or None not in inputs[0].shape[1:3]
    ):
        raise ValueError(
            f"{path} does not turn photos (B, H, W, 3) of any size into logits "
            "(B, H, W, C); take one of the networks of utils.fcn."
        )
    return model


def to_square(image: np.ndarray, image_size: int) -> tf.Tensor:
    """Bring a photo (H, W, 3) to float32 (S, S, 3), as `pets.load` does it."""
    square = (image_size, image_size)
    small = tf.image.resize(image, square, "bilinear", antialias=True)
    return tf.clip_by_value(tf.round(small), 0, 255)


def predict(
    model: keras.Model,
    image: np.ndarray,
    image_size: int | None = None,
    size: tuple[int, int] | None = None,
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
        size: height and width of the logits; the photo's own, unless given.

    Returns:
        Float32 (H, W, C).

    Raises:
        ValueError: for another shape, or when no size is known.
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
    small = to_square(image, image_size)  # (S, S, 3)
    logits = model(small[None], training=False)  # (1, S, S, C)
    return tf.image.resize(logits[0], size or image.shape[:2]).numpy()  # (H, W, C)


def _segment(
    model: keras.Model, path: pathlib.Path, folder: pathlib.Path, max_side: int | None
) -> None:
    """Segment one photo, and write what came of it."""
    known = trained_on(model)
    image = photos.read(path)  # (H, W, 3)
    height, width = image.shape[:2]
    scale = min(1.0, (max_side or max(height, width)) / max(height, width))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    mask = predict(model, image, size=size).argmax(-1)  # (h, w)
    if scale < 1:
        image = np.asarray(Image.fromarray(image).resize(size[::-1]))  # (h, w, 3)
    about = {
        "photo_size": {"width": width, "height": height},
        "network_size": known.image_size,
    }
    photos.write(path, folder, image, mask, known.class_names, about)


def _parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.predict",
        description="Draw what a trained network finds in photos: of each photo "
        "NAME_mask.png (class ids), NAME_overlay.jpg and NAME.json (class shares).",
        epilog=f"Of a folder, files ending in {', '.join(photos.SUFFIXES)} are photos; "
        "folders inside it are not looked into, hidden files are left out, links are "
        "followed. Exit status: 0 when all photos were written, 1 when some were "
        "refused (the others are written), 2 for wrong usage, 130 when stopped.",
    )
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="a file or a folder")
    parser.add_argument(
        "--model", required=True, help=".keras file that knows its size and classes"
    )
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder")
    parser.add_argument(
        "--max-side", type=int, help="most pixels a side of what is written"
    )
    parser.add_argument("--force", action="store_true", help="overwrite earlier files")
    arguments = parser.parse_args()
    if arguments.max_side is not None and arguments.max_side < 1:
        parser.error("--max-side: give a whole number from 1 up.")
    return arguments


def _ready(arguments: argparse.Namespace) -> keras.Model:
    """Make the folder, and read the network; raise when either is of no use."""
    folder = arguments.out
    for path in arguments.photos:
        if os.path.isdir(path) and folder.resolve() == pathlib.Path(path).resolve():
            raise ValueError(
                f"--out is {path}, the photos' own folder, where the next run would "
                "take overlays for photos; give another."
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"--out is {folder}, where nothing can be written ({error.strerror}); give "
            "a folder of yours."
        ) from error
    model = load(arguments.model)
    known = trained_on(model)
    if known is None:
        raise ValueError(
            f"{arguments.model} does not know the size and the classes it was trained "
            "on; keep them with predict.remember before saving."
        )
    if len(known.class_names) > 256:
        raise ValueError(
            f"{arguments.model} has {len(known.class_names)} classes, and an indexed "
            "picture 256 colours; take a network with fewer."
        )
    return model


@contextlib.contextmanager
def _stopped_between_photos() -> Iterator[list]:
    """Yield a list that is no longer empty once Ctrl-C was pressed.

    An exception in the middle of a photo could come while a folder of temporary files
    is made or removed, and leave it. A second Ctrl-C does not wait.
    """
    asked = []

    def note(*_):
        asked.append(True)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _run(arguments: argparse.Namespace, stopped: list) -> int:
    """Do what the command line asks; return the exit status."""
    try:
        environment.prepare(seed=0, deterministic=True)
        model = _ready(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    refusals, waiting = [], []
    for path in arguments.photos:
        try:
            waiting += photos.found(path)
        except ValueError as error:
            refusals.append(str(error))
    for refusal in refusals:
        print(f"refused: {refusal}", file=sys.stderr)
    # Whoever names a file and its folder too means it once.
    waiting = list({os.path.abspath(path): path for path in waiting}.values())
    given, made_of = {path.resolve() for path in waiting}, {}
    for path in tqdm(waiting, unit="photo", disable=None):  # on a terminal only
        if stopped:
            raise KeyboardInterrupt
        try:
            photos.check_free(path, arguments.out, arguments.force, given, made_of)
            _segment(model, path, arguments.out, arguments.max_side)
            # Small and capital letters are one on many disks.
            made_of[path.stem.casefold()] = path
        except (ValueError, OSError) as error:
            refusals.append(str(error))
            tqdm.write(f"refused: {error}", file=sys.stderr)
    return int(bool(refusals))


def main() -> int:
    """Run the command line."""
    try:
        with _stopped_between_photos() as stopped:
            return _run(_parsed(), stopped)
    except KeyboardInterrupt:
        print(
            "stopped; what is written is whole, the rest is missing.", file=sys.stderr
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
