# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Dense layers become convolutions
#
# Two exercises on small random networks, the second on your own photo. Nothing is
# downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np
from keras import layers

from utils import environment, pets, photos

DATASET, SEED = "numbers made by the cells, one photo", 0
PHOTO = ""  # path of a photo of yours; without one, Chelsea
photo = photos.read(PHOTO) if PHOTO else pets.chelsea()[0]  # (H, W, 3) uint8
print(environment.prepare(SEED))
generator = np.random.default_rng(SEED)

# %% [markdown]
# ## 1. A dense layer from elsewhere ★★☆
#
# *Complete.* Somebody sends you a classifier from PyTorch. Two things are different
# there. A dense layer keeps its weights as (units, inputs), and a map is flattened as
# it is stored, **channels first**: input number $(c \cdot H + y) \cdot W + x$ is
# channel $c$ at position $(y, x)$, with $H$ and $W$ the map's height and width.
#
# Turn these weights into the kernel of a Keras convolution as large as the map. A map
# need not be square.


# %% tags=["stub"]
def ported(weight, height, width):
    """Turn weights (units, C * H * W) into a kernel (H, W, C, units)."""
    return None  # your line


# %% tags=["solution"]
def ported(weight, height, width):
    """Turn weights (units, C * H * W) into a kernel (H, W, C, units)."""
    split = weight.reshape(len(weight), -1, height, width)  # (units, C, H, W)
    return split.transpose(2, 3, 1, 0)  # (H, W, C, units)


# %% tags=["also"]
def ported(weight, height, width):
    split = keras.ops.reshape(weight.T, (-1, height, width, len(weight)))
    return keras.ops.moveaxis(split, 0, 2)


# %% tags=["wrong"]
def ported(weight, height, width):
    return weight.T.reshape(height, width, -1, len(weight))


# %% tags=["wrong"]
def ported(weight, height, width):
    return weight.reshape(len(weight), -1, width, height).transpose(3, 2, 1, 0)


# %% tags=["wrong"]
def ported(weight, height, width):
    return weight.reshape(len(weight), -1, height, width)


# %% tags=["check"]
for height, width, channels, units in ((2, 3, 4, 5), (3, 3, 2, 7), (1, 4, 6, 2)):
    feature = generator.normal(size=(height, width, channels))  # (H, W, C)
    weight = generator.normal(size=(units, feature.size))
    theirs = weight @ feature.transpose(2, 0, 1).ravel()  # (units,), channels first
    kernel = ported(weight, height, width)
    assert kernel is not None, "Your function returns nothing yet: write its line."
    shape = (height, width, channels, units)
    assert np.shape(kernel) == shape, f"A kernel of shape {shape} is needed."
    feature, kernel = np.float32(feature), np.float32(kernel)
    scores = keras.ops.conv(feature[None], kernel)[0, 0, 0].numpy()  # (units,)
    assert np.allclose(scores, theirs, atol=1e-4), (
        f"The shape is right, the scores are not (map {height}x{width}, {channels} "
        "channels). Which axis moves slowest in the sender's order?"
    )
print("Right: the same scores as the sender's layer, on maps of three shapes.")

# %% [markdown] tags=["why"]
# `reshape` keeps the numbers in their order. So split them first in the order in which they
# are stored: units, channel, row, column. `transpose` then moves the axes. The wrong order
# gives the right shape too, so compare scores, not shapes.

# %% [markdown]
# ## 2. Shift and stitch ★★★
#
# *Explore.* A network of stride 4 gives one score for every fourth pixel. There is a way to
# a score for every pixel that needs no new layer: ask the network again about a photo that
# is moved by a few pixels.
#
# Here is a small network without padding. Its window is 14 pixels and its stride 4, so its
# map has the scores of the windows at 0, 4, 8, ...

# %%
network = keras.Sequential(
    [
        keras.Input((None, None, 3)),
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(2, 2),  # scores of two classes
    ]
)
small = keras.ops.image.resize(photo.astype("float32"), (29, 37), antialias=True)
image = small.numpy() / 255  # (H, W, 3)
print("one window", network(image[None, :14, :14]).shape)  # (1, 1, 1, 2)
print("the image ", network(image[None]).shape)  # (1, 4, 6, 2)

# %% [markdown]
# Fill a map with the score of **every** window: `scores[y, x]` belongs to the window whose
# upper left pixel is (y, x). Call the network at most sixteen times, each time on the whole
# image or most of it.


# %% tags=["stub"]
def every_score(network, image):
    """Return the scores of all windows of 14 pixels: (H - 13, W - 13, 2)."""
    height, width, _ = image.shape
    scores = np.zeros((height - 13, width - 13, 2), "float32")
    # your lines
    return scores


# %% tags=["solution"]
def every_score(network, image):
    """Return the scores of all windows of 14 pixels: (H - 13, W - 13, 2)."""
    height, width, _ = image.shape
    scores = np.zeros((height - 13, width - 13, 2), "float32")
    for top, left in np.ndindex(4, 4):
        # Cut off `top` rows: the first window now starts at row `top`.
        scores[top::4, left::4] = network(image[None, top:, left:])[0]
    return scores


# %% tags=["also"]
def every_score(network, image):
    height, width, _ = image.shape
    padded = np.pad(image, ((0, 6), (0, 6), (0, 0)))  # whole groups of four fit
    maps = [network(padded[None, y:, x:])[0] for y in range(4) for x in range(4)]
    rows, columns = (height - 10) // 4, (width - 10) // 4
    maps = np.stack([one[:rows, :columns] for one in maps])  # (16, rows, columns, 2)
    maps = maps.reshape(4, 4, rows, columns, 2).transpose(2, 0, 3, 1, 4)
    return maps.reshape(4 * rows, 4 * columns, 2)[: height - 13, : width - 13]


# %% tags=["wrong"]
def every_score(network, image):
    coarse = network(image[None])[0].numpy()
    fine = coarse.repeat(4, axis=0).repeat(4, axis=1)
    return fine[: image.shape[0] - 13, : image.shape[1] - 13]


# %% tags=["wrong"]
def every_score(network, image):
    height, width, _ = image.shape
    scores = np.zeros((height - 13, width - 13, 2), "float32")
    for top, left in np.ndindex(4, 4):
        scores[left::4, top::4] = network(image[None, top:, left:])[0]
    return scores


# %% tags=["wrong"]
def every_score(network, image):
    height, width, _ = image.shape
    scores = np.zeros((height - 13, width - 13, 2), "float32")
    for top, left in np.ndindex(4, 4):
        moved = np.roll(image, (top, left), axis=(0, 1))
        scores[top::4, left::4] = network(moved[None])[0]
    return scores


# %% tags=["check"]
for height, width in ((29, 37), (31, 34)):
    other = keras.ops.image.resize(image, (height, width)).numpy()
    calls = []

    def counted(images, calls=calls):
        calls.append(images.shape)
        return network(images)

    stitched = np.array(every_score(counted, other))
    assert len(calls) <= 16, f"You called the network {len(calls)} times."
    assert stitched.any(), "The map is still empty: fill it in."
    assert stitched.shape == (height - 13, width - 13, 2), "One score for each window."
    for top, left in np.ndindex(height - 13, width - 13):
        score = network(other[None, top : top + 14, left : left + 14])[0, 0, 0]
        assert np.allclose(stitched[top, left], score, atol=1e-5), (
            f"The window at row {top}, column {left} has another score. Of the photo "
            "that the network is shown to get it, where does the first window start?"
        )
print("Right: every window has its score.")

# %% [markdown] tags=["why"]
# The map of a photo without its first `top` rows begins with the window at row `top`, and
# goes on in steps of four. So it fills the rows `top`, `top + 4`, ... The sixteen maps
# together fill all of them, with the scores of the windows themselves.
#
# The FCN paper discusses this (section 3.2). For stride 4 it takes sixteen passes, for
# stride 32 it would take 1,024. The authors found it more effective to enlarge the map
# inside the network, which is the subject of page 03.
