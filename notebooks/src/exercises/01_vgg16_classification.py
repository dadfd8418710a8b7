# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # VGG16, and a mask from a classifier
#
# Two exercises: one on paper, one on your own photo. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np
from keras import layers

from utils import environment, pets, photos, plots

DATASET, SEED = "numbers made by the cells, one photo", 0
PHOTO = ""  # path of a photo of yours; without one, Chelsea
photo = photos.read(PHOTO) if PHOTO else pets.chelsea()[0]  # (H, W, 3) uint8
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Three small kernels, or one large? ★☆☆
#
# *Predict.* Compare two ways through a map of 64 channels: **one** convolution of 7x7 with
# 64 filters, or **three** of 3x3 with 64 filters each, one after the other.
#
# How wide is the square of input cells that one output cell of the *three* depends on?
# How many parameters has each way, biases included?

# %% tags=["stub"]
seen_by_three = None  # side of the square, in cells
parameters_of_three = None
parameters_of_one = None

# %% tags=["solution"]
seen_by_three = 3 + 2 + 2  # each layer adds one cell on either side
parameters_of_three = 3 * (3 * 3 * 64 * 64 + 64)
parameters_of_one = 7 * 7 * 64 * 64 + 64

# %% tags=["wrong"]
seen_by_three = 3 * 3
parameters_of_three = 3 * (3 * 3 * 64 * 64 + 64)
parameters_of_one = 7 * 7 * 64 * 64 + 64

# %% tags=["wrong"]
seen_by_three = 7
parameters_of_three = 3 * 3 * 3 * 64 * 64
parameters_of_one = 7 * 7 * 64 * 64

# %% tags=["wrong"]
seen_by_three = 7
parameters_of_three = 3 * (3 * 3 * 64 + 64)
parameters_of_one = 7 * 7 * 64 + 64

# %% tags=["check"]
given = (seen_by_three, parameters_of_three, parameters_of_one)
assert None not in given, "Write a number for each of the three, then run this again."
inputs = keras.Input((31, 31, 64))
x = inputs
for _ in range(3):
    x = layers.Conv2D(64, 3, padding="same")(x)
three, one = keras.Model(inputs, x), layers.Conv2D(64, 7)
one.build((None, 31, 31, 64))
dot = np.zeros((1, 31, 31, 64), "float32")
dot[0, 15, 15] = 1  # changes every output cell that depends on it
reached = np.abs(three(dot) - three(0 * dot)).sum((0, 1, 3)) > 0  # (W,)
assert seen_by_three == reached.sum(), (
    "How many cells does each layer add on either side?"
)
assert parameters_of_three == three.count_params(), "For three: channels and biases?"
assert parameters_of_one == one.count_params(), "For one: channels and biases?"
share = parameters_of_three / parameters_of_one
print(f"Right: as wide, with {share:.0%} of the parameters.")

# %% [markdown] tags=["why"]
# Each 3x3 layer adds one cell on either side, so three of them see 3 + 2 + 2 = 7 cells, as
# many as one kernel of 7x7. Three times 3x3 are 27 weights for each pair of channels, and
# 7x7 are 49. And the three layers have three ReLUs in place of one. VGG's authors argue
# like this (Simonyan and Zisserman, 2015, section 2.3).

# %% [markdown]
# ## 2. How often is a pixel processed? ★★☆
#
# *Complete.* The page moved a window of 224 pixels over a photo in steps of 32, and went
# through all windows to count how often each pixel is processed. Do it by a formula, along
# one side of the photo.
#
# Windows start at 0, `stride`, 2 `stride` and so on, as long as they fit into `size`
# pixels. Window and stride can be anything from 1.


# %% tags=["stub"]
def looks(pixel, size, window, stride):
    """Return how many windows along a side of `size` pixels contain `pixel`."""
    return None  # your formula; no loop over windows


# %% tags=["solution"]
def looks(pixel, size, window, stride):
    """Return how many windows along a side of `size` pixels contain `pixel`."""
    last = min(pixel, size - window) // stride  # it starts at the pixel or before
    first = max(0, pixel - window + stride) // stride  # it ends at the pixel or after
    return max(0, last - first + 1)


# %% tags=["also"]
def looks(pixel, size, window, stride):
    starts = np.arange(0, size - window + 1, stride)
    return np.sum((starts <= pixel) & (pixel < starts + window))


# %% tags=["wrong"]
def looks(pixel, size, window, stride):
    return window // stride


# %% tags=["wrong"]
def looks(pixel, size, window, stride):
    return pixel // stride - max(0, pixel - window + stride) // stride + 1


# %% tags=["check"]
cases = [(512, 224, 32), (500, 224, 32), (40, 7, 3), (9, 3, 1), (11, 2, 5), (4, 9, 2)]
for size, window, stride in cases:
    counted = np.zeros(size, int)
    for start in range(0, size - window + 1, stride):
        counted[start : start + window] += 1
    for pixel in range(size):
        answer = looks(pixel, size, window, stride)
        assert answer is not None, (
            "Your function returns nothing yet: write the formula."
        )
        assert answer == counted[pixel], (
            f"Pixel {pixel} of {size}, window {window}, stride {stride}: which is the "
            "first window that contains it, and which the last that fits?"
        )
print("Right: at every pixel, in six cases.")

# %% [markdown]
# See it on your photo, brought to a height of 512 pixels:

# %% tags=["look"]
wide = max(224, round(512 * photo.shape[1] / photo.shape[0]))
rows = np.array([looks(y, 512, 224, 32) for y in range(512)])
columns = np.array([looks(x, wide, 224, 32) for x in range(wide)])
figure, axes = plots.grid(1, 2, size=3.2, aspect=512 / wide)
axes[0, 0].imshow(photo)
drawn = axes[0, 1].imshow(np.outer(rows, columns), cmap="magma")
figure.colorbar(drawn, ax=axes[0, 1], label="times a pixel is processed")
plots.show(figure, "A photo, and how often each pixel is processed", photo=True)

# %% [markdown] tags=["why"]
# A window contains the pixel when it starts at the pixel or up to `window - 1` before it.
# Starts are multiples of the stride. So count the multiples in that range, and keep those
# whose window fits. In the middle that is 224 / 32 = 7 along a side, so 7x7 = 49 in all.
