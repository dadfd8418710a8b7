# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # FCN-32s: a mask for every photo
#
# Two exercises, before any training. Nothing is downloaded.

# %% tags=["setup"]

# %%
import keras
import numpy as np
import skimage.draw
import tensorflow as tf

from utils import environment, fcn
from utils.metrics import cross_entropy

DATASET, SEED = "numbers and a drawing made by the cells", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Who hears whom? ★★☆
#
# *Predict.* FCN-32s has a score map of 3x3 cells for a photo of 96x96 pixels. Its last
# layer enlarges the map by 32. Three numbers, on paper:
#
# - to how many **cells** does pixel (50, 40) listen?
# - how many **pixels** does the cell in the middle reach?
# - how many does a cell in the corner reach? (Mind the repeated edge.)

# %% tags=["stub"]
cells_of_a_pixel = None
pixels_of_the_middle = None
pixels_of_a_corner = None

# %% tags=["solution"]
cells_of_a_pixel = 2 * 2
pixels_of_the_middle = 64 * 64
pixels_of_a_corner = 48 * 48

# %% tags=["wrong"]
cells_of_a_pixel = 1
pixels_of_the_middle = 32 * 32
pixels_of_a_corner = 32 * 32

# %% tags=["wrong"]
cells_of_a_pixel = 4
pixels_of_the_middle = 32 * 32
pixels_of_a_corner = 32 * 32

# %% tags=["wrong"]
cells_of_a_pixel = 4
pixels_of_the_middle = 64 * 64
pixels_of_a_corner = 64 * 64

# %% tags=["wrong"]
cells_of_a_pixel = 9
pixels_of_the_middle = 96 * 96
pixels_of_a_corner = 96 * 96

# %% tags=["check"]
given = (cells_of_a_pixel, pixels_of_the_middle, pixels_of_a_corner)
assert None not in given, "Write a number for each of the three, then run this again."
score_map = keras.Input((3, 3, 1))
enlarge = keras.Model(score_map, fcn.upsample(score_map, 32, name="up32"))
one_cell_each = np.eye(9, dtype="float32").reshape(9, 3, 3, 1)  # (B, H, W, C)
reaches = np.abs(enlarge(one_cell_each)[..., 0]) > 1e-6  # (9, 96, 96)
covered = 32 * 32
assert cells_of_a_pixel != 1, (
    "A mask in which each pixel listens to one cell is made of blocks of 32 pixels. "
    "The page's masks were not. What does bilinear mean, in rows and in columns?"
)
assert cells_of_a_pixel == reaches[:, 50, 40].sum(), (
    f"Not {cells_of_a_pixel}. Along a row, between which cells' centres does the pixel "
    "lie? Then the same along its column. Cells further off have nothing to say to it."
)
for name, answer, cell in (("middle", given[1], 4), ("corner", given[2], 0)):
    assert answer != covered or answer == reaches[cell].sum(), (
        f"{covered:,} pixels is the square that the cell in the {name} covers. How "
        "wide is the kernel with which it is stamped?"
    )
    assert answer == reaches[cell].sum(), (
        f"Not {answer:,} pixels for the cell in the {name}. How far does its tent "
        "reach to either side, and does anything of it fall off the photo?"
    )
print("Right: a cell speaks well beyond the square it covers.")

# %% [markdown] tags=["why"]
# Bilinear means: a pixel lies between two cells in a row and two in a column, so it
# hears four (fewer beyond the outermost centres). Seen from the cell: its stamp is 64
# pixels wide, twice its own square, and inside the photo for the middle cell. The
# corner's centre is 16 pixels from both edges. Its tent runs 32 further inwards, and
# outwards its repeated neighbour goes on to the edge: 16 + 32 = 48.
#
# So a wrong cell spoils up to 4,096 pixels, and the loss of each of them reaches back
# to it: a cell learns from a neighbourhood four times its own size.

# %% [markdown]
# ## 2. Start better than ln 3 ★★☆
#
# *Complete.* The untrained network of the page scores 0, 0, 0 everywhere and pays $\ln
# 3$. It can do better without having looked at a single photo: the kernel of its score
# layer stays zero, but the layer has a **bias**, one number per class. Choose it from a
# mask such that the loss starts as low as any constant answer can be.
#
# Void pixels (255) do not count. A class that the mask does not hold must get a finite
# number all the same: training could not raise a score from minus infinity.

# %%
mask = np.full((64, 64), 1)  # (H, W): 0 pet, 1 background, 2 border, 255 void
mask[skimage.draw.disk((34, 30), 18)] = 2
mask[skimage.draw.disk((34, 30), 15)] = 0
mask[:, 50:] = 255


def starting_loss(bias, mask):
    """Return the loss of a network that gives the same logits to every pixel."""
    logits = tf.zeros((*mask.shape, 1)) + tf.cast(bias, tf.float32)  # (H, W, C)
    return cross_entropy(mask[None], logits[None])


print(f"with zeros: {starting_loss([0, 0, 0], mask):.4f}")


# %% tags=["stub"]
def first_bias(mask, num_classes):
    """Return the bias (num_classes,) with the lowest starting loss on this mask."""
    return None  # your lines


# %% tags=["solution"]
def first_bias(mask, num_classes):
    """Return the bias (num_classes,) with the lowest starting loss on this mask."""
    known = mask[mask != 255]
    share = np.bincount(known, minlength=num_classes) / known.size
    return np.log(np.maximum(share, 1e-6))


# %% tags=["also"]
def first_bias(mask, num_classes):
    counts = [np.sum(mask == class_id) for class_id in range(num_classes)]
    return tf.math.log(np.float32(counts) + 0.1)  # softmax takes any common number


# %% tags=["wrong"]
def first_bias(mask, num_classes):
    known = mask[mask != 255]
    return np.bincount(known, minlength=num_classes) / known.size


# %% tags=["wrong"]
def first_bias(mask, num_classes):
    known = mask[mask != 255]
    return -np.log(
        np.maximum(np.bincount(known, minlength=num_classes) / known.size, 1e-6)
    )


# %% tags=["wrong"]
def first_bias(mask, num_classes):
    known = mask[mask != 255]
    return np.log(np.bincount(known, minlength=num_classes) / known.size)


# %% tags=["wrong"]
def first_bias(mask, num_classes):
    classes = np.where(mask == 255, 0, mask)  # as in the loss
    share = np.bincount(classes.ravel(), minlength=num_classes) / mask.size
    return np.log(np.maximum(share, 1e-6))


# %% tags=["check"]
generator = np.random.default_rng(SEED)
thin = generator.choice([0, 1, 2, 3, 255], (32, 32), p=[0.6, 0.28, 0.1, 0.01, 0.01])
for example, num_classes in ((mask, 3), (thin, 4), (mask, 5)):
    with np.errstate(divide="ignore"):
        bias = first_bias(example, num_classes)
    assert bias is not None, "Your function returns nothing yet: write its lines."
    assert np.shape(bias) == (num_classes,), (
        f"One number for each of {num_classes} classes, please; yours is "
        f"{np.shape(bias)}."
    )
    assert np.isfinite(bias).all(), (
        f"A mask without class {np.argmin(np.isfinite(bias))} gives that class an "
        "infinite score. Very unlikely is enough; impossible is too much."
    )
    bias = tf.Variable(bias, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = starting_loss(bias, example)
    slope = tape.gradient(loss, bias).numpy()  # (num_classes,), 0 at the lowest point
    zeros = starting_loss([0] * num_classes, example)
    assert loss <= zeros, (
        f"It starts at {loss:.3f}, worse than the {zeros:.3f} of zeros. Which class "
        "should get the highest score?"
    )
    assert not np.isclose(np.sum(bias), 1) or np.abs(slope).max() < 3e-3, (
        "Better than zeros. But your numbers are probabilities, and the loss takes "
        f"them for logits ({loss:.3f}). Which logits have these probabilities as their "
        "softmax?"
    )
    worst = int(np.abs(slope).argmax())
    assert np.abs(slope[worst]) < 3e-3, (  # admits shares that were smoothed a little
        f"It starts at {loss:.3f}, better than zeros, but not as low as can be: class "
        f"{worst} should have a {'lower' if slope[worst] > 0 else 'higher'} score. "
        "Which pixels does the loss count, and which did you?"
    )
print(f"Right: {starting_loss(first_bias(mask, 3), mask):.4f} before the first step.")

# %% [markdown] tags=["why"]
# The best constant answer is the truth about the mask as a whole: predict each class
# with the share it has among the known pixels. Softmax turns logits $b_k$ into shares
# when $b_k = \ln p_k$, plus any common number. The loss is then $-\sum_k p_k \ln p_k$,
# the **entropy** of the shares $p_k$, and no constant can go below it. Where one class
# rules, as background does here, that saves the first steps of training, which would
# teach the network nothing else.
