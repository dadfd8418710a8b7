"""Turn a classifier's dense layers into convolutions; enlarge maps bilinearly.

Sections are those of Long, Shelhamer, Darrell: Fully convolutional networks for
semantic segmentation, CVPR 2015.
"""

import math

import keras
import numpy as np
from keras import layers

GLOBAL_POOLING = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
DENSE_SETTINGS = ("activation", "use_bias", "kernel_regularizer", "bias_regularizer")
DENSE_SETTINGS += ("name", "trainable")
# What may follow Flatten: layers that do the same to each number, or, after the first
# dense layer, the same at each position.
NUMBERWISE = (layers.Flatten, layers.Dropout, layers.ReLU)
POSITIONWISE = (layers.Dense, layers.Activation, layers.Softmax)
POSITIONWISE += (layers.BatchNormalization, *NUMBERWISE)


def convolution_weights(
    kernel: np.ndarray, bias: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reshape a dense layer's weights into those of the convolution that equals it.

    A map (H, W, C) is flattened channels last, so row (y * W + x) * C + c of the dense
    kernel belongs to position (y, x) and channel c. Reshaping keeps that order.

    Args:
        kernel: (height * width * channels, units).
        bias: (units,), passed on unchanged.
        height: of the map the dense layer saw flattened; 1 for a vector.
        width: of that map.

    Returns:
        Kernel (height, width, channels, units) and bias (units,).

    Raises:
        ValueError: when the kernel's rows do not divide into height * width positions.

    Source: section 3.1.
    """
    rows, units = kernel.shape
    if rows % (height * width):
        raise ValueError(
            f"A dense kernel with {rows} rows does not fit a map of {height}x{width}; "
            "give the size of the map that was flattened."
        )
    channels = rows // (height * width)
    return kernel.reshape(height, width, channels, units), bias


def convolutionize(classifier: keras.Model) -> keras.Model:
    """Return the same network with convolutions in place of its dense layers.

    The first dense layer becomes a convolution as large as the map it saw ('valid'),
    the others become 1x1. On an image of the classifier's size the result has one
    position with the classifier's outputs; on a larger one, a map of them. Weights are
    copied, biases included; layers keep their names; the classifier stays as it is.

    Args:
        classifier: a functional or Sequential chain of convolutions, poolings, Flatten
            and Dense; dropout, activations and batch normalisation may stand between.

    Returns:
        A functional model: images (B, H, W, channels) of the classifier's size or
        larger, to (B, H', W', classes); for VGG16, H' = H/32 - 6.

    Raises:
        ValueError: for a network that is no such chain, has no dense layer, pools
            globally, has channels first, or is built for no certain size.

    Source: section 3.1.
    """
    chain = _chain(classifier)
    height, width = _flattened_size(classifier.name, chain)
    image = x = keras.Input((None, None, classifier.input_shape[-1]), name="image")
    flat = False
    for layer in chain:
        if isinstance(layer, layers.Flatten):
            flat = True
        elif flat and isinstance(layer, layers.Dense):
            settings = {key: getattr(layer, key) for key in DENSE_SETTINGS}
            convolution = layers.Conv2D(
                layer.units, (height, width), dtype=layer.dtype_policy, **settings
            )
            x = convolution(x)
            kernel, *bias = layer.get_weights()
            kernel, bias = convolution_weights(kernel, bias, height, width)
            convolution.set_weights([kernel, *bias])
            height = width = 1  # from here on, each dense layer sees a vector
        else:
            x = _copy(layer, x)
    return keras.Model(image, x, name=f"{classifier.name}_convolutional")


def _chain(model: keras.Model) -> list[layers.Layer]:
    """List a model's layers in order, in a Sequential those of models inside it too."""
    if not getattr(model, "inputs", None):
        raise ValueError(
            f"The model {model.name!r} is not built of layers with known inputs; make "
            "it a functional or Sequential model that starts with an Input."
        )
    ordered = [x for x in model.layers if not isinstance(x, layers.InputLayer)]
    if isinstance(model, keras.Sequential):
        parts = [_chain(x) if isinstance(x, keras.Model) else [x] for x in ordered]
        return [layer for part in parts for layer in part]
    last = model.input
    for layer in ordered:
        # A layer called more than once has no `input`, a model its own one.
        if getattr(layer, "input", None) is not last:
            raise ValueError(
                f"The layer {layer.name!r} of {model.name!r} does not simply follow "
                "the one before it; only a plain chain of layers can be converted."
            )
        last = layer.output
    return ordered


def _flattened_size(name: str, chain: list[layers.Layer]) -> tuple[int, int]:
    """Return height and width of the map that is flattened; refuse what has none."""
    for layer in chain:
        if getattr(layer, "data_format", None) == "channels_first":
            raise ValueError(
                f"The layer {layer.name!r} of {name!r} has its channels first, which "
                "flattens in another order; build it with channels last."
            )
    if not any(isinstance(layer, layers.Dense) for layer in chain):
        raise ValueError(f"The model {name!r} has no dense layer; give one with some.")
    flattened = [x for x in chain if isinstance(x, layers.Flatten)]
    size = tuple(flattened[0].input.shape[1:-1]) if flattened else ()
    pooled = any(isinstance(layer, GLOBAL_POOLING) for layer in chain)
    if pooled or len(size) != 2 or None in size:
        raise ValueError(
            f"The model {name!r} pools globally or flattens no map of known height and "
            "width; build it for one image size, with Flatten before the dense layers."
        )
    admitted = (layers.Dense, *NUMBERWISE)
    for layer in chain[chain.index(flattened[0]) :]:
        if not isinstance(layer, admitted) or getattr(layer, "axis", -1) != -1:
            raise ValueError(
                f"The layer {layer.name!r} of {name!r} comes after Flatten and mixes "
                "positions, so no map of scores can pass it; leave it out."
            )
        if isinstance(layer, layers.Dense):
            admitted = POSITIONWISE
    return size


def _copy(layer: layers.Layer, x: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a new layer with the old one's settings and weights."""
    copy = type(layer).from_config(layer.get_config())
    x = copy(x)
    copy.set_weights(layer.get_weights())
    if isinstance(copy, layers.Normalization):
        copy.finalize_state()  # it works with a constant made from its weights
    return x


def bilinear_kernel(factor: int, channels: int) -> np.ndarray:
    """Make the kernel with which a transposed convolution interpolates bilinearly.

    For `Conv2DTranspose(channels, 2 * factor, strides=factor, padding="same")`: away
    from the frame it then equals resizing with half-pixel centres.

    Args:
        factor: how many times larger the map becomes, at least 1.
        channels: of the map; each is enlarged by itself.

    Returns:
        float32 (2 * factor, 2 * factor, channels, channels), zero between channels.

    Raises:
        ValueError: when factor or channels is below 1.

    Source: section 3.3.
    """
    if factor < 1 or channels < 1:
        raise ValueError(f"factor {factor} and channels {channels} must be at least 1.")
    # 'same' crops factor // 2 in front. An odd factor's triangle peaks on a pixel, and
    # its last weight is zero; an even one's peaks between the two middle pixels.
    centre = factor - 1 if factor % 2 else factor - 0.5
    triangle = 1 - np.abs(np.arange(2 * factor) - centre) / factor  # (2f,)
    square = np.outer(triangle, triangle)  # (2f, 2f)
    kernel = square[:, :, None, None] * np.eye(channels)  # (2f, 2f, C, C)
    return np.float32(kernel)


def multiply_adds(model: keras.Model, input_size: int | None = None) -> dict[str, int]:
    """Count the multiply-adds of each convolution and dense layer for one image.

    Takes a chain of layers, as `vgg16.build` and `convolutionize` return it, and the
    side of a square image in pixels, the model's own unless given. Biases are left out.
    """
    sides = (input_size, input_size) if input_size else model.input_shape[1:3]
    shape, counts = (1, *sides, 3), {}
    for layer in model.layers[1:]:
        shape = layer.compute_output_shape(shape)
        if isinstance(layer, layers.Conv2D | layers.Dense):
            counts[layer.name] = math.prod(shape[1:-1]) * math.prod(layer.kernel.shape)
    return counts
