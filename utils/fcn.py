"""FCN-32s, FCN-16s and FCN-8s on VGG16: any image size in, logits of that size out.

After Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation.
"""

import keras
from keras import layers, ops

from utils import imagenet, surgery, vgg16

CURE = 'build with weights="imagenet_convolutions" to train new ones.'
VARIANTS = ("32s", "16s", "8s", "at_once")
# The next finer variant, the layer it builds on, that one's source, its skip, stride.
FINER = {
    "32s": ("16s", "score_fc7", "fc7", "pool4", 16),
    "16s": ("8s", "fused_pool4", "pool4", "pool3", 8),
}


@keras.saving.register_keras_serializable(package="learn_fcn")
class PadToStride(layers.Layer):
    """Pads an image below and to the right until its sides divide by the stride.

    What is added has ImageNet's mean colour, so after mean subtraction it is the zero a
    convolution pads with as well. `CropToImage` takes it off again.
    """

    def __init__(self, stride: int = 32, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride
        self.input_spec = layers.InputSpec(ndim=4, axes={-1: 3})

    def call(self, image: keras.KerasTensor) -> keras.KerasTensor:
        """Return the image with H and W rounded up to multiples of the stride."""
        batch, height, width, _ = ops.shape(image)
        # The shorter (-height) % stride goes wrong in ONNX, and LiteRT lacks a
        # `ops.pad` by an amount known at run time only; so: this, and concatenation.
        below = (self.stride - height % self.stride) % self.stride
        right = (self.stride - width % self.stride) % self.stride
        mean = ops.cast(imagenet.CAFFE_MEAN, image.dtype)
        rows = ops.zeros((batch, below, width, 3), image.dtype) + mean
        image = ops.concatenate([image, rows], axis=1)
        columns = ops.zeros((batch, height + below, right, 3), image.dtype) + mean
        return ops.concatenate([image, columns], axis=2)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B, H, W, 3), H and W rounded up where known."""
        batch, *sides, _ = input_shape
        return batch, *(s and -(-s // self.stride) * self.stride for s in sides), 3

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"stride": self.stride}


@keras.saving.register_keras_serializable(package="learn_fcn")
class PadEdges(layers.Layer):
    """Repeats the outermost cells of a map once on every side."""

    def call(self, scores: keras.KerasTensor) -> keras.KerasTensor:
        """Return scores (B, H, W, C) as (B, H + 2, W + 2, C)."""
        scores = ops.concatenate([scores[:, :1], scores, scores[:, -1:]], axis=1)
        return ops.concatenate([scores[:, :, :1], scores, scores[:, :, -1:]], axis=2)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B, H + 2, W + 2, C)."""
        batch, height, width, channels = input_shape
        return batch, height and height + 2, width and width + 2, channels


@keras.saving.register_keras_serializable(package="learn_fcn")
class Upsampling(layers.Conv2DTranspose):
    """A transposed convolution that knows whether its kernel is meant to be learned.

    `trainable` does not tell: a learned one may be frozen for a while.
    """

    def __init__(self, *, learned: bool, **kwargs):
        super().__init__(**{"trainable": learned, **kwargs})
        self.learned = learned

    def get_config(self) -> dict:
        """Return what `from_config` needs."""
        return super().get_config() | {"learned": self.learned}


@keras.saving.register_keras_serializable(package="learn_fcn")
class CropToImage(layers.Layer):
    """Cuts a map to the height and width of an image, at the lower and right edge."""

    def call(self, logits_and_image: list) -> keras.KerasTensor:
        """Return logits (B, H', W', C) as (B, H, W, C) for image (B, H, W, 3)."""
        logits, image = logits_and_image
        _, height, width, _ = ops.shape(image)
        return logits[:, :height, :width]

    def compute_output_shape(self, input_shape: list) -> tuple:
        """Return (B, H, W, C)."""
        logits, image = input_shape
        return *image[:3], logits[3]


def build(
    variant: str,
    num_classes: int,
    *,
    fc_units: int = 4096,
    fc_kernel: int = 7,
    batch_norm: bool = False,
    upsampling: str = "bilinear",
    dropout: float = 0.5,
    weights: str | None = "imagenet",
) -> keras.Model:
    """Build a fully convolutional network on VGG16.

    Args:
        variant: `32s`, `16s` or `8s`, or `at_once` for a dict of all three outputs.
        num_classes: number of logits per pixel, at least 2.
        fc_units: width of fc6 and fc7.
        fc_kernel: side of fc6's kernel, 'same' padded; odd.
        batch_norm: whether the backbone's convolutions are batch-normalised.
        upsampling: `bilinear` (fixed), or `learned`, which starts bilinear.
        dropout: rate after fc6 and fc7 while training.
        weights: `imagenet` for backbone, fc6 and fc7 (as large as published);
            `imagenet_convolutions` for the backbone alone; None for random ones.

    Returns:
        A functional model: images (B, H, W, 3), RGB 0..255, of any size from 1 pixel,
        to float32 logits (B, H, W, num_classes), all zero until trained.

    Raises:
        ValueError: for an argument out of range, and when fc6 and fc7 cannot be filled.
        OSError: when the weights cannot be fetched.

    Source: Long, Shelhamer, Darrell, CVPR 2015, sections 3 and 4.
    """
    _check(variant, num_classes, fc_units, fc_kernel, upsampling, weights)
    image = keras.Input((None, None, 3), name="image")
    pooled = vgg16.backbone(PadToStride(name="pad", dtype="float32")(image), batch_norm)
    backbone = keras.Model(image, list(pooled.values()), name="backbone")
    if weights == "imagenet_convolutions":
        vgg16.load_imagenet_weights(backbone)
    if weights == "imagenet":
        # These fc6 and fc7 were trained on pool5 as it comes: no rescaling between.
        features = _fully_connected(pooled["pool5"], fc_units, fc_kernel, dropout)
        loaded = vgg16.load_imagenet_weights(keras.Model(image, features))
        if {"fc6", "fc7"} & set(loaded.unfilled):
            raise ValueError(
                f"The weights from {loaded.origin} have none for fc6 and fc7; {CURE}"
            )
    rescaled = _rescaled(backbone)
    if weights != "imagenet":
        features = _fully_connected(rescaled["pool5"], fc_units, fc_kernel, dropout)
    scores = _score(features, num_classes, "fc7")  # (B, H/32, W/32, C)
    learned = upsampling == "learned"
    outputs = {"s32": _to_image(scores, 32, image, learned)}
    if variant != "32s":
        scores = _fused(scores, "fc7", rescaled, "pool4", learned)  # (B, H/16, W/16, C)
        outputs["s16"] = _to_image(scores, 16, image, learned)
    if variant in ("8s", "at_once"):
        scores = _fused(scores, "pool4", rescaled, "pool3", learned)  # (B, H/8, W/8, C)
        outputs["s8"] = _to_image(scores, 8, image, learned)
    if variant != "at_once":
        outputs = outputs[f"s{variant[:-1]}"]
    return keras.Model(image, outputs, name=f"fcn_{variant}")


def grow(model: keras.Model) -> keras.Model:
    """Return the next finer variant, starting where this one stands.

    Every weight is copied, none shared. The new skip scores zero, so at first the new
    network enlarges the old one's scores. The skip is scaled by its features' spread
    under the weights as they are now.

    Args:
        model: a 32s or 16s made by `build` or `grow`; left as it is.

    Returns:
        The 16s or the 8s.

    Raises:
        ValueError: when there is no finer variant.

    Source: Long, Shelhamer, Darrell, CVPR 2015, section 4.2.
    """
    coarse = variant_of(model)
    if coarse not in FINER:
        raise ValueError(f"Nothing is finer than {model.name!r}; grow a 32s or a 16s.")
    copy = clone(model)
    learned = copy.get_layer(f"up{coarse[:-1]}").learned
    finer, last, source, skip, stride = FINER[coarse]
    scores = _fused(copy.get_layer(last).output, source, _rescaled(copy), skip, learned)
    logits = _to_image(scores, stride, copy.input, learned)
    return keras.Model(copy.input, logits, name=f"fcn_{finer}")


def clone(model: keras.Model) -> keras.Model:
    """Return an independent copy of a network, not compiled."""
    bare = keras.Model(model.input, model.output, name=model.name)
    copy = keras.models.clone_model(bare)
    copy.set_weights(model.get_weights())
    return copy


def variant_of(model: keras.Model) -> str:
    """Tell which variant of `build` or `grow` a model is; else raise ValueError."""
    names = {layer.name for layer in model.layers}
    variants = [v for v in VARIANTS if f"s{v[:-1]}" in names]
    if not variants:
        raise ValueError(f"The model {model.name!r} is no network of fcn.build.")
    return variants[0] if len(variants) == 1 else "at_once"


def upsample(scores, factor: int, name: str, learned: bool = False):
    """Enlarge a map by a transposed convolution that starts as bilinear interpolation.

    A 'same' transposed convolution alone fades towards zero at the frame. With the
    edges repeated first and cut off after, it equals `tf.image.resize` everywhere.

    Args:
        scores: (B, H, W, C).
        factor: how many times larger.
        name: of the transposed convolution.
        learned: whether its kernel is trained.

    Returns:
        (B, factor * H, factor * W, C), float32.

    Source: Long, Shelhamer, Darrell, CVPR 2015, section 3.3.
    """
    kernel = surgery.bilinear_kernel(factor, scores.shape[-1])
    options = {"filters": scores.shape[-1], "kernel_size": 2 * factor, "name": name}
    options |= {"strides": factor, "padding": "same", "use_bias": False}
    enlarge = Upsampling(learned=learned, dtype="float32", **options)
    scores = PadEdges(dtype="float32", name=f"{name}_pad")(scores)
    scores = enlarge(scores)  # (B, factor * (H + 2), factor * (W + 2), C)
    enlarge.set_weights([kernel])
    return layers.Cropping2D(factor, dtype="float32", name=f"{name}_crop")(scores)


def _fully_connected(pool5, units: int, kernel: int, dropout: float):
    """Apply the classifier's two hidden layers as convolutions: (B, H, W, units)."""
    x, options = pool5, {"activation": "relu", "kernel_initializer": "he_normal"}
    for name, side in (("fc6", kernel), ("fc7", 1)):
        x = layers.Conv2D(units, side, padding="same", name=name, **options)(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    return x


def _score(features, num_classes: int, source: str):
    """Score every position, zero at first, in float32 under any policy."""
    options = {"kernel_initializer": "zeros", "dtype": "float32"}
    return layers.Conv2D(num_classes, 1, name=f"score_{source}", **options)(features)


def _rescaled(backbone: keras.Model) -> dict:
    """Divide pool3, pool4 and pool5 by their spread under the weights in use."""
    # Batch normalisation sees to the scale itself, and differently once trained.
    normalised = any("_bn" in layer.name for layer in backbone.layers)
    ones, rescaled = {"pool3": 1.0, "pool4": 1.0, "pool5": 1.0}, {}
    for name, size in (ones if normalised else vgg16.feature_spread(backbone)).items():
        pool = backbone.get_layer(f"block{name[-1]}_pool").output
        rescaled[name] = layers.Rescaling(1 / size, name=f"{name}_rescaled")(pool)
    return rescaled


def _fused(scores, source: str, rescaled: dict, skip: str, learned: bool):
    """Enlarge scores twofold and add those of a skip, which start at zero."""
    upsampled = upsample(scores, 2, f"up2_{source}", learned)
    skipped = _score(rescaled[skip], scores.shape[-1], skip)
    return layers.Add(dtype="float32", name=f"fused_{skip}")([upsampled, skipped])


def _to_image(scores, stride: int, image, learned: bool):
    """Enlarge scores to the image's size: (B, H, W, C)."""
    logits = upsample(scores, stride, f"up{stride}", learned)
    return CropToImage(dtype="float32", name=f"s{stride}")([logits, image])


def _check(variant, num_classes, fc_units, fc_kernel, upsampling, weights) -> None:
    """Refuse arguments of `build` that cannot work, in one sentence each."""
    for name, value, choices in (
        ("Variant", variant, VARIANTS),
        ("Upsampling", upsampling, ("bilinear", "learned")),
        ("Weights", weights, ("imagenet", "imagenet_convolutions", None)),
    ):
        if value not in choices:
            raise ValueError(f"{name} {value!r} is unknown; take one of {choices}.")
    if num_classes < 2:
        raise ValueError(
            f"num_classes is {num_classes}; segmentation needs at least 2."
        )
    if fc_units < 1 or fc_kernel < 1 or fc_kernel % 2 == 0:
        found = f"fc_units is {fc_units} and fc_kernel {fc_kernel}"
        raise ValueError(f"{found}; take at least 1 unit and an odd kernel.")
    if weights == "imagenet" and (fc_units, fc_kernel) != (4096, 7):
        raise ValueError(
            f"ImageNet's dense weights fill an fc6 of 4096 7x7 filters, not {fc_units} "
            f"of {fc_kernel}x{fc_kernel}; {CURE}"
        )
