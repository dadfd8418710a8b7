# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # VGG16, and the patch that slides
#
# Two exercises: one for paper, one for a formula. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np
from keras import layers

from utils import environment

DATASET, SEED = "numbers made by the cells", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Three small kernels, or one large? ★☆☆
#
# *Predict.* VGG16 has no kernel larger than 3x3. Was that wise? Compare two ways
# through a map of 64 channels: **one** convolution of 7x7 with 64 filters, or **three**
# of 3x3 with 64 filters each, one after the other.
#
# On paper, before you run anything: how wide is the square of input cells that one
# output cell of the *three* can see? How many parameters has each way?

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


def stack(sizes, channels):
    """Build convolutions of these sizes, one after the other."""
    chain = [layers.Conv2D(channels, size, padding="same") for size in sizes]
    return keras.Sequential([keras.Input((31, 31, channels)), *chain])


narrow = stack((3, 3, 3), channels=1)
narrow.set_weights([np.ones_like(w) for w in narrow.get_weights()])
dot = np.zeros((1, 31, 31, 1), "float32")
dot[0, 15, 15] = 1  # changes every output cell that sees it
reached = np.ptp((narrow(dot) - narrow(0 * dot))[0, ..., 0], axis=0) > 0  # (W,)
assert seen_by_three == reached.sum(), (
    f"Not {seen_by_three} cells. Stand in one output cell and walk back, layer by "
    "layer: how many new cells come into view at either side each time?"
)
for sizes, answer in (((3, 3, 3), given[1]), ((7,), given[2])):
    network = stack(sizes, channels=64)
    without = sum(np.prod(layer.kernel.shape) for layer in network.layers)
    name = "three" if len(sizes) == 3 else "one"
    assert answer != without, (
        f"So close, for the {name}: your kernels are right. What else does a filter "
        "own?"
    )
    assert answer == network.count_params(), (
        f"Not {answer:,} parameters, for the {name}. How deep is one filter: does it "
        "look at one channel of its input, or at all of them?"
    )
share = parameters_of_three / parameters_of_one
print(f"Right: the same view with {share:.0%} of the parameters.")

# %% [markdown] tags=["why"]
# Each 3x3 layer lets an output cell see one more cell on every side, so three of them
# see 3 + 2 + 2 = 7, as much as one kernel of 7x7. But 3 times 3 x 3 is 27 weights for
# each pair of channels, and 7 x 7 is 49: the large kernel has 81 % more. The small ones
# have three ReLUs in place of one besides. That is the argument of VGG's authors
# (Simonyan and Zisserman, 2015, section 2.3).

# %% [markdown]
# ## 2. How often is a pixel looked at? ★★☆
#
# *Complete.* The page slid a window of 224 pixels in steps of 32, and painted how often
# each pixel was processed. It counted by going through all windows. Do it without:
# write down how many windows look at one pixel, along one side of the photo.
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
cases = [(512, 224, 32), (500, 224, 32), (40, 7, 3), (40, 8, 1), (30, 4, 6), (8, 9, 2)]
for size, window, stride in cases:
    counted = np.zeros(size, int)
    for start in range(0, size - window + 1, stride):
        counted[start : start + window] += 1
    answers = [looks(pixel, size, window, stride) for pixel in range(size)]
    assert None not in answers, "Your function returns nothing yet: write the formula."
    wrong = np.flatnonzero(answers != counted)
    if wrong.size == 0:
        continue
    case = f"(side {size}, window {window}, stride {stride}: pixel {wrong[0]} is in "
    case += f"{counted[wrong[0]]} windows, you say {answers[wrong[0]]})"
    inner = set(range(window - 1, size - window - stride + 1)) & set(wrong)
    near_start = wrong[0] < window - 1
    assert inner, (
        "Fine in the middle, but not "
        f"{'at the start' if near_start else 'at the end'}. Which windows would have "
        f"to hang out of the photo? {case}"
    )
    raise AssertionError(
        "Away from the frame it is not right yet. What are the first and the last "
        f"window that still contain the pixel? {case}"
    )
most, least = looks(256, 512, 224, 32) ** 2, looks(0, 512, 224, 32) ** 2
print(f"Right: in two dimensions {most} looks in the middle, {least} in the corner.")

# %% [markdown] tags=["why"]
# A window contains the pixel when it starts at the pixel or up to `window - 1` before
# it. Starts are multiples of the stride, so count the multiples in that range, and keep
# those whose window fits into the photo. In the middle that is 224 / 32 = 7 along a
# side, so 7x7 in all: each cell of 32 pixels goes through the convolutions 49 times.
# One pass would do.
