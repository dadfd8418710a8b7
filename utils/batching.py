"""Batches of photos and masks: order and augmentation follow from (seed, epoch) alone.

NumPy only, so that a `tf.data` pipeline and Keras's own `PyDataset` give the same.
"""

import math
import weakref

import keras
import numpy as np

VOID = 255  # what a mask holds where nothing is known
NUM_DRAWS = 6  # random numbers a photo takes: flip, zoom, y, x, brightness, contrast

MIN_ZOOM, MAX_ZOOM = 0.75, 1.5  # the photo's side over the frame's
MAX_BRIGHTNESS = 25.0  # grey levels of 255, up or down
MAX_CONTRAST = 0.2  # the spread about the photo's mean, times 0.8 to 1.2
# Grey near ImageNet's mean colour (124, 116, 104): VGG16 subtracts that mean, so what
# is unknown becomes nearly 0 in the network, as its own padding is.
FILL = 116.0


def windows(draws: np.ndarray) -> np.ndarray:
    """Choose the part of each photo to show: a window, half of them mirrored.

    Zoom is drawn evenly on a logarithmic scale. Above 1 the window lies anywhere inside
    the photo (a crop); below 1 the photo lies anywhere inside the window.

    Args:
        draws: (B, 4) floats in [0, 1): flip, zoom, vertical and horizontal place.

    Returns:
        (B, 4) floats: y1, x1, y2, x2 in parts of the photo's height and width; a
        mirrored window has x1 > x2.
    """
    flip, zoom, y, x = np.float64(draws).T
    side = 1 / (MIN_ZOOM * (MAX_ZOOM / MIN_ZOOM) ** zoom)
    top, left = y * (1 - side), x * (1 - side)  # both ends of the room there is
    mirrored = flip < 0.5
    first, last = np.where(mirrored, [left + side, left], [left, left + side])
    return np.stack([top, first, top + side, last], axis=1)


def crop(
    image: np.ndarray, mask: np.ndarray, box: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window out of a photo and its mask and bring it back to full size.

    The photo is read between pixels (bilinear), the mask at the nearest one, both at
    the same places. Outside the photo the image is `FILL` and the mask `VOID`.

    Takes an image (H, W, 3) float32, a mask (H, W) of any integer type and a row of
    `windows`. Returns image and mask of the same shapes and types.
    """
    photo, ids = np.full(image.shape, FILL, np.float32), np.full_like(mask, VOID)
    y1, x1, y2, x2 = box
    inside = []
    for axis, (start, end) in enumerate([(y1, y2), (x1, x2)]):
        size = mask.shape[axis]
        # Rounded: what is computed to lie a trace outside the frame is on it.
        places = np.round(np.linspace(start, end, size) * (size - 1), 6)
        known = np.flatnonzero((places >= 0) & (places <= size - 1))
        # Of a photo of 2 pixels a side nothing may lie inside.
        inside.append(slice(known.min(initial=size), known.max(initial=-1) + 1))
        places = places[inside[-1]]
        image = _between(image, places, axis)
        mask = mask.take(np.int64(places + 0.5), axis, mode="clip")
    photo[tuple(inside)], ids[tuple(inside)] = image, mask
    return photo, ids


def _between(image: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Read an image (H, W, 3) at places between its rows (axis 0) or columns (1)."""
    low = np.int64(places)
    share = np.float32(places - low)
    share = share[:, None, None] if axis == 0 else share[:, None]
    near = image.take(low, axis, mode="clip")
    far = image.take(low + 1, axis, mode="clip")
    return near + share * (far - near)


def lit(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """Add up to `MAX_BRIGHTNESS` grey levels, spread the rest about its mean.

    Takes and returns float32 of any shape, 0..255; draws of 0.5 change nothing.
    """
    brighter = image + np.float32(MAX_BRIGHTNESS * (2 * brightness - 1))
    brighter = np.clip(brighter, 0, 255)
    factor, mean = np.float32(1 + MAX_CONTRAST * (2 * contrast - 1)), brighter.mean()
    return np.clip(mean + factor * (brighter - mean), 0, 255)


def augment(
    images: np.ndarray, masks: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Change light and window of each photo, and the window of its mask with it.

    Light comes first: it is measured on the whole photo, and the fill stays `FILL`.

    Takes images (B, H, W, 3) of any number type, 0..255, masks (B, H, W) of any integer
    type, and draws (B, NUM_DRAWS) in [0, 1). Returns images as float32 and masks of
    their own type, `VOID` where nothing is known.
    """
    images, masks = np.asarray(images), np.asarray(masks)
    photos, ids = np.empty(images.shape, np.float32), np.empty_like(masks)
    # Photo by photo: one at a time stays in a processor's cache.
    for n, box in enumerate(windows(draws[:, :4])):
        photos[n], ids[n] = crop(
            lit(np.float32(images[n]), *draws[n, 4:]), masks[n], box
        )
    return photos, ids


class Plan:
    """Which photos a batch holds, and the random numbers of their augmentation.

    Both follow from (seed, epoch) and, the random numbers, from the photo's place in
    the split: a run that goes on after a stop sees what it would have seen without.

    Args:
        names: of all photos (N,).
        batch_size: photos in a batch; the last batch holds the rest.
        shuffle: whether each epoch has an order of its own.
        augment: whether photos are to be changed at random.
        seed: a whole number from 0 up.

    Attributes:
        epoch: the epoch that comes next, from 0 up; set it to go on from there.
    """

    def __init__(self, names, batch_size: int, shuffle: bool, augment: bool, seed: int):
        self.photo_names, self.batch_size = np.asarray(names), batch_size
        self.shuffle, self.augment, self.seed = shuffle, augment, seed
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.photo_names) / self.batch_size)

    def places(self, epoch: int, batch: int) -> np.ndarray:
        """Return the places (B,) in the split of a batch's photos."""
        order = np.arange(len(self.photo_names))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch, 0]).permutation(order)
        return order[batch * self.batch_size : (batch + 1) * self.batch_size]

    def names(self, epoch: int, batch: int) -> list[str]:
        """Name the photos of a batch."""
        return self.photo_names[self.places(epoch, batch)].tolist()

    def draws(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return the random numbers (B, NUM_DRAWS) of photos, float32 in [0, 1)."""
        shape = len(self.photo_names), NUM_DRAWS
        generator = np.random.default_rng([self.seed, epoch, 1])
        return generator.random(shape, np.float32)[places]

    def changed(self, images, masks, epoch: int, places: np.ndarray) -> tuple:
        """Return a batch's images as float32, augmented if wanted, and its masks."""
        if self.augment:
            return augment(images, masks, self.draws(epoch, places))
        return np.float32(images), masks


PLANS = weakref.WeakKeyDictionary()  # data set of `pets.load` -> the plan it follows


def plan_of(dataset) -> Plan | None:
    """Return the plan of what `pets.load` returned, or of `Batches`; else None.

    A data set derived from one of `pets.load`, by `take` for example, follows the plan
    of the original but is not known here.
    """
    return getattr(dataset, "plan", None) or PLANS.get(dataset)


def check_pairs(images: np.ndarray, masks: np.ndarray) -> None:
    """Refuse what is no pair of images (N, H, W, 3) of 0..255 and masks (N, H, W).

    A ValueError: shapes that do not fit, ids that are no integers, images of 0..1.
    """
    shapes = images.shape, masks.shape
    if len(shapes[0]) != 4 or shapes[0][3] != 3 or shapes[0][:3] != shapes[1]:
        raise ValueError(
            f"Images of shape {shapes[0]} and masks of shape {shapes[1]} do not fit; "
            "give as many masks as images, (N, H, W, 3) and (N, H, W)."
        )
    if not np.issubdtype(masks.dtype, np.integer):
        raise ValueError(
            f"The masks are {masks.dtype}; give class ids as whole numbers."
        )
    check_levels(images)


def check_first(batches, num_classes: int) -> None:
    """Refuse a first batch that nobody could train on; of features, its masks."""
    first = batches[0] if hasattr(batches, "__getitem__") else next(iter(batches))
    inputs, masks = keras.tree.map_structure(keras.ops.convert_to_numpy, tuple(first))
    if not isinstance(inputs, tuple | list):
        check_pairs(inputs, masks)
    check_mask(batches.masks if isinstance(batches, Batches) else masks, num_classes)


def check_levels(images: np.ndarray) -> None:
    """Refuse images, of any shape, scaled to 0..1: a ValueError names the cure."""
    if images.size and 0 < images.max() <= 1:
        raise ValueError(
            "Images lie within 0..1, but networks take 0..255; multiply them by 255."
        )


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


class Batches(keras.utils.PyDataset):
    """Arrays as batches for `training.fit` and `keras.Model.fit`, on any backend.

    Args:
        images: (N, H, W, 3), RGB 0..255.
        masks: class ids (N, H, W).
        batch_size: photos in a batch; the last batch holds the rest.
        shuffle: whether each epoch has an order of its own.
        augment: whether photos are changed at random, and their masks with them.
        seed: of order and augmentation.

    Raises:
        ValueError: arrays of other shapes or types, or of different length.
    """

    def __init__(
        self, images, masks, batch_size=16, *, shuffle=False, augment=False, seed=0
    ):
        super().__init__()
        self.images, self.masks = np.asarray(images), np.asarray(masks)
        check_pairs(self.images, self.masks)
        names = [f"photo {n}" for n in range(len(images))]
        self.plan = Plan(names, batch_size, shuffle, augment, seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.plan)

    def __getitem__(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return images (B, H, W, 3) float32 and masks (B, H, W) int32."""
        return self.made(self.plan.epoch, batch)

    def made(self, epoch: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a batch of any epoch."""
        places = self.plan.places(epoch, batch)
        images, masks = self.images[places], np.int32(self.masks[places])
        return self.plan.changed(images, masks, epoch, places)

    def on_epoch_end(self) -> None:
        """Go on to the next epoch's order and augmentation; Keras calls this."""
        self.plan.epoch += 1


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
