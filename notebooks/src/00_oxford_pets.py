# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Pets and their masks
#
# A segmentation network learns from pairs: a photo, and a **mask** that gives a class to
# each of its pixels. This page looks at such pairs and writes the **input pipeline**, the
# code that turns files into batches for a network.
#
# **You will be able to**
#
# - say what the numbers in a mask mean, and check it,
# - turn them into class ids, with the border as a class or left out,
# - compute IoU, and say what accuracy hides,
# - resize a photo and its mask without inventing classes,
# - write the pipeline in about thirty lines of `tf.data`, augmentation included.
#
# **You need** NumPy. Without a GPU this page takes
# {minutes} and downloads nothing. With a GPU it downloads the real photos, 811 MB.

# %% tags=["setup"]

# %%
import hashlib
import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf
from matplotlib.colors import ListedColormap
from PIL import Image
from scipy import ndimage

from utils import batching, environment, pets, plots

# %% tags=["preview"]
plots.picture(
    "00_oxford_pets.jpg",
    alt="Eight pets, each with its mask laid over the picture",
)

# %% [markdown]
# The next code cell holds all that you may want to change. The series knows three sources
# of pairs:
#
# - `"oxford_iiit_pet"`: the Oxford-IIIT Pet Dataset, 7,349 photographs of 37 breeds;
# - the path of a folder where you have unpacked the same files yourself;
# - `"synthetic_pets"`: 600 drawings that code in this repository makes, the first time in
#   half a minute, so that every page runs everywhere. A number measured on drawings says
#   nothing about photographs. The text calls them photos all the same.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224  # side in pixels of the squares that the network will see
BATCH_SIZE = 16  # photos in a batch
SEED = 0  # of all random numbers

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. A pair
#
# `pets.load_examples` reads pairs one by one, each at its own size. It returns a
# `tf.data.Dataset`: a source of examples that reads them when they are asked for.
# `as_numpy_iterator` asks, one example after the other. Here is the first:

# %%
examples = pets.load_examples(DATASET, "train")
example = next(examples.as_numpy_iterator())
image, trimap = example["image"], example["trimap"]
print("image  ", image.shape, image.dtype)  # (H, W, 3), RGB from 0 to 255
print("trimap ", trimap.shape, trimap.dtype, "values", np.unique(trimap))  # (H, W)
print("species", example["species"], "(0 is a cat, 1 a dog)")

# %%
figure, axes = plots.grid(3, 6, size=1.5)
for axis, one in zip(axes.flat, examples.take(18).as_numpy_iterator(), strict=False):
    axis.imshow(one["image"])
    axis.set_title(pets.LABEL_NAMES["species"][one["species"]], fontsize=9)
plots.show(figure, "Cats and dogs in many poses, named above each", photo=True)

# %% [markdown]
# Look for pets cut by the frame, for pets partly hidden, and for coats that look like the
# background. Those are the hard ones.
#
# One pass over the training pairs counts them. It keeps a few numbers of each and no
# photo: at full size those of the Oxford set would fill 2 GB.

# %%
sizes, species, counts = [], [], []
for one in examples.as_numpy_iterator():
    sizes.append(one["trimap"].shape)
    species.append(one["species"])
    counts.append(np.bincount(one["trimap"].ravel(), minlength=4)[1:4])
sizes, species, counts = np.array(sizes), np.array(species), np.array(counts)
print(f"{len(sizes)} pairs: {sum(species == 0)} cats, {sum(species == 1)} dogs")
print("height", sizes[:, 0].min(), "to", sizes[:, 0].max(), "px")
print("width ", sizes[:, 1].min(), "to", sizes[:, 1].max(), "px")

# %% [markdown]
# (The other pairs are held back, see section 6.) The sizes differ, so these photos cannot
# be stacked into one array yet. Section 5 makes them one size.
#
# ## 2. What 1, 2 and 3 mean
#
# The mask of this data set is called a **trimap**, because it holds three values: one for
# the pet, one for the background, and one for the **border**, a band along the outline
# that the people who drew the masks left undecided. The file does not say which is which.
#
# **Predict** before you look at the picture: which of 1, 2 and 3 would you give to the
# background?

# %%
figure, axes = plots.grid(1, 4, size=2.2)
axes[0, 0].imshow(image)
axes[0, 0].set_title("photo")
for axis, value in zip(axes[0, 1:], (1, 2, 3), strict=True):
    axis.imshow(trimap == value, cmap="gray_r", vmin=-0.2, vmax=1)
    axis.set_title(f"black: where it is {value}", fontsize=10)
plots.show(figure, "A photo, and where its trimap is 1, 2 and 3", photo=True)

# %% [markdown]
# > **1 is the pet, 2 the background, 3 the border.**
#
# The data set's own README says the same. The text of TensorFlow's segmentation tutorial
# takes 2 for the border and 3 for the background. So do not trust a page, this one
# included. You can check it on the masks. A band is thin, so many more of its pixels have
# another value nearby.


# %%
def share_near_another(trimap, value):
    """Return the share of a value's pixels with another value within 3 px."""
    highest = ndimage.maximum_filter(trimap, size=7)  # (H, W), of 7x7 pixels around
    lowest = ndimage.minimum_filter(trimap, size=7)  # (H, W)
    mixed = highest != lowest
    return mixed[trimap == value].mean()


some = [one["trimap"] for one in examples.take(50).as_numpy_iterator()]
for value in (1, 2, 3):
    having = [one for one in some if (one == value).any()]
    share = np.mean([share_near_another(one, value) for one in having])
    print(f"value {value}: {share:.0%} of its pixels have another value within 3 px")

# %% [markdown]
# Value 3 is the band. On photographs this is evidence, because people drew their masks.
# On drawings it is none: the code of this repository wrote those numbers itself.
#
# One real photograph comes with the series: Chelsea, the cat of scikit-image. We drew her
# trimap by hand. You will meet her on most pages.

# %%
cat, cat_trimap = pets.chelsea()  # (300, 451, 3), (300, 451), both uint8
names = ("pet", "background", "border")
figure, axes = plots.grid(1, 3, size=3.0, aspect=0.7)
axes[0, 0].imshow(cat)
axes[0, 1].imshow(plots.colored(cat_trimap - 1, names))
axes[0, 2].imshow(plots.overlay(cat, cat_trimap - 1, names=names))
plots.legend(figure, names)
plots.show(figure, "A cat's face, her trimap, and the trimap laid over it", photo=True)

# %% [markdown]
# ## 3. Three tasks from one trimap
#
# A network counts classes from 0, so the values 1, 2, 3 must become class ids. And something
# has to be done about the border. This series knows three ways. Two of them leave the
# border out: they give it the id 255, called **void**. A loss and a score must skip void
# pixels. In Keras, `SparseCategoricalCrossentropy` and `MeanIoU` do so when you write
# `ignore_class=255`. Keras's accuracy metrics have no such option.
#
# | task | id 0 | id 1 | id 2 | id 255 (void) |
# |---|---|---|---|---|
# | `"trimap"` | pet | background | border | |
# | `"species"` | background | cat | dog | border |
# | `"foreground"` | background | pet | | border |
#
# (Section 8 makes pixels void in `"trimap"` as well: those that lie beyond the photo.)


# %%
def class_ids(trimap, species, task):
    """Turn a trimap (H, W) into class ids; species is 0 for a cat, 1 for a dog."""
    if task == "trimap":
        return trimap.astype("int32") - 1  # (H, W)
    pet = 1 + species if task == "species" else 1
    ids = np.full(trimap.shape, pets.VOID, "int32")  # (H, W)
    ids[trimap == 1] = pet
    ids[trimap == 2] = 0
    return ids


# %%
figure, axes = plots.grid(1, 3, size=2.6)
for axis, task in zip(axes[0], pets.CLASS_NAMES, strict=True):
    ids = class_ids(trimap, example["species"], task)  # (H, W)
    axis.imshow(plots.colored(ids, pets.CLASS_NAMES[task]))
    axis.set_title(f"{task}\nids {np.unique(ids)}", fontsize=10)
colors = {"pet or cat": plots.COLORS["pet"]}
colors |= {n: plots.COLORS[n] for n in ("dog", "background", "border", "void")}
plots.legend(figure, colors)
plots.show(figure, "One mask under each of the three tasks", photo=True)

# %% [markdown]
# `"trimap"` has a class that is only a few pixels wide. It shows how fine a network can draw,
# so most pages use it. `"species"` asks what the animal is. `"foreground"` is enough to cut a
# pet out.
#
# ## 4. Accuracy, and what it hides
#
# The simplest score is **pixel accuracy**: the share of pixels whose class is right.
#
# **Predict**: a network answers "background" at every pixel, without looking. What is
# its accuracy on the task `"trimap"`? A tenth, a third, more than half?

# %%
shares = counts.sum(0) / counts.sum()  # (3,) of all pixels: pet, background, border
for name, share in zip(names, shares, strict=True):
    print(f"{name:11}{share:.0%}")
print(f"accuracy of 'background everywhere': {shares[1]:.0%}")

# %% [markdown]
# More than half, and it has not found a single pet. A score that shows this is
# **intersection over union**, IoU. For one class, take the pixels of that class in the
# truth, and the pixels of that class in the prediction. Leave void pixels out. Then
#
# $$\text{IoU} = \frac{\text{pixels in both}}{\text{pixels in at least one}}$$
#
# It is 1 where both are the same, and 0 where they share nothing.


# %%
def iou(truth, prediction, class_id):
    """Return the IoU of one class; truth and prediction are class ids (H, W)."""
    known = truth != pets.VOID  # (H, W)
    in_truth = known & (truth == class_id)
    in_prediction = known & (prediction == class_id)
    at_least_one = (in_truth | in_prediction).sum()
    if at_least_one == 0:
        return np.nan  # this class is in neither: it has no IoU
    return (in_truth & in_prediction).sum() / at_least_one


# %% [markdown]
# Try it on a guess that looks at nothing: an oval in the middle of Chelsea's photo, 320
# pixels wide and 280 high, where the photo has 451 and 300. The task is `"foreground"`.
#
# **Predict** its IoU: .3, .6 or .9?

# %%
truth = class_ids(cat_trimap, 0, "foreground")  # (H, W): 0 background, 1 pet, 255 void
height, width = truth.shape
y, x = np.mgrid[:height, :width]  # (H, W) each: row and column of every pixel
oval = ((x - width / 2) / 160) ** 2 + ((y - height / 2) / 140) ** 2 < 1
oval = oval.astype("int32")  # (H, W): 0 background, 1 pet
everywhere = np.ones_like(oval)  # every pixel is a pet
print(
    f"oval: {iou(truth, oval, 1):.2f}, pet everywhere: {iou(truth, everywhere, 1):.2f}"
)

# %% [markdown]
# Neither guess looked at the photo. IoU alone does not say how good .6 is: compare it with
# such a guess, which gets much here because Chelsea fills most of her photo. Where does
# the number come from? Count:

# %%
colors = {"truth alone": "#E69F00", "both": "#009E73", "guess alone": "#0072B2"}
colors |= {"neither": "#DDDDDD", "void": "#FFFFFF"}
where = np.full(truth.shape, 3)  # (H, W): the number of a colour
where[truth == 1] = 0
where[oval == 1] = 2
where[(truth == 1) & (oval == 1)] = 1
where[truth == pets.VOID] = 4
for number, name in enumerate(colors):
    print(f"{name:12}{(where == number).sum():7,} pixels")

figure, axes = plots.grid(1, 2, size=3.4, aspect=0.7)
axes[0, 0].imshow(cat)
axes[0, 1].imshow(where, cmap=ListedColormap(list(colors.values())), vmin=0, vmax=4)
plots.legend(figure, colors)
plots.show(figure, "A cat, and where truth and guess agree or differ", photo=True)

# %% [markdown]
# "Both", divided by the sum of the first three rows, is the IoU of the oval.
#
# For many photos, add up the pixels of all of them first, and divide once. **Mean IoU** is
# the average over the classes. Do this for "background everywhere". For the class
# background, the pixels in both are the true background, and the pixels in at least one
# are all pixels. Pet and border are never predicted, so nothing is in both.

# %%
pet, background, border = counts.sum(0)  # pixels of all training pairs
both = np.array([0, background, 0])  # of each class
at_least_one = np.array([pet, pet + background + border, border])
mean_iou = np.mean(both / at_least_one)
print("IoU of each class", (both / at_least_one).round(2))
print(f"accuracy {shares[1]:.0%}, mean IoU {mean_iou:.0%}")

# %% [markdown]
# The same prediction and two scores. Accuracy makes this prediction look better than it is.
# Mean IoU does not, because every class counts alike, and two of three have an IoU of 0. So this series
# reports mean IoU.
#
# ## 5. One size for all
#
# Photos of a batch must have one size. For a photo, bilinear resizing is fine: the mean
# of two colours is a colour.
#
# **Predict**: in a trimap, what is the mean of a pet pixel (1) and a border pixel (3)?

# %%
half = (trimap.shape[0] // 2, trimap.shape[1] // 2)
column = trimap[..., None].astype("float32")  # (H, W, 1)
bilinear = tf.image.resize(column, half, "bilinear")[..., 0].numpy()  # (H/2, W/2)
nearest = tf.image.resize(column, half, "nearest")[..., 0].numpy()  # (H/2, W/2)
values = np.unique(bilinear)
print(
    f"bilinear: {len(values)} values, for example {values[1]:.3f} and {values[-2]:.3f}"
)
print("nearest neighbour:", np.unique(nearest))

# %% [markdown]
# The mean of 1 and 3 is 2, and 2 is background. Most other values are no class at all.
# Rounding does not help: it puts background between pet and border, where there is none.

# %%
rounded = np.round(bilinear)  # 1.6 becomes 2
changed = rounded != nearest
no_background_near = ~ndimage.maximum_filter(nearest == 2, size=3)  # (H/2, W/2)
invented = (rounded == 2) & no_background_near
print(f"{changed.sum()} of {changed.size} pixels have another class now")
print(f"{invented.sum()} of them are background with no background beside them")

# %%
y, x = np.argwhere(changed)[changed.sum() // 2]  # one pixel that changed
top = np.clip(y - 12, 0, max(half[0] - 24, 0))  # 24 rows and 32 columns around it
left = np.clip(x - 16, 0, max(half[1] - 32, 0))
close = slice(top, top + 24), slice(left, left + 32)
figure, axes = plots.grid(1, 3, size=2.8, aspect=0.8)
axes[0, 0].imshow(plots.colored(nearest[close].astype(int) - 1, names))
axes[0, 0].set_title("nearest neighbour")
axes[0, 1].imshow(plots.colored(rounded[close].astype(int) - 1, names))
axes[0, 1].set_title("bilinear, then rounded")
axes[0, 2].imshow(changed[close], cmap="gray_r", vmin=-0.2, vmax=1)
axes[0, 2].set_title("black: changed")
plots.legend(figure, names)
plots.show(
    figure, "A part of a mask, resized in two ways, and what differs", photo=True
)

# %% [markdown]
# So **masks of ids are resized by nearest neighbour**.
#
# All photos of a batch need one size, and a square suits upright and lying photos alike. There
# are three ways to make a photo a square. Each costs something:

# %%
side = IMAGE_SIZE
# antialias averages where a photo shrinks: without it, fine fur turns into dots.
squashed = tf.image.resize(cat, (side, side), antialias=True)
padded = tf.image.resize_with_pad(cat, side, side, antialias=True)
left = (cat.shape[1] - cat.shape[0]) // 2
cropped = cat[:, left : left + cat.shape[0]]  # (300, 300, 3)
cropped = tf.image.resize(cropped, (side, side), antialias=True)

# %%
ratio = cat.shape[1] / cat.shape[0]
figure, axes = plots.grid(1, 3, size=2.6)
for axis, picture, title in (
    (axes[0, 0], squashed, f"squashed: {ratio:.1f} times too narrow"),
    (axes[0, 1], padded, f"padded: {1 - 1 / ratio:.0%} is empty"),
    (axes[0, 2], cropped, f"cropped: {1 - 1 / ratio:.0%} is lost"),
):
    axis.imshow(plots.photo(picture))
    axis.set_title(title, fontsize=10)
plots.show(figure, "The cat squashed, padded with black, and cropped", photo=True)

# %% [markdown]
# This series **squashes**. Every part of the photo stays, and no pixel is spent on padding.
# Photos are squashed in training and in use alike, and a mask is stretched back to its
# photo's shape afterwards. If proportions tell your classes apart,
# pad instead, and pad the mask with 255.
#
# ## 6. Which photos are held back
#
# The Oxford set comes with a list of **test** photos. The series looks at them on page 07
# alone. One in ten of the others is for **validation**, to compare networks while you
# build them. Which ones? If you draw them at random and later add a photo, all the draws
# change. With a hash of the file name, a photo's place depends on its name alone:


# %%
def in_validation(file_name):
    """Return whether a photo of the official trainval list belongs to validation."""
    return int(hashlib.sha256(file_name.encode()).hexdigest(), 16) % 10 == 0


chosen = [f"pet_{n}.jpg" for n in range(100) if in_validation(f"pet_{n}.jpg")]
print(len(chosen), "of 100 names, among them", ", ".join(chosen[:3]))

# %%
validation = pets.load_examples(DATASET, "validation").as_numpy_iterator()
held_back = [one["file_name"].decode() for one in validation]
print(f"{len(sizes)} pairs to train on, {len(held_back)} for validation")
assert all(in_validation(name) for name in held_back)

# %% [markdown]
# If one pet has several photos, hash the pet's name instead. Otherwise the network is
# tested on pets that it knows.
#
# ## 7. The pipeline
#
# Most data sets come as two folders: photos, and masks of the same names, which hold class
# ids from 0. Make such folders from the first 64 pairs, so that the code below is the code
# that you would write for your own:

# %%
folder = pathlib.Path(tempfile.mkdtemp())
for name in ("images", "masks"):
    (folder / name).mkdir()
for number, one in enumerate(examples.take(64).as_numpy_iterator()):
    Image.fromarray(one["image"]).save(folder / "images" / f"{number:03}.png")
    ids = class_ids(one["trimap"], one["species"], "trimap")  # (H, W)
    Image.fromarray(ids.astype("uint8")).save(folder / "masks" / f"{number:03}.png")

# %% [markdown]
# **List** the pairs. Each mask's path is made from its photo's name, so there is no second
# list that could be in another order. Check them all once: a photo and its mask must have
# one size, and a mask must hold ids that you know. (A mask of 0 and 255, for example, has
# to be divided by 255 first, because here 255 is void.)

# %%
train_pairs, validation_pairs, ids = [], [], set()
for image_path in sorted((folder / "images").glob("*.png")):  # or "*.jpg"
    mask_path = (folder / "masks" / image_path.name).with_suffix(".png")
    mask = Image.open(mask_path)
    assert mask.mode == "L", f"{mask_path} does not hold plain ids of 8 bits"
    assert mask.size == Image.open(image_path).size, f"{mask_path} has another size"
    ids |= set(np.unique(mask))
    chosen = validation_pairs if in_validation(image_path.name) else train_pairs
    chosen.append((str(image_path), str(mask_path)))
assert ids <= {0, 1, 2, 255} and ids != {0, 255}, f"the masks hold {ids}"
print(len(train_pairs), "pairs to train on,", len(validation_pairs), "for validation")

# %% [markdown]
# **Read** a pair. (Masks with a palette, as those of PASCAL VOC, are refused above, because
# TensorFlow would read their colours. Save them anew once, with
# `Image.fromarray(np.array(mask)).save(...)`.)


# %%
def read(paths):
    """Return a photo (H, W, 3) and its class ids (H, W, 1), both uint8."""
    image, mask = tf.io.read_file(paths[0]), tf.io.read_file(paths[1])
    image = tf.io.decode_image(image, channels=3, expand_animations=False)
    mask = tf.io.decode_image(mask, channels=1, expand_animations=False)
    return image, mask


# %% [markdown]
# **Resize** both, each in its own way, and put them into one array of four channels: red,
# green, blue, class id. What happens to a photo from here on happens to its mask.


# %%
def resize(image, mask, side):
    """Return one array (side, side, 4) uint8: a photo, and its class ids."""
    image = tf.image.resize(image, (side, side), antialias=True)  # (side, side, 3)
    mask = tf.image.resize(mask, (side, side), "nearest")  # (side, side, 1)
    image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), "uint8")
    return tf.concat([image, mask], axis=-1)


# %% [markdown]
# **Augment**: show the network each photo a little differently in every epoch. Mirror
# half of the pairs, and cut a square out of each at a random place. Neither mixes pixels,
# so ids stay ids. (A change of colours belongs after `split`, where it cannot touch ids.)


# %%
def augment(pair):
    """Return a part (IMAGE_SIZE, IMAGE_SIZE, 4) of a larger pair, perhaps mirrored."""
    pair = tf.image.random_flip_left_right(pair)
    return tf.image.random_crop(pair, (IMAGE_SIZE, IMAGE_SIZE, 4))


def split(pair):
    """Return the photo (H, W, 3) float32 and its class ids (H, W) int32."""
    return tf.cast(pair[..., :3], "float32"), tf.cast(pair[..., 3], "int32")


# %% [markdown]
# **Chain** the steps with `map`, which applies a function to every example. What is the same
# in every epoch (a pass over all pairs) stands before `cache`, which keeps it in memory:
# 0.25 MB for each pair at 252 pixels. What changes stands after it. `prefetch` prepares
# the next batches while the network computes.

# %%
ROOM = IMAGE_SIZE + IMAGE_SIZE // 8  # side before cutting: 252 for 224
AUTO = tf.data.AUTOTUNE  # several examples at a time, as many as this machine likes

train = tf.data.Dataset.from_tensor_slices(train_pairs)
train = train.map(read, AUTO).map(lambda image, mask: resize(image, mask, ROOM), AUTO)
train = train.cache().shuffle(len(train_pairs), seed=SEED)
train = train.map(augment).map(split).batch(BATCH_SIZE).prefetch(2)

whole = tf.data.Dataset.from_tensor_slices(validation_pairs).map(read, AUTO)
whole = whole.map(lambda image, mask: resize(image, mask, IMAGE_SIZE), AUTO)
validation = whole.cache().map(split).batch(BATCH_SIZE)

# %%
images, masks = next(iter(train))
print("images", images.shape, images.dtype.name)  # (B, H, W, 3)
print("masks ", masks.shape, masks.dtype.name, "ids", np.unique(masks))  # (B, H, W)
assert images.shape[1:] == (IMAGE_SIZE, IMAGE_SIZE, 3)
assert masks.shape[1:] == (IMAGE_SIZE, IMAGE_SIZE)
assert set(np.unique(masks)) <= {0, 1, 2, 255}

# %% [markdown]
# `model.fit(train, validation_data=validation)` takes both as they are. The networks of
# this series take colours from 0 to 255. Others may want them scaled.
#
# Before every training, look at a batch. Does each mask fit its photo?

# %%
figure, axes = plots.grid(2, 6, size=1.5)
for column in range(6):
    axes[0, column].imshow(plots.photo(images[column]))
    axes[1, column].imshow(plots.colored(masks[column], names))
plots.legend(figure, names)
plots.show(figure, "Six photos of a batch, their masks below", photo=True)

# %% [markdown]
# If somebody mirrors the photo and forgets the mask, no error says so.
#
# **Predict** the IoU of Chelsea's mask with the mask that the mirrored photo should have.

# %%
should_be = class_ids(cat_trimap[:, ::-1], 0, "foreground")  # (H, W), mirrored too
forgotten = class_ids(cat_trimap, 0, "foreground")  # (H, W)
print(f"IoU of the pet {iou(should_be, forgotten, 1):.2f}")
figure, axes = plots.grid(1, 2, size=3.2, aspect=0.7)
axes[0, 0].imshow(plots.overlay(cat, cat_trimap - 1, names=names))
axes[0, 0].set_title("photo and mask")
axes[0, 1].imshow(plots.overlay(cat[:, ::-1], cat_trimap - 1, names=names))
axes[0, 1].set_title("mirrored photo, forgotten mask")
plots.legend(figure, ["pet", "border"])
plots.show(figure, "A mask that fits the cat, and one that does not", photo=True)

# %% [markdown]
# Not even near 0, because Chelsea fills most of the photo. A network would learn from such
# pairs without complaint. Looking at a batch finds this bug.
#
# ## 8. `pets.load`: the same, hardened
#
# From here on the pages call `pets.load`. It makes batches as section 7 does, and
#
# - it downloads or draws the data, checks it, and names a damaged file in one sentence;
# - it also zooms out, brightens and darkens; pixels that come in from beyond the photo are
#   void, in the task `"trimap"` too;
# - its random numbers follow from the seed, the epoch and the photo, so that a run can be
#   repeated, and a run that was stopped can go on with the same batches;
# - when the resized photos need more than 2 GB, it keeps the files' bytes instead, and
#   decodes them again in every epoch.

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
print("images", images.shape, images.dtype.name)  # (B, H, W, 3)
print("masks ", masks.shape, masks.dtype.name, "ids", np.unique(masks))  # (B, H, W)

# %% tags=["result"]
figure, axes = plots.grid(2, 4, size=2.2)
for axis, photo, mask in zip(axes.flat, images, masks, strict=False):
    mask = np.where(mask == pets.VOID, 1, mask)  # show void untinted, as background
    axis.imshow(plots.overlay(photo, mask, names=names))
plots.legend(figure, ["pet", "border"])
plots.show(figure, "Eight pets of a batch, each with its mask laid over", photo=True)

# %% [markdown]
# The code cell above drew the picture on top of this page.
#
# This is the augmentation alone, six variants of Chelsea. Each is made from six random
# numbers, by the part of `pets.load` called `batching.augment`:

# %%
square = tf.image.resize(cat, (IMAGE_SIZE, IMAGE_SIZE), antialias=True)
ids = tf.image.resize(cat_trimap[..., None] - 1, (IMAGE_SIZE, IMAGE_SIZE), "nearest")
draws = np.random.default_rng(SEED).random((6, batching.NUM_DRAWS), "float32")
varied, varied_ids = batching.augment([square] * 6, [ids[..., 0]] * 6, draws)
print(varied.shape, varied_ids.shape)  # (6, H, W, 3), (6, H, W)

figure, axes = plots.grid(2, 6, size=1.5)
for column in range(6):
    axes[0, column].imshow(plots.photo(varied[column]))
    axes[1, column].imshow(plots.colored(varied_ids[column], names))
plots.legend(figure, [*names, "void"])
plots.show(figure, "Six variants of a cat above, their masks below", photo=True)

# %% [markdown]
# Where the photo does not reach, the picture is grey and the mask void. If this grey were called
# background, it would only add easy pixels to the loss and to the score.
#
# Is it repeatable? Build it twice, and compare the first batch:


# %%
def first_batch():
    """Build the pipeline anew and return its first batch."""
    options = {"augment": True, "shuffle": True, "seed": SEED}
    return next(iter(pets.load(DATASET, "train", image_size=IMAGE_SIZE, **options)))


one, other = first_batch(), first_batch()
np.testing.assert_array_equal(one[0], other[0])
np.testing.assert_array_equal(one[1], other[1])
print("built twice, the same first batch, bit for bit")

# %% [markdown]
# And how fast is it? A GPU that waits for photos is idle. The photos are resized and in
# memory by now. Time a pass without a network:

# %% tags=["key-figure"]
started, photos = time.perf_counter(), 0
for images, _ in train:
    photos += len(images)
speed = photos / (time.perf_counter() - started)
print(
    f"{speed:.0f} photos a second at {IMAGE_SIZE} px, augmented; "
    f"'background everywhere': accuracy {shares[1]:.0%}, mean IoU {mean_iou:.0%}"
)

# %% [markdown]
# Compare the first number with training: `fit` prints the time of a step, and a step takes
# `BATCH_SIZE` photos. If the pipeline is not clearly faster, the network waits.
#
# ## 9. What can go wrong
#
# - **A thin wrong class along outlines.** The mask was resized bilinearly and rounded. All
#   its ids are valid, so no check of ids finds it. Look at masks enlarged.
#   [See it](09_bug_zoo.ipynb#bilinear-masks).
# - **The loss is NaN, or an error speaks of label values.** Ids run from 1 to 3 instead of
#   0 to 2, or void (255) reaches a loss without `ignore_class=255`. [See it](09_bug_zoo.ipynb#labels-from-1).
# - **Scores stay low, and masks lie beside their pets.** Photo and mask were augmented by
#   two different draws. [See it](09_bug_zoo.ipynb#two-draws).
#
# ## 10. Summary
#
# - In a trimap, 1 is the pet, 2 the background, 3 the border.
# - Three tasks follow from it. Loss and scores skip void pixels.
# - IoU is the pixels in both over the pixels in at least one. "Background everywhere" has
#   a passable accuracy and a poor mean IoU.
# - Masks of ids are resized by nearest neighbour. Photos are squashed to squares.
# - While photo and mask are one array, nothing moves one without the other.
#
# ## Questions
#
# <details><summary>1. A paper reports 90 % pixel accuracy on two classes. What do you ask
# first?</summary>
#
# What "background everywhere" scores on the same photos, whether the border counts, and
# the mean IoU.
# </details>
#
# <details><summary>2. Why is the border void in the task "species", instead of
# pet?</summary>
#
# The true outline runs somewhere within the border. Whichever class you gave it, part of
# it would be wrong, and a correct network would lose points there.
# </details>
#
# <details><summary>3. You want to turn photos by a random angle as well. Where in the
# chain does that go, and what do you take care of?</summary>
#
# After `cache`, in `augment`. Turning reads between pixels, so the four channels cannot
# be turned as one: the photo bilinearly, the mask by nearest neighbour, both by the same
# angle, and the corners that come in are void.
# </details>
#
# ## References
#
# - O. Parkhi, A. Vedaldi, A. Zisserman, C. Jawahar. *Cats and Dogs*. CVPR 2012. The data
#   set; licence CC BY-SA 4.0, photographs belong to their owners.
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. Void, and mean IoU.
# - [data/README.md](../data/README.md): where all data comes from, Chelsea's trimap too.
