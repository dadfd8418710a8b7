# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Skip connections: FCN-16s and FCN-8s
#
# Two exercises on networks with random weights. Nothing is downloaded, and nothing is
# trained.

# %% tags=["setup"]

# %%
import keras
import numpy as np
import skimage.data
import tensorflow as tf
from keras import layers

from utils import environment, fcn

DATASET, SEED = "noise, and the cat of scikit-image", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Photos that do not fit ★★☆
#
# *Predict.* Somebody leaves the padding out. Without it VGG16's poolings halve a
# photo's height five times, each rounding down; `fc6` is 1x1. At the first skip the
# scores of `pool5` are enlarged by two and meet those of `pool4`; at the second the sum
# is enlarged by two and meets those of `pool3`. Where two heights differ, the program
# stops.
#
# Photos from the street have all heights. Of the 32 heights from 224 to 255 pixels, how
# many get through **both** additions?

# %% tags=["stub"]
heights_that_fit = None

# %% tags=["solution"]
heights_that_fit = 8  # 224 to 231

# %% tags=["wrong"]
heights_that_fit = 1

# %% tags=["wrong"]
heights_that_fit = 16

# %% tags=["wrong"]
heights_that_fit = 4

# %% tags=["check"]
assert heights_that_fit is not None, "Write a number, then run this again."
pooling = layers.MaxPooling2D(2)
meets = {"first": [], "both": []}
for height in range(224, 256):
    sizes = [height]  # of the photo, pool1, ..., pool5
    for _ in range(5):
        sizes.append(pooling.compute_output_shape((1, sizes[-1], 224, 8))[1])
    meets["first"].append(2 * sizes[5] == sizes[4])
    meets["both"].append(2 * sizes[5] == sizes[4] and 2 * sizes[4] == sizes[3])
truth = sum(meets["both"])
assert heights_that_fit != sum(meets["first"]) or heights_that_fit == truth, (
    "That many get through the first addition. Do they all get through the second?"
)
assert heights_that_fit > 1, (
    "One that does, 224, is plain. What does a pooling make of 225: is the odd row "
    "lost at once, or does it trouble the maps that come later?"
)
assert heights_that_fit == truth, (
    f"Not {heights_that_fit}. Write down pool3, pool4 and pool5 for 224, 232 and 240. "
    "At which heights does pool3 change, and when does twice pool4 follow it?"
)
print(f"Right: {truth} of 32, and none of those but 224 gets a mask of its own height.")

# %% [markdown] tags=["why"]
# `pool3` has $\lfloor h/8 \rfloor$ rows of a photo of height $h$, and twice the rows of
# `pool4`, doubled from `pool5`, are a multiple of four. So $\lfloor h/8 \rfloor$ must
# be one: 28, which is the heights 224 to 231. The widths must fit too, so of photos of
# any size one in sixteen gets through, and then its mask is up to seven rows short. A
# bug that shows at once on 15 of 16 photos is a kind one. Where the data are resized to
# 224 pixels, nobody meets it until the network leaves home.

# %% [markdown]
# ## 2. One further: FCN-4s ★★★
#
# *Complete.* The paper stops at 8s. You need not: `pool2` has a cell for each 4 pixels.
# Grow an FCN-4s from an FCN-8s, as `fcn.grow` would:
#
# - the new network has all that the 8s learned, and shares no layer with it,
# - `pool2` gets scores of its own, from a 1x1 convolution that starts at zero,
# - the features it scores come in at a spread of about 1 (measure it: `cat` is a
#   photo),
# - any size of photo gives logits of that size.
#
# The 8s' layers that you need are `block2_pool` and `fused_pool3`, its finest scores.
# Use `fcn.clone`, `fcn.upsample` and `fcn.CropToImage`, and layers of Keras. (Random
# score layers stand in for trained ones, so that there is something to compare.)

# %%
fcn8s = fcn.build("8s", 3, fc_units=16, fc_kernel=1, weights=None)
generator = np.random.default_rng(SEED)
for name in ("score_fc7", "score_pool4", "score_pool3"):
    layer = fcn8s.get_layer(name)
    layer.set_weights([generator.normal(0, 0.1, w.shape) for w in layer.get_weights()])
cat = tf.image.resize(skimage.data.chelsea(), (96, 144))[None]  # (1, H, W, 3)
print(fcn8s.get_layer("block2_pool").output.shape, fcn8s(cat).shape)


# %% tags=["stub"]
def grown_to_4s(fcn8s, cat):
    """Return an FCN-4s that starts where this FCN-8s stands."""
    return None  # your lines


# %% tags=["solution"]
def grown_to_4s(fcn8s, cat):
    """Return an FCN-4s that starts where this FCN-8s stands."""
    copy = fcn.clone(fcn8s)
    image, pool2 = (
        copy.input,
        copy.get_layer("block2_pool").output,
    )  # (B, H/4, W/4, 128)
    spread = float(np.std(keras.Model(image, pool2)(cat)))
    coarse = copy.get_layer("fused_pool3").output  # (B, H/8, W/8, C)
    twice = fcn.upsample(coarse, 2, name="up2_pool3")  # (B, H/4, W/4, C)
    features = layers.Rescaling(1 / spread, name="pool2_rescaled")(pool2)
    score_layer = layers.Conv2D(
        coarse.shape[-1], 1, kernel_initializer="zeros", name="score_pool2"
    )
    fused = layers.Add(name="fused_pool2")([twice, score_layer(features)])
    logits = fcn.upsample(fused, 4, name="up4")  # (B, H', W', C)
    return keras.Model(
        image, fcn.CropToImage(name="s4")([logits, image]), name="fcn_4s"
    )


# %% tags=["also"]
def grown_to_4s(fcn8s, cat):
    network = fcn.build("8s", 3, fc_units=16, fc_kernel=1, weights=None)
    network.set_weights(fcn8s.get_weights())
    for pool in ("pool3", "pool4", "pool5"):
        scale = fcn8s.get_layer(f"{pool}_rescaled").scale
        network.get_layer(f"{pool}_rescaled").scale = scale
    pool2 = network.get_layer("block2_pool").output
    normalized = layers.Normalization(axis=None)
    normalized.adapt(keras.Model(network.input, pool2)(cat))
    score_layer = layers.Conv2D(3, 1, kernel_initializer="zeros")
    fine = score_layer(normalized(pool2))
    coarse = fcn.upsample(network.get_layer("fused_pool3").output, 2, name="twice")
    logits = fcn.upsample(fine + coarse, 4, name="four_times")
    return keras.Model(network.input, fcn.CropToImage()([logits, network.input]))


# %% tags=["wrong"]
def grown_to_4s(fcn8s, cat):
    copy = fcn.clone(fcn8s)
    pool2 = copy.get_layer("block2_pool").output
    twice = fcn.upsample(copy.get_layer("fused_pool3").output, 2, name="up2_pool3")
    spread = float(np.std(keras.Model(copy.input, pool2)(cat)))
    scores = layers.Conv2D(3, 1)(layers.Rescaling(1 / spread)(pool2))
    logits = fcn.upsample(layers.Add()([twice, scores]), 4, name="up4")
    return keras.Model(copy.input, fcn.CropToImage()([logits, copy.input]))


# %% tags=["wrong"]
def grown_to_4s(fcn8s, cat):
    pool2 = fcn8s.get_layer("block2_pool").output
    twice = fcn.upsample(fcn8s.get_layer("fused_pool3").output, 2, name="up2_pool3")
    spread = float(np.std(keras.Model(fcn8s.input, pool2)(cat)))
    scores = layers.Conv2D(3, 1, kernel_initializer="zeros")(
        layers.Rescaling(1 / spread)(pool2)
    )
    logits = fcn.upsample(layers.Add()([twice, scores]), 4, name="up4")
    return keras.Model(fcn8s.input, fcn.CropToImage()([logits, fcn8s.input]))


# %% tags=["wrong"]
def grown_to_4s(fcn8s, cat):
    copy = fcn.clone(fcn8s)
    pool2 = copy.get_layer("block2_pool").output
    twice = fcn.upsample(copy.get_layer("fused_pool3").output, 2, name="up2_pool3")
    scores = layers.Conv2D(3, 1, kernel_initializer="zeros")(pool2)
    logits = fcn.upsample(layers.Add()([twice, scores]), 4, name="up4")
    return keras.Model(copy.input, fcn.CropToImage()([logits, copy.input]))


# %% tags=["wrong"]
def grown_to_4s(fcn8s, cat):
    copy = fcn.clone(fcn8s)
    pool2 = copy.get_layer("block2_pool").output
    twice = fcn.upsample(copy.get_layer("fused_pool3").output, 2, name="up2_pool3")
    spread = float(np.std(keras.Model(copy.input, pool2)(cat)))
    scores = layers.Conv2D(3, 1, kernel_initializer="zeros")(
        layers.Rescaling(1 / spread)(pool2)
    )
    logits = fcn.upsample(layers.Add()([twice, scores]), 4, name="up4")
    return keras.Model(copy.input, logits)


# %% tags=["wrong"]
def grown_to_4s(fcn8s, cat):
    return fcn.clone(fcn8s)


# %% tags=["check"]
fcn4s = grown_to_4s(fcn8s, cat)
assert fcn4s is not None, "Your function returns nothing yet: write its lines."
odd = generator.uniform(0, 255, (1, 70, 90, 3)).astype("float32")  # (B, H, W, 3)
logits = fcn4s(odd)
assert logits.shape == (1, 70, 90, 3), (
    f"A photo of 70x90 should give logits of 70x90 for 3 classes, not {logits.shape}. "
    "The network pads inside; what takes that off again?"
)
new = [
    layer
    for layer in fcn4s.layers
    if layer.weights and tuple(layer.weights[0].shape) == (1, 1, 128, 3)
]
assert len(new) == 1, (
    "There should be one 1x1 convolution from the 128 channels of pool2 to 3 scores; "
    f"I find {len(new)}. Where does pool2 enter?"
)
assert not {id(w) for w in fcn4s.weights} & {id(w) for w in fcn8s.weights}, (
    "The two networks share layers: training the 4s would change the 8s behind its "
    "back. What makes an independent network of the same weights?"
)
fine = keras.Input((None, None, 3))
chain = keras.Model(fine, fcn.upsample(fcn.upsample(fine, 2, "x2"), 4, "x4"))
finest = keras.Model(fcn8s.input, fcn8s.get_layer("fused_pool3").output)
start = chain(finest(odd))[:, :70, :90].numpy()  # (1, H, W, 3)
assert np.allclose(logits, start, atol=1e-4 * np.ptp(start)), (
    "At the start it should say what the 8s' own finest scores say, enlarged by 2 and "
    "by 4. Something else is in the sum. What does a new score layer add before it "
    "has learned?"
)
heard = keras.Model(fcn4s.input, new[0].input)
spread = float(np.std(heard(cat)))
assert 0.5 < spread < 2, (
    f"It starts right. But the new layer sees features of spread {spread:.3g}, so it "
    "would learn at another pace than its sisters. Divide by what you measure on the "
    "cat."
)
print(f"Right: an FCN-4s, with {new[0].count_params()} new weights.")

# %% [markdown] tags=["why"]
# It is the page's recipe once more: copy, enlarge the finest scores by two, add the
# scores of the next pooling, enlarge the rest of the way, crop. A skip that starts at
# zero changes nothing at first, so training goes on from where the 8s stood. Layers,
# unlike arrays, are shared when you build on them, hence `fcn.clone`. And the price is
# 387 weights. Whether it buys anything is a question to your validation photos: see
# page 05, section 9, before you believe a stage's advantage.
