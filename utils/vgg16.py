"""VGG16 for plain RGB images of 0..255, with ImageNet weights from two places."""

import dataclasses

import keras
import numpy as np
import skimage
from keras import layers

from utils.imagenet import CAFFE_MEAN, imagenet_weights

# Per block: how many convolutions, how many filters each.
BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# The FCN paper numbers the dense layers on from the thirteen convolutions' five blocks.
PUBLISHED_NAMES = {"fc6": "fc1", "fc7": "fc2"}
PUBLISHED_SIZES = {"fc1": 25088 * 4096, "fc2": 4096 * 4096, "predictions": 4096 * 1000}


@keras.saving.register_keras_serializable(package="learn_fcn")
class MeanSubtraction(layers.Layer):
    """Subtracts one mean per colour, which is a weight and comes with the others.

    Caffe's and torchvision's means differ by up to half a grey level, and the zeros
    that a convolution pads around the photo stand for exactly that mean.
    `keras.layers.Normalization` makes a constant of its mean when it is built or
    loaded, so `set_weights` and functions already traced would keep an old one.
    """

    def build(self, input_shape: tuple) -> None:
        """Create the mean, Caffe's until weights are loaded."""
        self.mean = self.add_weight(
            name="mean",
            shape=(input_shape[-1],),
            initializer=lambda shape, dtype: keras.ops.cast(CAFFE_MEAN, dtype),
            trainable=False,
        )

    def call(self, image: keras.KerasTensor) -> keras.KerasTensor:
        """Return image (B, H, W, 3) minus mean (3,)."""
        return image - self.mean

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the image."""
        return input_shape


def backbone(image, batch_norm: bool = False) -> dict[str, keras.KerasTensor]:
    """Apply VGG16's five blocks of convolutions.

    Args:
        image: (B, H, W, 3), RGB 0..255, any height and width from 32 px.
        batch_norm: whether each convolution is followed by batch normalisation.

    Returns:
        `pool1` (B, H/2, W/2, 64) to `pool5` (B, H/32, W/32, 512), sides rounded down.

    Raises:
        ValueError: when Keras is set to channels first or to 16-bit weights.

    Source: Simonyan, Zisserman: Very deep convolutional networks for large-scale image
    recognition, ICLR 2015, table 1, column D.
    """
    order = keras.config.image_data_format()
    kept = keras.config.dtype_policy().variable_dtype
    if (order, kept) != ("channels_last", "float32"):
        raise ValueError(
            f"Keras is set to {order} and weights in {kept}, by keras.json perhaps; "
            "these networks need channels_last and float32: call environment.prepare."
        )
    # In float32 under any policy: bfloat16 cannot tell 254 from 255.
    x = MeanSubtraction(name="mean_subtraction", dtype="float32")(image)
    relu = None if batch_norm else "relu"
    pooled = {}
    for block, (depth, filters) in enumerate(BLOCKS, start=1):
        for number in range(1, depth + 1):
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(filters, 3, padding="same", activation=relu, name=name)(x)
            if batch_norm:  # the convolution's bias stays all the same: ImageNet's fits
                x = layers.BatchNormalization(name=name.replace("conv", "bn"))(x)
                x = layers.ReLU(name=name.replace("conv", "relu"))(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        pooled[f"pool{block}"] = x
    return pooled


def build(
    num_classes: int = 1000, *, fc_units: int = 4096, input_size: int = 224
) -> keras.Model:
    """Build the VGG16 classifier with random weights.

    Args:
        num_classes: number of logits.
        fc_units: width of fc1 and fc2.
        input_size: side of the square input image in pixels, at least 32.

    Returns:
        A functional model: images (B, input_size, input_size, 3), RGB 0..255, to
        float32 logits (B, num_classes); layers are named as in
        `keras.applications.VGG16`.

    Raises:
        ValueError: for an argument out of range.

    Source: as of `backbone`.
    """
    if num_classes < 1 or fc_units < 1 or input_size < 32:
        raise ValueError(
            f"num_classes is {num_classes} and fc_units {fc_units}, which must be at "
            f"least 1; input_size is {input_size}, which must be 32 or more."
        )
    image = keras.Input((input_size, input_size, 3), name="image")
    x = backbone(image)["pool5"]
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = layers.Dense(fc_units, activation="relu", name=name)(x)
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    logits = layers.Dense(num_classes, name="predictions", dtype="float32")(x)
    return keras.Model(image, logits, name="vgg16")


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """What `load_imagenet_weights` did; printing it says so in one sentence.

    Attributes:
        origin: one phrase saying where the weights come from.
        filled: names of the layers that now hold ImageNet weights.
        unfilled: names of the layers with weights that keep the ones they had.
    """

    origin: str
    filled: tuple[str, ...]
    unfilled: tuple[str, ...]

    def __str__(self) -> str:
        rest = f"; not filled: {', '.join(self.unfilled)}" if self.unfilled else ""
        return f"{len(self.filled)} layers filled from {self.origin}{rest}."


def load_imagenet_weights(model: keras.Model, source: str = "auto") -> LoadedWeights:
    """Fill every layer whose name and shape the ImageNet weights have.

    Keras's file with dense layers (553 MB instead of 59 MB) is fetched when the model
    has an `fc1` (or `fc6`), `fc2` (`fc7`) or `predictions` of the published size, as a
    dense layer or as the convolution it turns into; the package index has none of them.

    Args:
        model: made by `build`, or containing `backbone`; changed in place.
        source: `auto`, `keras` or `package_index`, see `imagenet.imagenet_weights`.

    Returns:
        What was filled from where, and what was not.

    Raises:
        ValueError: when the model has no layer `mean_subtraction`.
        OSError: when the weights cannot be fetched, checked or stored.
    """
    by_name = {layer.name: layer for layer in model.layers if layer.weights}
    if "mean_subtraction" not in by_name:
        raise ValueError(
            f"The model {model.name!r} has no layer 'mean_subtraction', so its inputs "
            "would not suit the weights; make it with vgg16.build or vgg16.backbone."
        )
    dense = any(
        PUBLISHED_SIZES.get(PUBLISHED_NAMES.get(name, name))
        == np.prod(layer.weights[0].shape)
        for name, layer in by_name.items()
    )
    origin, arrays = imagenet_weights(source, dense)
    by_name.pop("mean_subtraction").set_weights(arrays["mean_subtraction"])
    filled = tuple(
        name
        for name, layer in by_name.items()
        if _fill(layer, arrays.get(PUBLISHED_NAMES.get(name, name)))
    )
    unfilled = tuple(name for name in by_name if name not in filled)
    return LoadedWeights(origin, filled, unfilled)


def _fill(layer: layers.Layer, arrays: list[np.ndarray] | None) -> bool:
    """Assign kernel and bias where they fit; say whether they did."""
    if arrays is None or len(layer.weights) != 2:
        return False
    kernel, bias = arrays
    shape = tuple(layer.kernel.shape)
    # A dense kernel (H*W*C, units) is a convolution's (H, W, C, units), in this order.
    if kernel.shape not in (shape, (np.prod(shape[:-1]), shape[-1])):
        return False
    layer.set_weights([kernel.reshape(shape), bias])
    return True


def feature_spread(model: keras.Model) -> dict[str, float]:
    """Measure how large the features of a backbone are, under the weights it holds.

    Args:
        model: contains `backbone`; takes RGB 0..255.

    Returns:
        Standard deviation of `pool3`, `pool4` and `pool5` over all positions and
        channels, on the cat of scikit-image resized to the model's input size (224 px
        where it takes any).
    """
    size = tuple(side or 224 for side in model.input_shape[1:3])
    cat = np.float32(skimage.data.chelsea())[None]  # (1, 300, 451, 3)
    cat = keras.ops.image.resize(cat, size, antialias=True)
    names = ("pool3", "pool4", "pool5")
    pooled = [model.get_layer(f"block{name[-1]}_pool").output for name in names]
    features = keras.Model(model.input, pooled)(cat, training=False)
    return {
        name: float(np.std(np.float64(keras.ops.convert_to_numpy(feature))))
        for name, feature in zip(names, features, strict=True)
    }
