# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Pets, masks, and what a mask means
#
# Before any network: look at the photos, find out what the three numbers in a mask stand
# for, and build an input pipeline that never changes their meaning. Many of the bugs in
# public segmentation code are already made at this point.
#
# **You will be able to**
#
# - read a trimap, and check what its numbers mean instead of believing a tutorial,
# - choose between three ways to turn it into classes, and say what each is good for,
# - resize a mask without inventing classes,
# - augment photo and mask together, reproducibly,
# - tell whether the input pipeline is fast enough.
#
# **You need** NumPy, and a first idea of `tf.data`. Without a GPU this page takes
# {minutes} and downloads nothing.
#
# Here is what the page is about: one photo, and three answers to "what is here?".

# %% tags=["setup"]

# %%
import hashlib
import time

import numpy as np
import tensorflow as tf
from matplotlib.colors import ListedColormap

from utils import batching, environment, pets, plots

# %% tags=["preview"]
plots.picture(
    "00_oxford_pets.jpg",
    alt="A pet, and its mask under the trimap, species and foreground treatments",
)

# %% [markdown]
# The series runs on three sources of data with one piece of code: the real Oxford-IIIT
# Pet Dataset downloaded by TFDS (811 MB), the same files in a folder of yours, and
# `synthetic_pets`, drawings made by code in this repository. The drawings let every page
# run anywhere in minutes. They are a stand-in, and no figure on them says anything about
# real photographs.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224 if ON_GPU else 160  # side in pixels the network will see
BATCH_SIZE = 16  # photos in a batch
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. The photos
#
# `pets.load_examples` gives photos one by one at their own size, with everything that is
# known about them.

# %%
examples = list(pets.load_examples(DATASET, "train").as_numpy_iterator())
first = examples[0]
for name, value in first.items():
    print(
        f"{name:10} {getattr(value, 'shape', '')!s:15} {getattr(value, 'dtype', value)}"
    )

# %% [markdown]
# How many are there, and how large?

# %%
sizes = np.array([example["image"].shape[:2] for example in examples])  # (N, 2)
species = np.array([example["species"] for example in examples])  # (N,)
breeds = {int(example["label"]) for example in examples}
print(
    f"{len(examples)} photos: {sum(species == 0)} cats, {sum(species == 1)} dogs, "
    f"{len(breeds)} breeds"
)
print(
    "heights",
    sizes[:, 0].min(),
    "to",
    sizes[:, 0].max(),
    "px, widths",
    sizes[:, 1].min(),
    "to",
    sizes[:, 1].max(),
    "px",
)

# %%
figure, axes = plots.grid(3, 6, size=1.5)
step = max(len(examples) // 18, 1)
for axis, one in zip(axes.flat, examples[::step], strict=False):
    axis.imshow(one["image"])
    axis.set_title(pets.LABEL_NAMES["species"][one["species"]], fontsize=9)
plots.show(figure, "Photos of cats and dogs in all poses", photo=True)

# %% [markdown]
# ## 2. The trimap: three numbers, and what they mean
#
# Each photo comes with a **trimap**: a picture of its size that holds 1, 2 or 3 at every
# pixel. Three, not two: there is a class for *pixels nobody wanted to decide about*.
#
# **Predict** which number is which, from the picture alone.

# %%
trimap = first["trimap"]  # (H, W) uint8: 1, 2, 3
figure, axes = plots.grid(1, 4, size=2.2)
axes[0, 0].imshow(first["image"])
axes[0, 0].set_title("photo")
for axis, value in zip(axes[0, 1:], (1, 2, 3), strict=True):
    axis.imshow(trimap == value, cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(f"where it is {value}")
plots.show(figure, "A photo, and the pixels with value 1, 2 and 3", photo=True)

# %% [markdown]
# 1 is the pet, 2 the background, 3 the ring along the outline. The data set's own
# `annotations/README` says so too. A widely read tutorial swaps two of them in its text,
# and much code that was copied from it trains on a "background" that is a thin
# ring. So do not believe a page, this one included: ask the data. A ring is thin, so far
# more of its pixels lie near another class.


# %%
def share_near_another(trimap, value, distance=3):
    """Return the share of a value's pixels that have another value nearby."""
    same = (trimap == value).astype("float32")[None, ..., None]  # (1, H, W, 1)
    window = 2 * distance + 1
    least = -tf.nn.max_pool2d(-same, window, 1, "SAME")[0, ..., 0]  # (H, W)
    return float(np.mean(least.numpy()[trimap == value] == 0))


for value in (1, 2, 3):
    near = np.mean([share_near_another(e["trimap"], value) for e in examples[:50]])
    print(f"value {value}: {near:.0%} of its pixels are within 3 px of another value")

# %% [markdown]
# Only 3 is a ring. Write it down once, and never again by hand:
#
# > **1 pet, 2 background, 3 border.**
#
# How much of a photo is each? **Predict** the share of the border before you look.

# %%
counts = np.array([np.bincount(e["trimap"].ravel(), minlength=4)[1:] for e in examples])
area = counts.sum(0) / counts.sum()  # (3,)
for name, share in zip(("pet", "background", "border"), area, strict=True):
    print(f"{name:10} {share:.1%}")

# %% [markdown]
# Keep the middle number in mind. A network that answers "background" everywhere, without
# looking, scores that as its **pixel accuracy**. It is the floor under any accuracy on
# these three classes, and the reason why this series reports mean IoU: for each class the
# pixels that truth and prediction share, divided by those that either has; then the mean
# over the classes.
#
# ## 3. Three treatments of one truth
#
# A network needs class ids that count from 0, and a decision about the ring. There are
# three sensible ones; `VOID` (255) marks pixels that neither loss nor metrics look at.
#
# | task | 0 | 1 | 2 | border | good for |
# |---|---|---|---|---|---|
# | `"trimap"` | pet | background | border | a class | thin things: shows what skips buy |
# | `"species"` | background | cat | dog | void | *what is it*, the FCN paper's setting |
# | `"foreground"` | background | pet | | void | cutting out pets, comparing with others |


# %%
def class_ids(trimap, species, task):
    """Turn a trimap's 1, 2, 3 into the class ids of a task; species is 0 cat, 1 dog."""
    if task == "trimap":
        return trimap.astype("int32") - 1  # (H, W)
    pet = 1 + species if task == "species" else 1
    return np.where(trimap == 1, pet, np.where(trimap == 2, 0, pets.VOID))  # (H, W)


for task in pets.CLASS_NAMES:
    ours = class_ids(trimap, first["species"], task)
    theirs = next(pets.load_examples(DATASET, "train", task=task).as_numpy_iterator())
    np.testing.assert_array_equal(ours, theirs["mask"])
    print(f"{task:10} ids {np.unique(ours)}  {pets.CLASS_NAMES[task]}")

# %% tags=["result"]
figure, axes = plots.grid(1, 4, size=2.3)
axes[0, 0].imshow(first["image"])
axes[0, 0].set_title("photo")
for axis, task in zip(axes[0, 1:], pets.CLASS_NAMES, strict=True):
    names = pets.CLASS_NAMES[task]
    ids = class_ids(trimap, first["species"], task)  # (H, W)
    axis.imshow(plots.colored(ids, names))
    present = [names[k] for k in np.unique(ids) if k < len(names)]
    axis.set_title(f"{task}: " + ", ".join(present), fontsize=9)
plots.show(figure, "A pet, and its mask under each of the three treatments", photo=True)

# %% [markdown]
# Grey is background, black the border, orange a pet (or a cat), blue a dog, pink void. The
# series trains on `trimap` wherever it asks how *fine* a network can
# draw, because the thin ring is the hardest thing here.
#
# ## 4. Resizing a mask
#
# Networks train on batches, so photos come to one size. Resizing a photo bilinearly is
# fine: the mean of two colours is a colour. **Predict** what the mean of two class ids is.

# %%
small = (IMAGE_SIZE // 2, IMAGE_SIZE // 2)
column = trimap[..., None].astype("float32")  # (H, W, 1)
blended = tf.image.resize(column, small, "bilinear")[..., 0].numpy()  # floats!
nearest = tf.image.resize(column, small, "nearest")[..., 0].numpy()
print("bilinear:", len(np.unique(blended)), "different values")
print("nearest: ", np.unique(nearest))

# %% [markdown]
# The mean of pet (1) and border (3) is 2, and 2 is *background*. Rounding does not help,
# it only makes the invention look official. Count the damage, with rounding:

# %%
rounded = np.round(blended)
invented = rounded != nearest
inside = (rounded == 2) & (nearest != 2)
print(f"{invented.mean():.1%} of all pixels changed class")
print(f"{inside.sum()} of these pixels became background")
lost = 1 - (rounded == 3).sum() / (nearest == 3).sum()
print(f"{lost:.0%} of the border is gone")

# %%
y, x = np.argwhere(invented)[0]  # look closely at the first pixel that changed
close = slice(max(y - 10, 0), y + 14), slice(max(x - 14, 0), x + 18)
palette = ListedColormap([plots.COLORS[n] for n in ("pet", "background", "border")])
figure, axes = plots.grid(1, 3, size=2.8)
for axis, mask, title in zip(
    axes[0],
    (nearest, rounded, invented),
    ("nearest", "bilinear, rounded", "changed"),
    strict=True,
):
    changed = title == "changed"
    axis.imshow(
        mask[close], cmap="gray_r" if changed else palette, vmin=0 if changed else 1
    )
    axis.set_title(title)
plots.show(
    figure, "A mask by nearest neighbour, the damage done by blending", photo=True
)

# %% [markdown]
# Pixels of background now dot the line between pet and border, where there is none. A
# network will dutifully learn to draw them. So: **masks by nearest neighbour only**, and
# photo by photo, *before* batching. (Padding photos of different sizes into one batch
# first, as some code does, both squeezes pets and invents a class 0.)
#
# ## 5. Splits that stay put
#
# The official list says which photos are for testing; this series touches those only in
# notebook 07. One in ten of the others is for **validation**. Which ones must not depend
# on a random generator, a folder's order, or the machine. A hash of the file name does:


# %%
def in_validation(file_name):
    """Return whether a photo of the official trainval list belongs to validation."""
    return int(hashlib.sha256(file_name.encode()).hexdigest(), 16) % 10 == 0


for name in ("Abyssinian_1.jpg", "beagle_12.jpg", "pug_14.jpg"):
    print(f"{name:18}", "validation" if in_validation(name) else "train")

# %%
validation = pets.load_examples(DATASET, "validation").as_numpy_iterator()
held_out = {example["file_name"].decode() for example in validation}
train_names = {example["file_name"].decode() for example in examples}
print(f"{len(train_names)} to train, {len(held_out)} to validate")
assert not held_out & train_names
assert all(in_validation(name) for name in held_out)

# %% [markdown]
# ## 6. The input pipeline
#
# `pets.load` is what training uses: batches of photos of one size, float32 RGB from 0 to
# 255, and masks of ids, with 255 beyond a photo's edge.

# %%
train = pets.load(
    DATASET,
    "train",
    task="trimap",
    image_size=IMAGE_SIZE,
    batch_size=BATCH_SIZE,
    augment=True,
    shuffle=True,
    seed=SEED,
)
images, masks = next(iter(train))
print(images.shape, images.dtype, "|", masks.shape, masks.dtype, np.unique(masks))
assert images.shape == (BATCH_SIZE, IMAGE_SIZE, IMAGE_SIZE, 3)
assert masks.shape == (BATCH_SIZE, IMAGE_SIZE, IMAGE_SIZE)

# %% [markdown]
# An accelerator that waits for photos is money wasted, so measure the pipeline alone.
# Photos are decoded and resized once and kept in memory; only the augmentation is done
# anew in every pass.


# %%
def photos_per_second(dataset):
    """Time one pass over a dataset of batches."""
    started, photos = time.perf_counter(), 0
    for images, _ in dataset:
        photos += len(images)
    return photos / (time.perf_counter() - started)


speed = photos_per_second(train)
print(f"{speed:.0f} photos a second at {IMAGE_SIZE} px, with augmentation")

# %% tags=["key-figure"]
record = environment.results("input_pipeline")
ratio = record["times_what_training_consumes"]["held"]["median"]
print(f"{speed:.0f} photos/s here; recorded: {ratio:.0f} times what training takes")

# %% [markdown]
# The second line comes from `benchmarks/input_pipeline.py`, which ran the pipeline beside
# the training step of the full network, at 224 px on a CPU with 2 cores. A GPU trains much
# faster: measure again there, and want a ratio of at least 5.
#
# ## 7. Augmentation, photo and mask together
#
# More data for free, if two rules hold: whatever moves the photo moves the mask, and
# what becomes visible beyond the photo's edge is **void**, not background.

# %%
image = tf.image.resize(first["image"], (IMAGE_SIZE, IMAGE_SIZE))[None]
mask = tf.image.resize(
    first["mask"][None, ..., None], (IMAGE_SIZE, IMAGE_SIZE), "nearest"
)
draws = np.random.default_rng(SEED).random((6, batching.NUM_DRAWS), "float32")
repeated = tf.repeat(image, 6, axis=0), tf.repeat(mask[..., 0], 6, axis=0)
varied, varied_masks = batching.augment(*repeated, draws)  # (6, H, W, 3), (6, H, W)

# %%
figure, axes = plots.grid(2, 6, size=1.5)
for column in range(6):
    axes[0, column].imshow(plots.photo(varied[column]))
    ids = varied_masks[column]
    axes[1, column].imshow(plots.colored(ids, pets.CLASS_NAMES["trimap"]))
plots.show(figure, "Six variants of one photo above, their masks below", photo=True)

# %% [markdown]
# Flipped, cropped, shrunk into a frame of grey, brighter, paler; and the mask follows
# every time, with pink where nothing is known.
#
# All randomness comes from `(seed, pass, photo)`, never from a shared generator. So two
# runs see the same batches, whatever the number of parallel calls:


# %%
def first_batch():
    """Build the pipeline anew and return its first batch."""
    dataset = pets.load(
        DATASET, "train", image_size=IMAGE_SIZE, augment=True, shuffle=True, seed=SEED
    )
    return next(iter(dataset))


for one, other in zip(first_batch(), first_batch(), strict=True):
    np.testing.assert_array_equal(one, other)
print("two pipelines, the same batch, bit for bit")

# %% [markdown]
# What if somebody forgets the mask? Flip the photo alone, and look at one pair:

# %%
flipped = tf.image.flip_left_right(image)[0]
figure, axes = plots.grid(1, 2, size=2.6)
for axis, picture, title in (
    (axes[0, 0], image[0], "photo and mask"),
    (axes[0, 1], flipped, "photo flipped, mask forgotten"),
):
    axis.imshow(plots.photo(picture))
    axis.contour(mask[0, ..., 0] == 1, levels=[0.5], colors="#D55E00", linewidths=2)
    axis.set_title(title, fontsize=10)
plots.show(
    figure, "The outline fits the photo, and misses the flipped photo", photo=True
)

# %% [markdown]
# The loss still falls, since pets sit near the middle. That is what makes this bug
# expensive. Drawing ten augmented pairs before every training is what catches it.
#
# ## 8. What can go wrong
#
# - **A thin wrong class along every outline.** The mask was resized bilinearly. Count the
#   ids after resizing: exactly those of before may be there.
#   [See it](09_bug_zoo.ipynb#bilinear-masks).
# - **NaN, or an error about label values.** Labels were left at 1 to 3, and the loss looks
#   up class 3 of 0 to 2.
#   [See it](09_bug_zoo.ipynb#labels-from-1).
# - **Accuracy of 60 % and a mask of one colour.** That is the share of the background.
#   Look at mean IoU.
#   [See it](09_bug_zoo.ipynb#photos-in-0-to-1).
# - **Everything is slightly off, and nothing is broken.** Photo and mask were augmented
#   by two different random draws.
#   [See it](09_bug_zoo.ipynb#two-draws).
#
# ## 9. Summary
#
# - You read trimaps: 1 pet, 2 background, 3 border, and checked it on the data.
# - You know three treatments of the border, and that `VOID` counts nowhere.
# - You resize masks by nearest neighbour, photo by photo, before batching.
# - You split by a hash of the file name, so the same photos validate everywhere.
# - You augment photo and mask by the same draw, and measured the pipeline.
#
# ## Questions
#
# <details><summary>1. A paper reports 90 % pixel accuracy on two classes. What do you ask
# before you are impressed?</summary>
#
# What "everything background" scores on the same photos, whether the border counts, and
# the mean IoU.
# </details>
#
# <details><summary>2. Why is the border void in the "species" task, instead of pet?</summary>
#
# The annotators left it undecided. Calling it pet would punish a network for drawing the
# true outline, and calling it background would do so too.
# </details>
#
# <details><summary>3. After a zoom out, the frame around the photo is grey. Why must its
# mask be void and not background?</summary>
#
# Because nothing is known there. As background it would teach the network that flat grey
# is always background, and it would raise the accuracy for free.
# </details>
#
# ## References
#
# - O. Parkhi, A. Vedaldi, A. Zisserman, C. Jawahar. *Cats and Dogs*. CVPR 2012. The data
#   set; licence CC BY-SA 4.0, photographs belong to their owners.
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. The void convention and mean IoU.
# - [data/README.md](../data/README.md): the data card of both sets.
