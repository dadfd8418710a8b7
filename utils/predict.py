"""From a trained network to the mask of any photo, in Python and from the shell.

    python -m utils.predict PHOTO... --out FOLDER [--model M.keras]

Of each photo NAME.EXT three files are written: NAME_mask.png (class ids, drawn in the
classes' colours), NAME_overlay.jpg (the photo tinted with them) and NAME.json (the
share of each class). All lie upright, whichever way the camera was held.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from PIL import Image, ImageColor
from tqdm import tqdm

from utils import batching, environment, networks, photos, plots, silence


def load_network(path: str | os.PathLike) -> keras.Model:
    """Read a network for segmentation as `networks.load_model` does.

    Raises:
        ValueError: also for a network that does not turn photos into one map of logits.
    """
    model = networks.load_model(path)
    if len(model.outputs) != 1:
        raise ValueError(
            f"{path} has {len(model.outputs)} outputs, one for each map of logits; "
            "take a network with a single one, an 8s for example."
        )
    shapes = [one.shape for one in (*model.inputs, *model.outputs)]
    ranks = [len(shape) for shape in shapes]
    if ranks != [4, 4] or shapes[0][-1] != 3 or None not in shapes[0][1:3]:
        raise ValueError(
            f"{path} does not turn photos (B, H, W, 3) of any size into logits "
            "(B, H, W, C); take one of the networks of utils.fcn."
        )
    return model


def to_square(image: np.ndarray, image_size: int) -> np.ndarray:
    """Bring a photo (H, W, 3) to float32 (S, S, 3), as `pets.load` does it."""
    size = (image_size, image_size)
    small = ops.image.resize(np.float32(image), size, antialias=True)
    return np.clip(np.round(ops.convert_to_numpy(small)), 0, 255)


def predict(
    model: keras.Model,
    image: np.ndarray,
    image_size: int | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Compute the logits of a photo of any size, for each of its own pixels.

    The photo is brought to the square the network was trained on, and the logits back
    to the photo. Logits, not class ids: between two ids lies the id of something else.

    Args:
        model: a network of `fcn.build`.
        image: (H, W, 3), RGB 0..255.
        image_size: side of the square in pixels, unless the model knows it.
        size: height and width of the logits; the photo's own, unless given.

    Returns:
        Float32 (H, W, C).

    Raises:
        ValueError: for another shape, a photo of 0..1, or when no size is known.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"The photo has shape {image.shape}; give (H, W, 3).")
    if image.dtype.kind not in "iu":  # of whole numbers 1 may be a very dark photo
        batching.check_levels(image)
    if image_size is None:
        known = networks.trained_on(model)
        if known is None:
            raise ValueError(
                "This network does not know the size it was trained at; give "
                "image_size, or keep it with networks.remember before saving."
            )
        image_size = known.image_size
    small = to_square(image, image_size)  # (S, S, 3)
    logits = ops.cast(model(small[None], training=False)[0], "float32")  # (S, S, C)
    logits = ops.image.resize(logits, size or image.shape[:2])  # (H, W, C)
    return ops.convert_to_numpy(logits)


def _check_free(path, targets, force: bool, given: set, made_of: dict) -> None:
    """Refuse a photo where its targets would replace a photo given or another's."""
    if first := made_of.get(path.stem.casefold()):
        raise ValueError(
            f"{path} has the name of {first}, and would overwrite what is made of it; "
            "give it another --out."
        )
    for target in targets:
        if os.path.realpath(target) in given:
            raise ValueError(
                f"{path} would overwrite the photo {target}; give another --out."
            )
        if target.exists() and not force:
            raise ValueError(
                f"{path} was not done: {target} exists; give another --out, or --force."
            )


def _segment(model: keras.Model, path, targets, max_side: int | None) -> None:
    """Write mask, overlay and shares of a photo, each file whole or not at all."""
    known = networks.trained_on(model)
    names = known.class_names
    with silence():  # of libtiff, which grumbles at damaged files
        image = photos.read(path)  # (H, W, 3)
    height, width = image.shape[:2]
    scale = min(1.0, (max_side or max(height, width)) / max(height, width))
    size = max(1, round(scale * height)), max(1, round(scale * width))  # (h, w)
    if max(size) > 65_500:  # the most a JPEG can have
        raise ValueError(f"{path} has a side over 65500 pixels; use --max-side.")
    mask = predict(model, image, size=size).argmax(-1)  # (h, w)
    photo = Image.fromarray(image)
    photo = photo.resize(size[::-1]) if scale < 1 else photo
    ids = Image.fromarray(mask.astype(np.uint8)).convert("L")
    ids.putpalette([part for color in _colors(names) for part in color])
    tinted = Image.blend(photo, ids.convert("RGB"), 0.55)
    background = np.array([name == "background" for name in names])[mask]
    tinted.paste(photo, mask=Image.fromarray(background))
    shares = np.bincount(mask.ravel(), minlength=len(names)) / mask.size
    about = {
        "photo": path.name,
        "photo_size": {"width": width, "height": height},
        "network_size": known.image_size,
        "mask_size": {"width": size[1], "height": size[0]},
        "share": dict(zip(names, shares.tolist(), strict=True)),
    }
    with environment.replacing(targets[0]) as temporary:
        ids.save(temporary)
    with environment.replacing(targets[1]) as temporary:
        tinted.save(temporary, quality=90)
    environment.write_json(targets[2], about)


def _colors(class_names: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return the colours in which masks of these classes are drawn."""
    others = itertools.cycle(plots.LINE_COLORS)
    colors = (plots.COLORS.get(name, next(others)) for name in class_names)
    return [ImageColor.getrgb(color) for color in colors]


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
    option, path = parser.add_argument, pathlib.Path
    option("photos", nargs="+", type=path, metavar="PHOTO", help="file or folder")
    option("--model", help=".keras file that knows size and classes (default: ours)")
    option("--out", required=True, type=path, help="folder")
    option("--max-side", type=int, help="most pixels a side of what is written")
    option("--force", action="store_true", help="overwrite earlier files")
    arguments = parser.parse_args()
    if arguments.max_side is not None and arguments.max_side < 1:
        parser.error("--max-side: give a whole number from 1 up.")
    return arguments


def _ready(arguments: argparse.Namespace) -> keras.Model:
    """Make the folder, and read the network; raise when either is of no use."""
    folder = arguments.out
    for path in arguments.photos:
        if os.path.isdir(path) and folder.resolve() == path.resolve():
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
    model = load_network(arguments.model) if arguments.model else networks.pretrained()
    known = networks.trained_on(model)
    if known is None:
        raise ValueError(
            f"{arguments.model} does not know the size and the classes it was trained "
            "on; keep them with networks.remember before saving."
        )
    if (count := len(known.class_names)) > 256:
        raise ValueError(
            f"{arguments.model} has {count} classes, more than a picture has colours."
        )
    return model


def _reason(path: pathlib.Path, error: Exception) -> str:
    """Say why a photo was not done; raise again what is no fault of the photo's."""
    if isinstance(error, (ValueError, OSError)):
        return str(error)
    # Each backend has an error of its own for too little memory.
    words = f"{type(error).__name__} {error}".lower().replace("_", "")
    signs = ("memoryerror", "resourceexhausted", "out of memory", "t allocate memory")
    if not any(sign in words for sign in signs):
        raise error
    return f"{path} needs more memory than there is; shrink it, or use --max-side."


def _run(arguments: argparse.Namespace, stopped: list) -> int:
    """Do what the command line asks; return the exit status."""
    try:
        with silence():  # seeding imports TensorFlow under other backends, too
            environment.prepare(seed=0, deterministic=True)
        model = _ready(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    taken, passed_over, refusals = {}, [], []
    for path in dict.fromkeys(arguments.photos):
        found = []
        try:
            found = photos.list_photos(path)
        except ValueError as error:
            refusals.append(f"refused: {error}")
            print(refusals[-1], file=sys.stderr)
        with contextlib.suppress(OSError):  # no folder, or a refused one
            seen = sorted(n for n in os.listdir(path) if not n.startswith("."))
            passed_over += [name for name in seen if path / name not in found]
        # Whoever names a file and its folder too means it once.
        taken |= {os.path.abspath(one): one for one in found}
    given, made_of = {os.path.realpath(path) for path in taken.values()}, {}
    for path in tqdm(taken.values(), unit="photo", disable=None):  # on a terminal only
        if stopped:
            raise KeyboardInterrupt
        endings = ("_mask.png", "_overlay.jpg", ".json")
        targets = [arguments.out / f"{path.stem}{ending}" for ending in endings]
        try:
            _check_free(path, targets, arguments.force, given, made_of)
            _segment(model, path, targets, arguments.max_side)
            # Small and capital letters are one on many disks.
            made_of[path.stem.casefold()] = path
        except Exception as error:
            refusals.append(f"refused: {_reason(path, error)}")
            tqdm.write(refusals[-1], file=sys.stderr)
    if any(map(os.path.isdir, arguments.photos)):
        listed = ", ".join(passed_over[:5]) + ", ..." * (len(passed_over) > 5)
        print(
            f"{len(made_of)} written, {len(refusals)} refused, {len(passed_over)} "
            f"passed over{f' ({listed})' if listed else ''}"
        )
    return int(bool(refusals))


def main() -> int:
    """Run the command line; Ctrl-C ends it between photos, a second one at once."""
    stopped = []

    def note(*_):
        stopped.append(True)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        return _run(_parsed(), stopped)
    except KeyboardInterrupt:
        print("stopped; what is written is whole, the rest missing.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    sys.exit(main())
