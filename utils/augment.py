"""Random flips, zooms, crops and light, for photo and mask alike.

Every function is pure: the random numbers come in as an argument, one row a photo, so
the result depends on nothing else (no hidden generator, no number of parallel calls).
"""

import tensorflow as tf

NUM_DRAWS = 6  # random numbers a photo takes: flip, zoom, y, x, brightness, contrast
VOID = 255  # what a mask holds where nothing is known

MIN_ZOOM, MAX_ZOOM = 0.75, 1.5  # the photo's side over the frame's
MAX_BRIGHTNESS = 25.0  # grey levels of 255, up or down
MAX_CONTRAST = 0.2  # the spread about the photo's mean, times 0.8 to 1.2
# Grey near ImageNet's mean colour (124, 116, 104): VGG16 subtracts that mean, so what
# is unknown becomes nearly 0 in the network, as its own padding is. One number for all
# channels, because `crop_and_resize` takes one; three cost as much as all the rest.
FILL = 116.0


def windows(draws: tf.Tensor) -> tf.Tensor:
    """Choose the part of each photo to show: a square window, half of them mirrored.

    Zoom is drawn evenly on a logarithmic scale between `MIN_ZOOM` and `MAX_ZOOM`.
    Above 1 the window lies anywhere inside the photo (a crop); below 1 the photo lies
    anywhere inside the window.

    Args:
        draws: (B, 4) floats in [0, 1): flip, zoom, vertical and horizontal place.

    Returns:
        (B, 4) floats: y1, x1, y2, x2 in parts of the photo's height and width; a
        mirrored window has x1 > x2.
    """
    flip, zoom, y, x = tf.unstack(draws, axis=1)
    side = 1 / (MIN_ZOOM * (MAX_ZOOM / MIN_ZOOM) ** zoom)
    top, left = y * (1 - side), x * (1 - side)  # both ends of the room there is
    right = left + side
    mirrored = flip < 0.5
    return tf.stack(
        [
            top,
            tf.where(mirrored, right, left),
            top + side,
            tf.where(mirrored, left, right),
        ],
        axis=1,
    )


def crop(
    images: tf.Tensor, masks: tf.Tensor, boxes: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cut the windows out of photos and masks and bring them back to full size.

    Photos are read between pixels (bilinear), masks at the nearest one, both at the
    same places. Outside the photo the image is `FILL` and the mask `VOID`.

    Args:
        images: (B, H, W, 3) of any number type, 0..255.
        masks: (B, H, W) of any integer type.
        boxes: (B, 4) as `windows` returns them.

    Returns:
        Images (B, H, W, 3) float32 and masks (B, H, W) of the masks' own type.
    """
    count, height, width = tf.unstack(tf.shape(masks))
    which = tf.range(count)
    images = tf.image.crop_and_resize(
        images, boxes, which, (height, width), "bilinear", FILL
    )
    cut = tf.image.crop_and_resize(
        masks[..., None], boxes, which, (height, width), "nearest", float(VOID)
    )
    return images, tf.cast(cut[..., 0], masks.dtype)


def brightness(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Add up to `MAX_BRIGHTNESS` grey levels to each photo, or take them away.

    Args:
        images: (B, H, W, 3) float32, 0..255.
        draws: (B,) floats in [0, 1); 0.5 changes nothing.

    Returns:
        (B, H, W, 3) float32, kept within 0..255.
    """
    shift = MAX_BRIGHTNESS * (2 * draws - 1)
    return tf.clip_by_value(images + shift[:, None, None, None], 0, 255)


def contrast(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Spread each photo's values about their mean by 1 plus or minus `MAX_CONTRAST`.

    Args:
        images: (B, H, W, 3) float32, 0..255.
        draws: (B,) floats in [0, 1); 0.5 changes nothing.

    Returns:
        (B, H, W, 3) float32, kept within 0..255.
    """
    factor = (1 + MAX_CONTRAST * (2 * draws - 1))[:, None, None, None]
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)
    return tf.clip_by_value(mean + factor * (images - mean), 0, 255)


def augment(
    images: tf.Tensor, masks: tf.Tensor, draws: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Change light and window of each photo, and the window of its mask with it.

    Light comes first: it is measured on the whole photo, and the fill stays `FILL`.

    Args:
        images: (B, H, W, 3) of any number type, 0..255.
        masks: (B, H, W) of any integer type.
        draws: (B, NUM_DRAWS) floats in [0, 1), a row a photo.

    Returns:
        Images (B, H, W, 3) float32, 0..255, and masks (B, H, W) of the masks' own type,
        `VOID` where nothing is known.
    """
    images = brightness(tf.cast(images, tf.float32), draws[:, 4])
    images = contrast(images, draws[:, 5])
    return crop(images, masks, windows(draws[:, :4]))
