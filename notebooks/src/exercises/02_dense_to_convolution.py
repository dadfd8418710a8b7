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
# Two exercises on small random networks. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np
from keras import layers

from utils import environment

DATASET, SEED = "numbers made by the cells", 0
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
    kernel = ported(weight, height, width)
    assert kernel is not None, "Your function returns nothing yet: write its line."
    shape = (height, width, channels, units)
    assert np.shape(kernel) == shape, (
        f"A Keras kernel for this map is {shape}, yours is {np.shape(kernel)}. Split "
        "the inputs into three axes first, then put the axes into Keras's order."
    )
    scores = keras.ops.conv(feature[None], kernel)[0, 0, 0].numpy()  # (units,)
    orders = {"right": (2, 0, 1), "channels last": (0, 1, 2), "transposed": (2, 1, 0)}
    answers = {k: weight @ feature.transpose(v).ravel() for k, v in orders.items()}
    assert not (channels > 1 and np.allclose(scores, answers["channels last"])), (
        "The shape is right, the answers are not: this reads the inputs as Keras "
        "flattens them. Which of the three axes moves slowest in the sender's order?"
    )
    assert height == 1 or not np.allclose(scores, answers["transposed"]), (
        "Nearly: the channels are where they belong, but rows and columns have changed "
        "places. A square map would have hidden that."
    )
    assert np.allclose(scores, answers["right"], atol=1e-4), (
        "The shape is right, the answers are not: some weights meet the wrong input. "
        "Try it on paper, with a map of 1x2 and two channels."
    )
print("Right: the same scores as the sender's layer, on maps of three shapes.")

# %% [markdown] tags=["why"]
# `reshape` never moves a number, it only puts brackets around them. So bracket in the
# order in which they lie, units, channel, row, column, and let `transpose` do the
# moving. The wrong order gives the right shape as well. That is why a port is finished
# when its answers agree, and not when it runs.

# %% [markdown]
# ## 2. Shift and stitch ★★★
#
# *Explore.* A convolutional network of stride 4 gives one score for every fourth pixel.
# The series' cure for coarse maps waits in notebook 03. But there is another, older one
# that needs no new layer, only patience: ask the network again about the *shifted*
# photo.
#
# Here is a small network without any padding. Its window is 14 pixels, its stride 4, so
# its map has the scores of the windows at 0, 4, 8, ...

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
image = generator.uniform(size=(29, 37, 3)).astype("float32")  # (H, W, 3)
print("one window", network(image[None, :14, :14]).shape)  # (1, 1, 1, 2)
print("the image ", network(image[None]).shape)  # (1, 4, 6, 2)

# %% [markdown]
# Fill a map with the score of **every** window, one for each pixel it can start at. You
# may call the network sixteen times, each time on the whole image or most of it.


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
for size in ((29, 37), (31, 34)):
    photo = generator.uniform(size=(*size, 3)).astype("float32")
    stitched = np.array(every_score(network, photo))
    rows, columns = size[0] - 13, size[1] - 13
    assert stitched.any(), "The map is still empty: fill it in."
    assert stitched.shape == (rows, columns, 2), (
        f"For an image of {size} the map should be {(rows, columns, 2)}: one place for "
        f"each pixel at which a window can start. Yours is {stitched.shape}."
    )
    starts = np.stack(np.mgrid[:rows, :columns], axis=-1).reshape(-1, 2)
    windows = np.stack([photo[y : y + 14, x : x + 14] for y, x in starts])
    truth = network(windows).numpy().reshape(rows, columns, 2)
    same = np.isclose(stitched, truth, atol=1e-5).all(-1)  # (rows, columns)
    flat = np.isclose(stitched[:4, :4], stitched[0, 0]).all()
    assert same.all() or not flat, (
        "Every fourth score is right, and the others repeat it. Their windows start "
        "somewhere else: what must the network be shown so that its first window does?"
    )
    diagonal = (starts[:, 0] % 4 == starts[:, 1] % 4).reshape(rows, columns)
    assert same.all() or not same[diagonal].all(), (
        "Right where both shifts are equal, and nowhere else. Which shift belongs to "
        "the rows of the map?"
    )
    assert same.all(), (
        f"{same.mean():.0%} of the scores are right. Follow one of the others: of the "
        "photo you show, where does the first window start in the photo you were given?"
    )
print("Right: every window has its score, exactly.")

# %% [markdown] tags=["why"]
# The map of a photo that lacks its first `top` rows begins with the window at row
# `top`, and goes on in steps of four. So it fills the rows `top`, `top + 4`, ..., and
# the sixteen maps interleave to all of them. Nothing is interpolated: each score is the
# one its own window would get.
#
# The FCN paper discusses this (section 3.2) and does without: for stride 4 it takes
# sixteen passes, for stride 32 it would take 1,024, and the authors found an
# enlargement that is part of the training more effective.
