"""Photos, networks and weights made of integers, and a look at what training would do.

The recipe is looked at where `keras.Model.fit` is called, so `watching` serves for any
program that trains by it. Everything is computed in float32.
"""

import contextlib
import itertools
import math
import pathlib
import tempfile
import zlib
from collections.abc import Iterator
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

from utils import environment, pets, vgg16

SIZE, PHOTOS = 64, 24  # side in pixels at which made photos are seen; their number
HEIGHT, WIDTH = 96, 80  # of a made photo, so that it has to be resized
NARROW = ((2, 8), (2, 16), (3, 16), (3, 32), (3, 32))  # VGG16's blocks, fewer channels
OPTIMIZER = (  # of its settings those that three steps hardly show
    *("beta_1", "beta_2", "epsilon", "amsgrad", "clipnorm", "global_clipnorm"),
    *("clipvalue", "use_ema", "gradient_accumulation_steps"),
)
RATE = 1000.0  # at which an optimiser is measured: a decay of 1e-4 becomes visible


# Inputs and weights, computed from integers


def numbers(shape: tuple[int, ...], salt: str) -> np.ndarray:
    """Return float32 numbers in [0, 1) that look random and are the same everywhere."""
    count = np.arange(math.prod(shape), dtype=np.uint32)
    mixed = (count + np.uint32(zlib.crc32(salt.encode()))) * np.uint32(2654435761)
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        mixed = (mixed ^ (mixed >> shift)) * np.uint32(factor)
    return np.float32((mixed >> 8) / 2**24).reshape(shape)


def fill(model: keras.Model) -> None:
    """Give every convolution weights of integers; upsampling keeps its own."""
    for layer in model.layers:
        if type(layer) in (layers.Conv2D, layers.Dense):
            kernel, *bias = (tuple(weight.shape) for weight in layer.weights)
            limit = math.sqrt(6 / math.prod(kernel[:-1]))  # as He's uniform start
            filled = [(2 * numbers(kernel, f"{layer.name}/kernel") - 1) * limit]
            filled += [(numbers(b, f"{layer.name}/bias") - 0.5) / 10 for b in bias]
            layer.set_weights(filled)


def photo(number: int) -> np.ndarray:
    """Make (96, 80, 3) uint8; `number_of` tells which, whatever light it is in."""
    grey = 90 + 70 * numbers((HEIGHT // 8, WIDTH // 8), f"photo {number}")
    grey = np.kron(grey, np.ones((8, 8)))[..., None]
    return np.uint8(grey + np.float32([10 + number, 0, number - 40]))


def number_of(image: np.ndarray) -> int:
    """Tell which photo this is: light changes both colour differences by one factor."""
    red, green, blue = np.moveaxis(np.float64(image), -1, 0)
    inside = np.abs(red - blue) > 5  # what augmentation fills in is grey
    share = np.median((red - green)[inside] / (red - blue)[inside])
    return round(50 * share - 10)


def make_folder(folder: pathlib.Path) -> pathlib.Path:
    """Write PHOTOS made photos, and 4 to test on, in the official layout."""
    for part in ("images", "annotations/trimaps"):
        (folder / part).mkdir(parents=True)
    lines = []
    for number in range(PHOTOS + 4):
        name, species = f"made_{number:02}", 1 + number % 2
        mask = np.full((HEIGHT, WIDTH), 2, np.uint8)
        mask[8:88, 6 + 2 * number : 76] = 3
        mask[12:84, 10 + 2 * number : 72] = 1
        image = photo(number)
        if number >= PHOTOS:  # those to test on are wider than high
            image, mask = (np.hstack([x, x[:, ::-2]]) for x in (image, mask))
        image, mask = Image.fromarray(image), Image.fromarray(mask)
        image.save(folder / "images" / f"{name}.jpg", "PNG")
        mask.save(folder / "annotations" / "trimaps" / f"{name}.png")
        lines.append(f"{name} {species} {species} {number + 1}\n")
    for part, listed in (("trainval", lines[:PHOTOS]), ("test", lines[PHOTOS:])):
        file = folder / "annotations" / f"{part}.txt"
        file.write_text("".join(listed), encoding="utf-8")
    return folder


# What training would do, seen where it begins


def array(values) -> np.ndarray:
    """Return a copy that no later assignment changes, on any backend."""
    return np.array(keras.ops.convert_to_numpy(values))


def words(values) -> str:
    """Write numbers, and whatever else, as one line."""
    return " ".join(f"{x:.7g}" if isinstance(x, float) else str(x) for x in values)


def moments(values) -> list[float]:
    """Return the mean of values (B, H, W, ...), and its means weighted by place."""
    found = np.float64(array(values))
    down, right = (np.linspace(-1, 1, side) for side in found.shape[1:3])
    picture = np.moveaxis(found, (1, 2), (-2, -1))
    weights = (1, down[:, None], right, down[:, None] * right)
    return [float(np.mean(picture * weight)) for weight in weights]


def start(model: keras.Model) -> str:
    """Say how widely each variable is spread before training; a score's is zero."""
    trained = model.trainable_variables
    return words(x for v in trained for x in (v.path, float(array(v).std())))


def variables(model: keras.Model) -> str:
    """Name what is trained; measure factor and decay of the rate for each variable.

    The optimiser has another rate then, and what is trained other values.
    """
    optimizer, trained = model.optimizer, model.trainable_variables
    # One rate at every step: an optimiser made with a schedule takes no number.
    optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(RATE, 1, 1.0)
    moved = []
    for gradient in (keras.ops.zeros, keras.ops.ones):
        for variable in optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
        for variable in trained:
            variable.assign(keras.ops.ones(variable.shape))
        optimizer.apply([gradient(v.shape) for v in trained], trained)
        moved.append([float(array(v).flat[0]) for v in trained])
    found = []
    for variable, idle, after in zip(trained, *moved, strict=True):
        found += [variable.path, (idle - after) / RATE, (1 - idle) / RATE]
    return words(found)


def dropout(model: keras.Model) -> str:
    found = []
    for layer in model.layers:
        if isinstance(layer, layers.Dropout):
            kept = array(layer(np.ones((1, 100_000), np.float32), training=True))
            found += [layer.name, float(np.mean(kept == 0))]
    return words(found)


def loss(model: keras.Model) -> str:
    """Return the loss of fixed logits, a fifth of the pixels void."""
    several = model.output if isinstance(model.output, dict) else None
    num_classes = (several["s8"] if several else model.output).shape[-1]
    logits = keras.ops.array(8 * numbers((2, 6, 7, num_classes), "logits") - 4)
    mask = np.int32(num_classes * numbers((2, 6, 7), "mask"))
    mask[numbers((2, 6, 7), "void") < 0.2] = pets.VOID
    if several:
        mask, logits = dict.fromkeys(several, mask), dict.fromkeys(several, logits)
    return words([float(model.compute_loss(y=mask, y_pred=logits))])


def steps(model: keras.Model, batches: list) -> str:
    """Return the losses of three steps, and how large the last two weights are then."""
    model.run_eagerly = True  # no graph to build
    found = []
    # Without dropout, whose random numbers differ from backend to backend.
    with mock.patch.object(layers.Dropout, "call", lambda self, x, training=None: x):
        for inputs, mask in batches:
            logs = model.train_on_batch(inputs, mask, return_dict=True)
            model.reset_metrics()
            found.append(float(logs["loss"]))
    found += [float(np.abs(array(w)).mean()) for w in model.trainable_variables[-2:]]
    return words(found)


def order(data, masks: dict[bytes, int]) -> list[int]:
    """Return the numbers of the photos in one pass."""
    found = []
    for inputs, mask in data:
        if isinstance(inputs, tuple | list):  # features: known by their masks
            mask = mask["s8"] if isinstance(mask, dict) else mask
            found += [masks[np.int32(one).tobytes()] for one in mask]
        else:
            found += map(number_of, array(inputs))
    return found


@contextlib.contextmanager
def watching(folder: str, task: str) -> Iterator[list[dict[str, str]]]:
    """Stand in for `keras.Model.fit`; yield what each call to it would have done.

    VGG16 has few channels meanwhile, and pretrained weights are made of integers. The
    model leaves `fit` with weights of integers too, not trained. Takes the folder of
    `data` that is trained on, and the task; the list gets a dict for each call.
    """
    seen = []
    plain = pets.load(folder, "trainval", task=task, image_size=SIZE, batch_size=1)
    plain = enumerate(plain.as_numpy_iterator())
    masks = {mask.tobytes(): number for number, (_, mask) in plain}

    def fit(model, data, *, epochs, callbacks=(), **others):
        # These and no more: what another argument does would have to be looked at.
        known = {"initial_epoch", "validation_data", "shuffle", "verbose"}
        assert others.keys() <= known, others.keys() - known
        passes = []
        for epoch in range(2):
            for callback in callbacks:
                callback.set_model(model)
                callback.on_epoch_begin(epoch)
            passes.append(list(data))
        inputs = tf.nest.flatten([batches[0] for batches in passes])
        settings = model.optimizer.get_config()
        schedule = model.optimizer._learning_rate
        part = {
            "order": words(n for one in passes for n in [*order(one, masks), "/"]),
            "rates": words(float(schedule(n)) for n in range(epochs * len(data))),
            "optimizer": words(f"{name}={settings[name]}" for name in OPTIMIZER),
            "start": start(model),
            "dropout": dropout(model),
            "inputs": words(itertools.chain(*map(moments, inputs))),
            "loss": loss(model),
        }
        fill(model)
        part["steps"] = steps(model, (passes[0] + passes[1])[:3])
        part["variables"] = variables(model)
        fill(model)
        seen.append(part)
        history = keras.callbacks.History()
        history.history = {"loss": [0.0] * epochs, "seconds": [0.0] * epochs}
        return history

    with (
        mock.patch.object(keras.Model, "fit", fit),
        mock.patch.object(vgg16, "BLOCKS", NARROW),
        mock.patch.object(vgg16, "load_imagenet_weights", fill),
    ):
        yield seen


@contextlib.contextmanager
def data() -> Iterator[str]:
    """Give the path of a made folder, and keep its prepared copy out of the cache."""
    with (
        tempfile.TemporaryDirectory() as home,
        mock.patch.object(pets.records, "CACHE", pathlib.Path(home)),
        mock.patch.object(environment, "CACHE", pathlib.Path(home)),
        contextlib.redirect_stdout(None),
    ):
        yield str(make_folder(pathlib.Path(home) / "made"))


def logits(model: keras.Model) -> dict[str, str]:
    """Return each output at the corners and inside of a picture of odd size."""
    picture = 255 * np.kron(numbers((1, 10, 15, 3), "picture"), np.ones((1, 7, 7, 1)))
    found = model(np.float32(picture)[:, :, :101])
    found = found if isinstance(found, dict) else {model.name: found}
    places = ((0, 0), (0, 100), (69, 0), (69, 100), (35, 50), (17, 31))
    return {
        f"{name} logits": words(float(x) for p in places for x in array(maps[0])[p])
        for name, maps in found.items()
    }


def pictures(split: str) -> str:
    """Return what the drawings look like, over a whole split."""
    batches = pets.load("synthetic_pets", split, image_size=16, batch_size=10**6)
    ((images, masks),) = batches.as_numpy_iterator()
    return words([len(images), *moments(images), *moments(masks)])


def colours() -> keras.Model:
    """Return a network that reads one of three classes off colours, no class ahead."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 5, padding="same", activation="relu", name="colours")(image)
    model = keras.Model(image, layers.Conv2D(3, 1, name="classes")(x), name="colours")
    fill(model)
    first, last = model.layers[1:]
    first.bias.assign(-125 * first.kernel.numpy().sum((0, 1, 2)))
    last.bias.assign(last.bias - np.mean(model(np.float32([photo(0)])), (0, 1, 2)))
    return model


def flat(value, name: str = "") -> dict[str, str]:
    """Return every number of a nested result, by the path to it."""
    values = value if isinstance(value, list | tuple | dict) else [value]
    if isinstance(values, dict) or any(isinstance(v, dict) for v in values):
        pairs = values.items() if isinstance(values, dict) else enumerate(values)
        parts = [flat(inner, f"{name}{key} ") for key, inner in pairs]
        return {key: line for part in parts for key, line in part.items()}
    return {f"{name}scores": words(values)}
