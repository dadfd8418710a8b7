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
# Two exercises, the second on your own photo. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np

from utils import environment, fcn, pets, photos, plots

DATASET, SEED = "numbers made by the cells, one photo", 0
PHOTO = ""  # path of a photo of yours; without one, Chelsea
photo = photos.read(PHOTO) if PHOTO else pets.chelsea()[0]  # (H, W, 3) uint8
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Eight pixels from two cells ★☆☆
#
# *Predict.* A map of 1x2 cells holds a 0 and an 8. Make it four times as high and wide, as
# the page does: bilinear kernel, half-pixel centres, edges repeated. All four rows of the
# result are alike. Which eight values do they have?

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
right = np.isclose(row, truth, atol=0.01)  # (8,)
assert right[2:6].all(), "Between the centres: at which positions are they?"
assert right.all(), "Beyond the centres: what lies between two equal cells?"
print("Right: flat, then a straight climb, then flat.")

# %% [markdown] tags=["why"]
# Cell 0 covers the pixels 0 to 3, so its centre is at 1.5, and that of cell 1 at 5.5. Between
# them the line climbs by 8 in 4 pixels: 1, 3, 5, 7 at pixels 2 to 5. Beyond them the
# repeated edge keeps it flat. Without it the last two pixels would fall to 7 and 5.

# %% [markdown]
# ## 2. Repair a random kernel ★★☆
#
# *Complete.* A transposed convolution with random weights adds a pattern to everything, even
# to a map of ones. No training is needed to cure that.
#
# Scale the weights of a kernel so that a map of ones stays a map of ones: away from the
# frame every pixel must be 1. Each output pixel adds up several weights: scale each such group
# by one factor, so that the ratios within it stay. The size of the kernel is a multiple of the stride.


# %%
def enlarged(cells, kernel, stride):
    """Enlarge cells (H, W) with a kernel (k, k) by a 'same' transposed convolution."""
    scores = np.float32(cells)[None, ..., None]  # (1, H, W, 1)
    weights = np.float32(kernel)[..., None, None]  # (k, k, 1, 1)
    result = keras.ops.conv_transpose(scores, weights, stride, padding="same")
    return result[0, ..., 0].numpy()  # (stride * H, stride * W)


random_kernel = np.random.default_rng(SEED).uniform(size=(8, 8))
ones = enlarged(np.ones((6, 6)), random_kernel, 4)[8:-8, 8:-8]  # away from the frame
print(f"a map of ones becomes {ones.min():.2f} to {ones.max():.2f}")


# %% tags=["stub"]
def repaired(kernel, stride):
    """Return the kernel (k, k), scaled so that a map of ones stays one."""
    return None  # your lines


# %% tags=["solution"]
def repaired(kernel, stride):
    """Return the kernel (k, k), scaled so that a map of ones stays one."""
    copies = len(kernel) // stride  # that meet in one pixel, along a side
    groups = kernel.reshape(copies, stride, copies, stride)
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
    ones = enlarged(np.ones((9, 9)), answer, stride)[side:-side, side:-side]
    assert np.allclose(ones, 1, atol=1e-4), "Which weights meet in the same pixel?"
    ratio = answer / kernel
    for row, column in np.ndindex(stride, stride):
        group = ratio[row::stride, column::stride]  # weights that meet in one pixel
        assert np.allclose(group, group[0, 0]), "Even, but the ratios have changed."
print("Right: even for four sizes, and the ratios kept.")

# %% [markdown]
# See it on your photo: in grey, shrunk to a quarter and enlarged again.

# %% tags=["look"]
height, width = (side // 4 * 4 for side in photo.shape[:2])
gray = photo[:height, :width].mean(-1) / 255  # (H, W)
quarter = gray.reshape(height // 4, 4, width // 4, 4).mean((1, 3))  # (H/4, W/4)
figure, axes = plots.grid(1, 2, size=3.4, aspect=height / width)
kernels = {"random": random_kernel, "repaired": repaired(random_kernel.copy(), 4)}
for axis, (name, kernel) in zip(axes[0], kernels.items(), strict=True):
    axis.imshow(enlarged(quarter, kernel, 4), cmap="gray")
    axis.set_title(name)
plots.show(figure, "A photo enlarged by a random kernel and by the repaired one")

# %% [markdown] tags=["why"]
# Copies start `stride` places apart, so an output pixel gets every `stride`-th weight, along
# rows and along columns. There are `stride` x `stride` such groups. Dividing each by its
# sum makes it add up to 1. The result is even, but not smooth, and it has
# the dark frame of the page. The bilinear kernel is another one that keeps a map of ones.
