# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From a coarse map to every pixel
#
# Two exercises, on two cells and on a wall. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np

from utils import environment, fcn, plots

DATASET, SEED = "numbers made by the cells", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Eight pixels from two cells ★☆☆
#
# *Predict.* A score map of 1x2 cells holds a 0 and an 8. FCN's layer enlarges it by
# four, as the page does at its end: bilinear kernel, half-pixel centres, edges
# repeated.
#
# The numbers are chosen so that it can be done without a pencil. Which eight values
# does a row of the result have?

# %% tags=["stub"]
row = [None, None, None, None, None, None, None, None]

# %% tags=["solution"]
row = [0, 0, 1, 3, 5, 7, 8, 8]

# %% tags=["also"]
row = np.clip(np.arange(8) * 2.0 - 3, 0, 8)

# %% tags=["wrong"]
row = [8 * pixel / 7 for pixel in range(8)]

# %% tags=["wrong"]
row = [0, 0, 1, 3, 5, 7, 7, 5]

# %% tags=["wrong"]
row = [0, 0, 0, 0, 8, 8, 8, 8]

# %% tags=["wrong"]
row = [0, 1, 2, 3, 5, 6, 7, 8]

# %% tags=["check"]
assert len(row) == 8 and None not in row, "Write eight numbers, then run this again."
cells = keras.Input((None, None, 1))
enlarge = keras.Model(cells, fcn.upsample(cells, 4, name="up4"))
truth = enlarge(np.float32([0, 8]).reshape(1, 1, 2, 1))[0, 0, :, 0].numpy()  # (8,)
assert len(set(row)) > 2, (
    "These are blocks. Two neighbours with a straight line between them: what does a "
    "pixel halfway get?"
)
assert not np.allclose(row, np.linspace(0, 8, 8), atol=0.2), (
    "You have put the first cell on the first pixel and the last on the last. Where "
    "is the centre of a cell that covers pixels 0 to 3?"
)
assert not (np.allclose(row[1:6], truth[1:6]) and not np.allclose(row, truth)), (
    "Right between the two centres. Beyond a cell's centre, at the frame, the same "
    "cell is repeated once: what lies between two equal values?"
)
assert np.allclose(row, truth, atol=0.01), (
    f"{np.isclose(row, truth, atol=0.01).sum()} of the 8 are right. Mark where the "
    "centres of both cells come out, in pixels. What is the step from one pixel to "
    "the next there?"
)
print("Right: flat to the first centre, a slope of 2 a pixel, flat from the second.")

# %% [markdown] tags=["why"]
# Cell 0 covers pixels 0 to 3, so its centre comes out at 1.5, and that of cell 1 at
# 5.5. Between them the line climbs by 8 in 4 pixels: 1, 3, 5, 7 at pixels 2 to 5.
# Outside, the repeated edge keeps it flat. Without the repetition there would be zeros
# beyond the map, and the last two pixels would fall to 7 and 5. That is the dark frame
# of the page.

# %% [markdown]
# ## 2. Repair a random kernel ★★☆
#
# *Complete.* A transposed convolution that starts at random prints its texture on
# everything, even on a wall of ones. It takes no training to cure that.
#
# Scale the weights of a kernel so that a wall stays a wall: away from the frame every
# pixel must come out as 1. And change no more than you must: weights that **meet in the
# same output pixel** keep their ratios. The kernel's side is a multiple of the stride.


# %%
def enlarged(cells, kernel, stride):
    """Enlarge cells (H, W) with a kernel (k, k) by a 'same' transposed convolution."""
    scores = np.float32(cells)[None, ..., None]  # (1, H, W, 1)
    weights = np.float32(kernel)[..., None, None]  # (k, k, 1, 1)
    result = keras.ops.conv_transpose(scores, weights, stride, padding="same")
    return result[0, ..., 0].numpy()  # (stride * H, stride * W)


random_kernel = np.random.default_rng(SEED).uniform(size=(8, 8))
wall = enlarged(np.ones((6, 6)), random_kernel, 4)[8:-8, 8:-8]  # away from the frame
print(f"pixels of the wall: {wall.min():.2f} to {wall.max():.2f}")


# %% tags=["stub"]
def repaired(kernel, stride):
    """Return the kernel (k, k), scaled so that a wall stays a wall."""
    return None  # your lines


# %% tags=["solution"]
def repaired(kernel, stride):
    """Return the kernel (k, k), scaled so that a wall stays a wall."""
    stamps = len(kernel) // stride  # along a side, on one pixel
    groups = kernel.reshape(stamps, stride, stamps, stride)
    return (groups / groups.sum((0, 2), keepdims=True)).reshape(kernel.shape)


# %% tags=["also"]
def repaired(kernel, stride):
    for row, column in np.ndindex(stride, stride):
        kernel[row::stride, column::stride] /= kernel[row::stride, column::stride].sum()
    return kernel


# %% tags=["wrong"]
def repaired(kernel, stride):
    return kernel / kernel.sum() * stride**2


# %% tags=["wrong"]
def repaired(kernel, stride):
    groups = kernel.reshape(-1, stride, len(kernel) // stride, stride)
    return (groups / groups.sum((1, 3), keepdims=True)).reshape(kernel.shape)


# %% tags=["wrong"]
def repaired(kernel, stride):
    tent = 1 - np.abs(np.arange(8) - 3.5) / 4  # bilinear, for a stride of 4
    return np.outer(tent, tent)


# %% tags=["check"]
for side, stride in ((8, 4), (4, 2), (6, 2), (9, 3)):
    kernel = np.random.default_rng(side).uniform(0.1, 1, size=(side, side))
    answer = repaired(kernel.copy(), stride)
    assert answer is not None, "Your function returns nothing yet: write its lines."
    assert np.shape(answer) == kernel.shape, (
        f"The kernel should stay {kernel.shape}, yours is {np.shape(answer)}."
    )
    wall = enlarged(np.ones((9, 9)), answer, stride)[side:-side, side:-side]
    case = f"(side {side}, stride {stride}: {wall.min():.2f} to {wall.max():.2f})"
    fair = np.isclose(wall.mean(), 1, atol=1e-3)
    ratio = answer / kernel
    together = np.isclose(ratio, ratio[0, 0])  # scaled like the first weight
    assert np.allclose(wall, 1, atol=1e-4) or not (fair and together.all()), (
        "One on average, and as uneven as before: a common factor cannot cure a "
        f"texture. Which weights are stamped on one and the same pixel? {case}"
    )
    assert np.allclose(wall, 1, atol=1e-4), (
        "The weights that you scale together do not meet in one pixel. Two stamps lie "
        f"`stride` apart: which weight of the second covers the first one's? {case}"
    )
    first_of_each = np.tile(ratio[:stride, :stride], (side // stride,) * 2)
    assert np.allclose(ratio, first_of_each), (
        "The wall is even, but this is another kernel. Keep the ratios of the weights "
        "that meet: find one factor for each group of them."
    )
print("Right: even walls at four sizes, and every ratio kept.")

# %% [markdown]
# See it: the wall before and after, one scale for both.

# %% tags=["look"]
figure, axes = plots.grid(1, 2, size=2.6)
drawn = {"random": random_kernel, "repaired": repaired(random_kernel.copy(), 4)}
for axis, (name, kernel) in zip(axes[0], drawn.items(), strict=True):
    wall = enlarged(np.ones((6, 6)), kernel, 4)[8:-8, 8:-8]
    axis.imshow(wall, cmap="magma", vmin=0, vmax=3)
    axis.set_title(name)
plots.show(figure, "A wall by a random kernel, textured, and by the repaired one, even")

# %% [markdown] tags=["why"]
# Stamps lie `stride` apart, so a pixel gets every `stride`-th weight of the kernel, in
# rows and in columns: there are `stride` x `stride` such groups. Each group must add up
# to one, and dividing by its sum does that. It is the second of the page's two rules
# against checkerboards, made into a function. What you get is even, but not smooth: the
# bilinear kernel is one of many that pass.
