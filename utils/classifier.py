"""The patch classifier of notebooks 01 and 02: background, cat or dog at the centre."""

import pathlib

import keras
import numpy as np

from utils import environment, pet_records, pets, vgg16

WINDOW = 224  # side in pixels of what the classifier looks at
PHOTOS, EPOCHS = 128, 8  # of `trained_classifier`
CLASS_NAMES = pets.CLASS_NAMES["species"]


def centre_patch(image, mask, side: int, top: int, left: int):
    """Cut a square out of a photo, and label it by the class at its centre.

    Takes an image (H, W, 3), its mask (H, W) of class ids, and the square's side, first
    row and first column in pixels. Returns the patch (side, side, 3) and the label.

    Source: patch-wise training, Cireşan et al., NIPS 2012.
    """
    patch = image[top : top + side, left : left + side]
    label = mask[top + side // 2, left + side // 2]
    return patch, label


def random_patch(image, mask, generator: np.random.Generator):
    """Cut a random square of 40 to 90 % of the shorter side whose centre is not void.

    Takes and returns what `centre_patch` does.
    """
    height, width = mask.shape
    while True:
        side = int(min(height, width) * generator.uniform(0.4, 0.9))
        top = int(generator.integers(0, height - side + 1))
        left = int(generator.integers(0, width - side + 1))
        patch, label = centre_patch(image, mask, side, top, left)
        if label != pets.VOID:
            return patch, label


def _resized(image) -> np.ndarray:
    """Return an image as (224, 224, 3) float32, antialiased."""
    size = (WINDOW, WINDOW)
    square = keras.ops.image.resize(np.float32(image), size, antialias=True)
    return keras.ops.convert_to_numpy(square)


def patches(dataset: str, split: str, photos: int, *, seed: int = 0):
    """Return whole photos and two patches of each, with their labels.

    Takes up to `photos` photos, evenly from a dataset and split of `pets.load`; the
    seed decides where the patches are cut.

    Returns:
        images (3N, 224, 224, 3) uint8, first the N whole photos, then a patch of each,
        then another; labels (3N,) int32: 0 background, 1 cat, 2 dog.
    """
    found = pets.load_examples(dataset, split, task="species")
    examples = list(found.as_numpy_iterator())
    step = max(len(examples) / photos, 1.0)
    chosen = [examples[int(k * step)] for k in range(min(photos, len(examples)))]
    generator = np.random.default_rng(seed)
    whole = [(e["image"], e["species"] + 1) for e in chosen]
    cut = [random_patch(e["image"], e["mask"], generator) for e in 2 * chosen]
    images = np.stack([_resized(image) for image, _ in whole + cut])
    labels = np.array([label for _, label in whole + cut], np.int32)
    return images.round().astype(np.uint8), labels


def split_in_two(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Return the convolutions and the dense layers of a `vgg16.build` as two models.

    The first turns images (B, 224, 224, 3) into features (B, 7, 7, 512), the second
    those into logits (B, num_classes). What trains one of them trains `model` too.
    """
    features = model.get_layer("block5_pool").output
    return keras.Model(model.input, features), keras.Model(features, model.output)


def fit_head(head: keras.Model, features, labels, *, epochs: int) -> list[float]:
    """Train the dense layers of `split_in_two`; return the loss of each epoch.

    Takes features (N, 7, 7, 512), computed once, and class ids (N,).
    """
    head.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = head.fit(features, labels, batch_size=64, epochs=epochs, verbose=0)
    return history.history["loss"]


def path_of(dataset: str) -> pathlib.Path:
    """Return where the classifier trained on `dataset` is stored.

    The name holds the state of the photos: changed ones never find old weights.
    """
    settings = pet_records.state(dataset), PHOTOS, EPOCHS
    path = environment.cached_network("classifier", *settings)
    return path.with_suffix(".weights.h5")


def save_classifier(model: keras.Model, dataset: str) -> None:
    """Write a classifier trained on `dataset` to `path_of`, whole or not at all."""
    with environment.replacing(path_of(dataset)) as temporary:
        model.save_weights(temporary)


def trained_classifier(dataset: str) -> keras.Model:
    """Return page 01's classifier of `dataset`, stored or trained on 128 photos.

    That is a `vgg16.build(3)` with pretrained convolutions and trained dense layers.
    """
    model = vgg16.build(len(CLASS_NAMES))
    path = path_of(dataset)
    if path.is_file():
        model.load_weights(path)
        return model
    vgg16.load_imagenet_weights(model)
    images, labels = patches(dataset, "train", PHOTOS)
    convolutions, head = split_in_two(model)
    features = convolutions.predict(images, batch_size=16, verbose=0)
    fit_head(head, features, labels, epochs=EPOCHS)
    save_classifier(model, dataset)
    return model


def slide(model: keras.Model, photo, *, stride: int = 32) -> np.ndarray:
    """Classify every window of a photo: the way masks were drawn before FCN.

    Takes a classifier of (B, 224, 224, 3) images, a photo (H, W, 3), RGB 0..255, of at
    least 224 px a side, and the step between windows in pixels.

    Returns:
        Logits (rows, columns, num_classes), one for each window position.
    """
    rows = range(0, photo.shape[0] - WINDOW + 1, stride)
    columns = range(0, photo.shape[1] - WINDOW + 1, stride)
    corners = [(top, left) for top in rows for left in columns]
    windows = [photo[y : y + WINDOW, x : x + WINDOW] for y, x in corners]
    logits = [
        model(np.stack(windows[start : start + 16]), training=False)
        for start in range(0, len(windows), 16)
    ]
    logits = keras.ops.convert_to_numpy(keras.ops.concatenate(logits))
    return logits.reshape(len(rows), len(columns), -1)


def paint(labels, shape, window: int = 224, stride: int = 32) -> np.ndarray:
    """Paint each window's label into the cell at its centre; -1 where there is none.

    Takes class ids (rows, columns), one per window position, the photo's (H, W), and
    a window's side and the step between two, in pixels. Returns a mask (H, W).
    """
    mask = np.full(shape, -1)
    for row, column in np.ndindex(*labels.shape):
        top = row * stride + (window - stride) // 2
        left = column * stride + (window - stride) // 2
        mask[top : top + stride, left : left + stride] = labels[row, column]
    return mask


def enlarged(image, height: int) -> np.ndarray:
    """Return an image with this height, and its width as near a multiple of 32.

    From (H, W, 3) to (height, width, 3) float32; both at least 224 px.
    """
    width = round(image.shape[1] * height / image.shape[0] / 32) * 32
    size = (height, max(width, 224))
    large = keras.ops.image.resize(np.float32(image), size, antialias=True)
    return keras.ops.convert_to_numpy(large)


def scene(dataset: str) -> np.ndarray:
    """Return the photo (H, W, 3) over which pages 01 and 02 slide, uint8.

    Of the validation photos of cats that the frame does not cut, it is the one whose
    cat covers nearest to a quarter.
    """
    found = pets.load_examples(dataset, "validation", task="foreground")
    cats = [one for one in found.as_numpy_iterator() if one["species"] == 0]

    def fault(mask):
        frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        return np.mean(frame != 0) + abs(np.mean(mask == 1) - 0.25)

    return min(cats, key=lambda one: fault(one["mask"]))["image"]
