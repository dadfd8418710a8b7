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
# Page 01 classified a photo window by window. This page changes the classifier, without
# changing a single weight, into a network that answers for **all windows in one pass**.
# That is the idea behind the name *fully convolutional network*.
#
# **You will be able to**
#
# - turn a dense layer into a convolution, and check that it computes the same,
# - say how many scores a larger photo gives, and which window each belongs to,
# - predict how much faster one pass is than windows, and measure it,
# - explain why windows and one pass give different scores,
# - compute the receptive field of a score.
#
# **You need** page 01. Without a GPU this page takes {minutes}. The classifier is the one
# that page 01 has saved, or is trained here on as many photos.
#
# This is the end: a photo, the mask from windows, and the mask from one pass.

# %% tags=["setup"]

# %%
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers

from utils import environment, pet_records, pets, plots, surgery, vgg16

# %% tags=["preview"]
plots.picture(
    "02_dense_to_convolution.jpg",
    alt="The mask of the sliding window beside the mask of one convolutional pass",
)

# %% [markdown]
# The next code cell holds all that you may want to change.

# %% tags=["parameters"]
DATASET = "synthetic_pets"  # or "oxford_iiit_pet" (811 MB to download), or a folder
TRAIN_PHOTOS = 96  # photos to learn from, as on page 01
FC_UNITS = 4096  # width of the dense layers, as on page 01
EPOCHS = 5  # passes over them, as on page 01
PHOTOS = 16  # photos on which both networks must agree
SLIDE_HEIGHT = 512  # height in pixels of the photo we slide over, as on page 01
SIZES = (256, 320, 384)  # sides in pixels at which both are timed
SEED = 0  # of all random numbers

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. One dense layer
#
# Take a map small enough to read: 2x2 positions with 3 channels. In front of a dense layer
# it is flattened to 12 numbers. Each output is a weighted sum of all 12, plus a bias.

# %%
small_map = np.arange(12, dtype="float32").reshape(1, 2, 2, 3)  # (B, H, W, C)
dense = layers.Dense(5, bias_initializer="ones")
flat = small_map.reshape(1, -1)  # (B, H * W * C)
answer = dense(flat).numpy()  # (B, 5)
print(flat.shape, "->", answer.shape, "kernel", dense.kernel.shape)

# %% [markdown]
# A convolution with a kernel **as large as the map** also computes weighted sums of all 12
# numbers, at the one position where it fits. So the same weights serve, each in its right place.
# Flattening goes through the map row by row, and keeps the channels of a position
# together. So row $(y \cdot W + x) \cdot C + c$ of the dense kernel belongs to position
# $(y, x)$ and channel $c$, where $W$ is the width of the map and $C$ its number of
# channels. A `reshape` to (height, width, channels, outputs) puts each weight there. The
# bias stays as it is.


# %%
def convolution_weights(kernel, bias, height, width):
    """Reshape a dense layer's weights into those of the convolution that equals it."""
    rows, units = kernel.shape
    channels = rows // (height * width)
    return kernel.reshape(height, width, channels, units), bias


# %%
kernel, bias = convolution_weights(*dense.get_weights(), height=2, width=2)
convolution = layers.Conv2D(5, kernel_size=2)  # 'valid': only where it fits entirely
convolution.build(small_map.shape)
convolution.set_weights([kernel, bias])
same = convolution(small_map).numpy()  # (B, 1, 1, 5)
print(kernel.shape, "->", same.shape, "largest difference", np.abs(same - answer).max())
np.testing.assert_allclose(same[:, 0, 0], answer, rtol=1e-5, atol=1e-5)

# %% [markdown]
# Caffe and PyTorch flatten channel by channel instead. So code ported from there splits the
# rows of the kernel into (channels, height, width).
#
# **Predict**: what goes wrong if you do this here? No shape is wrong.

# %%
split = dense.get_weights()[0].reshape(3, 2, 2, 5)  # (C, H, W, outputs)
wrong = split.transpose(1, 2, 0, 3)  # (H, W, C, outputs)
convolution.set_weights([wrong, bias])
print("right", answer.round(2))
print("wrong", convolution(small_map).numpy()[0, 0].round(2))
assert not np.allclose(convolution(small_map)[:, 0, 0], answer, atol=0.1)

# %% [markdown]
# The numbers are wrong, and no error says so. So this page compares after every step.
#
# ## 2. VGG16's three dense layers
#
# Take page 01's classifier: background, cat or dog, from a window of 224 pixels. Cut it
# behind the last pooling into convolutions and dense layers. If page 01 has not run with
# these settings, the dense layers are trained here, on three squares of each photo: the
# whole photo, and two quarters of it.


# %%
def train_dense_layers(model, convolutions, dense_layers):
    """Load ImageNet's convolutions; train the dense layers on their features."""
    print(vgg16.load_imagenet_weights(model))
    batches = pets.load(
        DATASET, "train", task="species", image_size=448, batch_size=TRAIN_PHOTOS
    )
    images, masks = next(batches.as_numpy_iterator())  # (N, 448, 448, 3), (N, 448, 448)
    squares = [images[:, ::2, ::2], images[:, :224, :224], images[:, 224:, 224:]]
    labels = [masks[:, 224, 224], masks[:, 112, 112], masks[:, 336, 336]]  # the centres
    squares, labels = np.concatenate(squares), np.concatenate(labels)
    known = labels != pets.VOID
    features = convolutions.predict(squares[known], batch_size=16, verbose=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    dense_layers.compile(optimizer=keras.optimizers.Adam(1e-4), loss=loss)
    dense_layers.fit(features, labels[known], batch_size=64, epochs=EPOCHS, verbose=2)


# %%
model = vgg16.build(num_classes=3, fc_units=FC_UNITS)  # 224-pixel images to logits
pool5 = model.get_layer("block5_pool").output  # (B, 7, 7, 512)
convolutions = keras.Model(model.input, pool5)  # images to features
dense_layers = keras.Model(pool5, model.output)  # features to logits

settings = (pet_records.state(DATASET), TRAIN_PHOTOS, FC_UNITS, EPOCHS)
saved = environment.cached_network("classifier", *settings)
saved = saved.with_suffix(".weights.h5")  # of these very photos
if saved.is_file():
    model.load_weights(saved)
else:
    train_dense_layers(model, convolutions, dense_layers)

# %% [markdown]
# Keep the features of a few validation photos:

# %%
found = pets.load_examples(DATASET, "validation", task="species")
examples = list(found.as_numpy_iterator())
step = len(examples) / PHOTOS  # spread evenly over the split
chosen = [examples[int(k * step)]["image"] for k in range(PHOTOS)]
photos = [tf.image.resize(image, (224, 224), antialias=True) for image in chosen]
photos = np.stack(photos)  # (16, 224, 224, 3)
features = convolutions.predict(photos, verbose=0)  # (16, 7, 7, 512)
print(photos.shape, "->", features.shape)

# %% [markdown]
# `fc1` takes the 7x7x512 map, flattened to 25,088 numbers. So it becomes a convolution with
# a **7x7** kernel. `fc2` takes 4,096 numbers: a map with one position. So it becomes a
# convolution with a **1x1** kernel, and `predictions` too. This is all the code:


# %%
def as_convolution(dense_layer, x, side):
    """Return a convolution that holds a dense layer's weights, built for x."""
    units = dense_layer.units
    convolution = layers.Conv2D(units, side, activation=dense_layer.activation)
    convolution.build(x.shape)
    weights = convolution_weights(*dense_layer.get_weights(), side, side)
    convolution.set_weights(weights)
    return convolution


def compare(name, dense_answer, convolution_answer):
    """Print and check how far two answers to the same photos are apart."""
    difference = np.abs(dense_answer - convolution_answer[:, 0, 0]).max()
    share = difference / np.ptp(dense_answer)
    print(
        f"{name:12}{dense_answer.shape!s:12}{convolution_answer.shape!s:18}{share:.1e}"
    )
    assert share <= 1e-4


# %% [markdown]
# The biases of these layers are close to 0, because they were trained only briefly. A lost
# bias would hardly show. So for the comparison give them random values:

# %%
random = np.random.default_rng(SEED)
trained_biases = {}
for name in ("fc1", "fc2", "predictions"):
    layer = model.get_layer(name)
    trained_biases[name] = layer.bias.numpy()
    layer.bias.assign(random.normal(size=layer.bias.shape))

# %%
fc1 = model.get_layer("fc1")
fc6 = as_convolution(fc1, features, side=7)
dense_1 = fc1(features.reshape(PHOTOS, -1)).numpy()  # (16, 4096)
map_1 = fc6(features).numpy()  # (16, 1, 1, 4096)
compare("fc1", dense_1, map_1)

# %% [markdown]
# The columns are the shape of the dense layer's output, the shape of the convolution's, and
# the largest difference as a share of the outputs' range. It is 0, or rounding where a
# machine adds up in another order. (The FCN paper calls the converted layers fc6 and fc7, as
# Caffe's VGG16 does.)
#
# The other two:

# %%
fc2, predictions = model.get_layer("fc2"), model.get_layer("predictions")
fc7 = as_convolution(fc2, map_1, side=1)
dense_2 = fc2(dense_1).numpy()  # (16, 4096)
map_2 = fc7(map_1).numpy()  # (16, 1, 1, 4096)
compare("fc2", dense_2, map_2)

score = as_convolution(predictions, map_2, side=1)
dense_3 = predictions(dense_2).numpy()  # (16, 3)
map_3 = score(map_2).numpy()  # (16, 1, 1, 3)
compare("predictions", dense_3, map_3)

# %% [markdown]
# Two mistakes are common: to leave the biases behind, and to flatten in the wrong order.
#
# **Predict** which of the two changes more answers.


# %%
def answers_with(converted, kernel, bias, features):
    """Score features with another kernel and bias in the first layer."""
    first = converted.layers[0]
    right = first.get_weights()
    first.set_weights([kernel, bias])
    scores = converted(features).numpy()[:, 0, 0]  # (N, 3)
    first.set_weights(right)
    return scores


converted = keras.Sequential([fc6, fc7, score])
kernel, bias = fc6.get_weights()  # (7, 7, 512, 4096), (4096,)
shuffled = fc1.get_weights()[0].reshape(512, 7, 7, FC_UNITS).transpose(1, 2, 0, 3)

# %%
for name, scores in (
    ("right", answers_with(converted, kernel, bias, features)),
    ("no bias in fc6", answers_with(converted, kernel, 0 * bias, features)),
    ("channels-first order", answers_with(converted, shuffled, bias, features)),
):
    agree = (scores.argmax(-1) == dense_3.argmax(-1)).mean()
    off = np.abs(scores - dense_3).max() / np.ptp(dense_3)
    print(f"{name:21} same class on {agree:4.0%} of the photos, off by {off:.2%}")

# %% [markdown]
# Both mistakes change scores, and neither gives an error. The comparison finds both.
#
# ## 3. The whole network
#
# Put the trained biases back. Then `surgery.convolutionize` does the same to the whole
# network, and refuses in one sentence what it cannot convert.

# %%
converted = kernel = shuffled = fc6 = None  # frees 1.2 GB
for name, bias in trained_biases.items():
    model.get_layer(name).bias.assign(bias)
network = surgery.convolutionize(model)
print(network.input_shape, "->", network.output_shape)

dense_logits = model(photos, training=False).numpy()  # (16, 3)
map_logits = network(photos, training=False).numpy()  # (16, 1, 1, 3)
compare("whole model", dense_logits, map_logits)
assert network.count_params() == model.count_params()

# %% [markdown]
# The input shape is `(None, None, None, 3)`: any height and width from 224 up. Only the first dense
# layer needed 224 pixels, and it is a convolution now.
#
# ## 4. A larger photo gives a map of scores

# %%
plots.picture(
    "convolutional.svg", alt="VGG16 with convolutions in place of its dense layers"
)

# %% [markdown]
# A photo of 224 pixels gives a last map (pool5) of 7x7 cells. The 7x7 kernel fits once. A
# larger photo gives a larger pool5. There the kernel fits at several places, one cell
# apart, which is 32 pixels in the photo. With $H$ the height of the photo there are
#
# $$\lfloor H / 32 \rfloor - 6$$
#
# rows of scores, and the same for columns with the width $W$.

# %%
print("photo         pool5       scores")
for height, width in ((224, 224), (256, 320), (384, 576), (500, 375), (640, 640)):
    pooled = (height // 32, width // 32)
    _, rows, columns, _ = network.compute_output_shape((1, height, width, 3))
    assert (rows, columns) == (height // 32 - 6, width // 32 - 6)
    print(f"{height}x{width:<8}  {pooled[0]}x{pooled[1]:<8} {rows}x{columns}")

# %% [markdown]
# Take the photo of page 01, whose cat fills about a quarter of it, enlarged to the same
# height:

# %%
cats = [one for one in examples if one["species"] == 0] or examples  # dogs, if no cats
shares = np.array([np.isin(one["mask"], (1, 2)).mean() for one in cats])  # of the pet
scene = cats[np.abs(shares - 0.25).argmin()]["image"]  # (H, W, 3) uint8
width = round(scene.shape[1] * SLIDE_HEIGHT / scene.shape[0] / 32) * 32
large = tf.image.resize(scene, (SLIDE_HEIGHT, max(width, 224)), antialias=True).numpy()

pool5_rows, pool5_columns = large.shape[0] // 32, large.shape[1] // 32
rows, columns = pool5_rows - 6, pool5_columns - 6
print(f"photo {large.shape[0]}x{large.shape[1]} px")
print(f"pool5 {pool5_rows}x{pool5_columns} cells, scores {rows}x{columns}")

# %% [markdown]
# Here are three of the places where the kernel stops, one colour each: the window in the
# photo, the 7x7 cells of pool5 that the kernel covers, and the cell of the map of scores
# that it fills.

# %%
stops = {"#D55E00": (0, 0), "#0072B2": (0, 1), "#009E73": (rows - 1, columns - 1)}
figure, axes = plots.grid(1, 3, size=3.0, aspect=large.shape[0] / large.shape[1])
axes[0, 0].imshow(plots.photo(large))
axes[0, 1].imshow(np.zeros((pool5_rows, pool5_columns)), cmap="Greys")
axes[0, 2].imshow(np.zeros((rows, columns)), cmap="Greys")
axes[0, 0].set_title("photo, windows of 224 px")
axes[0, 1].set_title(f"pool5, {pool5_rows}x{pool5_columns} cells")
axes[0, 2].set_title(f"scores, {rows}x{columns} cells")
for color, (row, column) in stops.items():
    for axis, unit, side in zip(axes[0], (32, 1, 1), (7, 7, 1), strict=True):
        edge = 0.5  # a pixel's or a cell's edge lies half of it before its centre
        corner = (column * unit - edge, row * unit - edge)
        box = plt.Rectangle(corner, side * unit, side * unit, fill=False)
        box.set(edgecolor=color, linewidth=3)
        axis.add_patch(box)
for axis, (high, wide) in (
    (axes[0, 1], (pool5_rows, pool5_columns)),
    (axes[0, 2], (rows, columns)),
):
    axis.hlines(np.arange(high + 1) - 0.5, -0.5, wide - 0.5, color="#BBBBBB", lw=0.8)
    axis.vlines(np.arange(wide + 1) - 0.5, -0.5, high - 0.5, color="#BBBBBB", lw=0.8)
plots.show(figure, "Three windows in a photo, on pool5, and their cells of scores")

# %% [markdown]
# One step of the kernel on pool5 is 32 pixels in the photo, and one cell in the scores. So the
# score in row $i$ and column $j$ belongs to the window whose upper left corner is at
# $(32\,i, 32\,j)$ pixels, and whose centre is 112 pixels further down and to the right. Now let the network do it, in one call:

# %%
network(large[None])  # the first call prepares memory
started = time.perf_counter()
one_pass = network(large[None], training=False)[0].numpy()  # (H/32 - 6, W/32 - 6, 3)
one_pass_seconds = time.perf_counter() - started
print(large.shape, "->", one_pass.shape, f"{one_pass_seconds:.2f} s")
assert one_pass.shape == (rows, columns, 3)

# %% [markdown]
# And window by window. Both functions are those of page 01.
#
# **Predict**: how many times as long does this take?


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


def paint(labels, shape, window=224, stride=32):
    """Paint each window's label into the cell at its centre; -1 where there is none."""
    mask = np.full(shape, -1)
    for row, column in np.ndindex(*labels.shape):
        top = row * stride + (window - stride) // 2
        left = column * stride + (window - stride) // 2
        mask[top : top + stride, left : left + stride] = labels[row, column]
    return mask


# %%
started = time.perf_counter()
windows = slide(model, large)  # (H/32 - 6, W/32 - 6, 3)
window_seconds = time.perf_counter() - started
print(
    f"{math.prod(windows.shape[:2])} windows: {window_seconds:.1f} s, "
    f"{window_seconds / one_pass_seconds:.0f} times as long"
)
assert windows.shape == one_pass.shape

# %% [markdown]
# Many times as long: the windows overlap, and what they share is computed once in the one
# pass. Section 6 counts it.
#
# The next code cell paints both maps of scores into the photo, each score at the centre of
# its window. It drew the picture on top of this page. Most mistakes are in both masks: it is
# the same classifier.

# %% tags=["result"]
figure, axes = plots.grid(1, 3, size=3.0, aspect=large.shape[0] / large.shape[1])
axes[0, 0].imshow(plots.photo(large))
axes[0, 0].set_title("photo", loc="left")
for axis, scores, title in (
    (axes[0, 1], windows, f"sliding window: {window_seconds:.1f} s"),
    (axes[0, 2], one_pass, f"one pass: {one_pass_seconds:.2f} s"),
):
    mask = paint(scores.argmax(-1), large.shape[:2])  # (H, W)
    axis.imshow(plots.overlay(large, mask))
    axis.set_title(title, loc="left")
plots.legend(figure, pets.CLASS_NAMES["species"])
plots.show(figure, "A photo, its mask from windows, and from one pass", photo=True)

# %% [markdown]
# ## 5. Are the scores equal?
#
# At 224 pixels both networks agreed.
#
# **Predict**: do the two maps of scores agree as well?

# %%
correlation = np.corrcoef(windows.ravel(), one_pass.ravel())[0, 1]
apart = np.abs(windows - one_pass)
agree = (windows.argmax(-1) == one_pass.argmax(-1)).mean()
print(f"correlation {correlation:.3f}, same class in {agree:.0%} of the cells")
print(
    f"differences: mean {apart.mean():.2f}, largest {apart.max():.2f}, "
    f"where logits span {np.ptp(windows):.1f}"
)
assert apart.max() > 1e-3 * np.ptp(windows)

# %% [markdown]
# No. They are closely related, and not equal. The reason is **zero padding**: each
# convolution of VGG16 puts a frame of zeros around its input. For a window that was cut
# out, the frame is around the window. In one pass, there are true neighbours where the
# window ends. Each 3x3 convolution lets the difference reach one cell further in. Look at
# pool5, for one window in the middle of the photo:

# %%
convolutions_only = keras.Model(network.input, network.get_layer("block5_pool").output)
inside = convolutions_only(large[None])[0].numpy()  # (H/32, W/32, 512)
top, left = rows // 2, columns // 2  # a window in the middle, in cells of 32 px
cut = large[None, top * 32 : top * 32 + 224, left * 32 : left * 32 + 224]
alone = convolutions_only(cut)[0].numpy()  # (7, 7, 512)
off = np.abs(alone - inside[top : top + 7, left : left + 7]).mean(-1) / inside.mean()

# %%
figure, axes = plots.grid(1, 1, size=3.2)
drawn = axes[0, 0].imshow(off, cmap="magma", vmin=0)
for y, x in np.ndindex(7, 7):
    color = "black" if off[y, x] > 0.6 * off.max() else "white"
    axes[0, 0].text(
        x, y, f"{off[y, x]:.0%}", ha="center", va="center", color=color, fontsize=7
    )
plots.show(figure, "Difference per cell of the 7x7 map: large at the rim, small inside")

# %% [markdown]
# Each number is the mean difference of a cell's features, as a share of the mean feature. It
# is large at the rim and small in the middle, so it comes from the frame. (The middle cell
# differs least: a cell of pool5 sees 212 pixels, which just fit into the window.) Neither
# answer is wrong. One pass knows the true neighbours. But the classifier was trained with a frame.
#
# To see that padding is the *only* reason, take a small network without any. It has random
# weights, and windows of 38 pixels:

# %%
unpadded = keras.Sequential(
    [
        keras.Input((38, 38, 3)),
        layers.Conv2D(8, 3, activation="relu"),  # (B, 36, 36, 8), 'valid': no zeros
        layers.MaxPooling2D(2),  # (B, 18, 18, 8)
        layers.Conv2D(16, 3, activation="relu"),  # (B, 16, 16, 16)
        layers.MaxPooling2D(2),  # (B, 8, 8, 16)
        layers.Flatten(),  # (B, 1024)
        layers.Dense(32, activation="relu"),
        layers.Dense(3),
    ]
)
unpadded_map = surgery.convolutionize(unpadded)

# %%
crop = large[:158, :198] / 255  # (158, 198, 3)
tiles = []
for top in range(0, 158 - 37, 4):  # a step of 4 pixels, for two poolings
    for left in range(0, 198 - 37, 4):
        tiles.append(crop[top : top + 38, left : left + 38])
slid = unpadded(np.stack(tiles)).numpy()  # (31 * 41, 3)
slid = slid.reshape(31, 41, 3)
mapped = unpadded_map(crop[None])[0].numpy()  # (31, 41, 3)
print(mapped.shape, f"largest difference {np.abs(slid - mapped).max():.1e}")
np.testing.assert_allclose(slid, mapped, rtol=1e-4, atol=1e-5)

# %% [markdown]
# Without padding all 1,271 positions agree but for rounding. So the conversion is exact, and
# the difference in VGG16 comes from the frame of zeros.
#
# ## 6. How much faster?
#
# Count the multiply-adds, as on page 01: those of one classifier run, times the number of
# windows, against those of one pass over the whole photo.


# %%
def predicted_ratio(network, side):
    """Return the work of all windows, in units of one fully convolutional pass."""
    windows = (side // 32 - 6) ** 2
    per_window = sum(surgery.multiply_adds(network, 224).values())
    return windows * per_window / sum(surgery.multiply_adds(network, side).values())


for side in SIZES:
    print(
        f"{side} px: {(side // 32 - 6) ** 2:3} windows, "
        f"{predicted_ratio(network, side):4.1f} times"
    )

# %% [markdown]
# The larger the photo, the more windows overlap at each place: up to 7x7 = 49 of them. At
# 224 pixels there is one window, and nothing to share.
#
# **Predict**: does the clock show the same ratios?


# %%
def seconds_of(function):
    """Time a function once, after a first call that prepares memory."""
    np.asarray(function())
    started = time.perf_counter()
    np.asarray(function())  # waits for a GPU to finish
    return time.perf_counter() - started


measured = {}
for side in SIZES:
    image = tf.image.resize(large, (side, side)).numpy()
    once = seconds_of(lambda image=image: network(image[None], training=False))
    slid = seconds_of(lambda image=image: slide(model, image))
    measured[side] = slid / once
    print(
        f"{side} px: {slid:5.1f} s slid, {once:5.2f} s in one pass, {slid / once:4.1f}x"
    )

# %% [markdown]
# Roughly: the ratio grows with the photo as counted. These are single timings on your
# machine. `benchmarks/sliding_window.py` took each five times, on two cores, also at larger
# sizes. The figure shows both.

# %%
record = environment.results("sliding_window")
figure, (axis,) = plots.curves((6.5, 3.4))
sides = [row["size"] for row in record["rows"]]
axis.plot(sides, [predicted_ratio(network, s) for s in sides], "--", label="predicted")
medians = [row["measured_ratio"]["median"] for row in record["rows"]]
axis.plot(sides, medians, "o", label="benchmark")
axis.plot(list(measured), list(measured.values()), "x", ms=8, label="this page")
axis.axhline(5, color="grey", lw=1)
axis.text(sides[-1], 4, "the paper: more than 5 (AlexNet)", color="grey", ha="right")
axis.set(xlabel="side of the photo, px", ylabel="times faster than sliding")
axis.legend(frameon=False)
plots.show(figure, "Times faster by the photo's size: growing as the count does")

# %% tags=["key-figure"]
side = SIZES[-1]
print(
    f"{side} px: {measured[side]:.1f}x measured, "
    f"{predicted_ratio(network, side):.1f}x predicted"
)

# %% [markdown]
# The benchmark's ratios grow as counted, and lie below the count: other things than
# multiply-adds take time too. (The FCN paper, section 3.1, reports *more than 5
# times* for AlexNet's 10x10 windows on a 500-pixel photo, on a GPU of 2014. It is the same
# effect, not the same measurement.)
#
# ## 7. How much of the photo does one score see?
#
# The square of pixels that can change a score is its **receptive field**. Go through the
# layers and keep two numbers: the side $r$ of that square, and the step $j$ between two
# neighbouring cells, both in pixels of the photo. Both start at 1. At a layer with kernel
# $k$ and stride $s$, $r$ becomes $r + (k - 1)\,j$ first, and then $j$ becomes $j \cdot s$.


# %%
def receptive_field(model):
    """Return side and step, in pixels, of what one output cell can see."""
    side, step = 1, 1
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.MaxPooling2D):
            convolves = isinstance(layer, layers.Conv2D)
            size = (layer.kernel_size if convolves else layer.pool_size)[0]
            side += (size - 1) * step
            step *= layer.strides[0]
    return side, step


side, step = receptive_field(network)
print(
    f"one score can see {side} x {side} pixels; the next score looks {step} px further"
)
assert (side, step) == (404, 32)

# %% [markdown]
# 404 pixels, as the paper says. That is more than the window's 224, because beyond the
# window's rim there are neighbours now instead of zeros.
#
# These pixels *can* change the score. How much does each? The gradient of the score with
# respect to the photo says it.

# %%
image = tf.image.resize(large, (480, 480))[None]  # (1, 480, 480, 3)
with tf.GradientTape() as tape:
    tape.watch(image)
    scores = network(image, training=False)  # (1, 9, 9, 3)
    middle = tf.reduce_max(scores[0, 4, 4])  # the best class's score
influence = tf.abs(tape.gradient(middle, image))[0].numpy().sum(-1)  # (480, 480)


# %% [markdown]
# If all 404x404 pixels had the same influence, a square of 286 pixels in the middle would hold
# half of it.
#
# **Predict** the side of the square that does hold half.


# %%
def share_within(influence, side):
    """Return the share of all influence inside a centred square."""
    height, width = influence.shape
    top, left = (height - side) // 2, (width - side) // 2
    return influence[top : top + side, left : left + side].sum() / influence.sum()


squares = np.arange(0, 480, 4)  # their sides
held = np.array([share_within(influence, one) for one in squares])
half = squares[held >= 0.5][0]
most = squares[held >= 0.95][0]
print(f"half within {half} px, 95 % within {most} px, all within {side} px")
assert share_within(influence, side) > 0.9999

# %%
figure, axes = plots.grid(1, 2, size=3.4)
axes[0, 0].imshow(plots.photo(image[0]))
axes[0, 1].imshow(influence**0.3, cmap="magma")
for axis in axes[0]:
    for wide, color in ((side, "#FFFFFF"), (most, "#56B4E9"), (half, "#E69F00")):
        corner = ((480 - wide) / 2, (480 - wide) / 2)
        axis.add_patch(plt.Rectangle(corner, wide, wide, fill=False, ec=color, lw=2))
colors = {"can see": "#FFFFFF", "95 %": "#56B4E9", "half": "#E69F00"}
plots.legend(figure, colors)
plots.show(figure, "The three squares on the photo and on its influence", photo=True)

# %% [markdown]
# The square is much smaller than 286 pixels: the middle has more influence than the rim. (The right picture is brightened so
# that weak influence shows.) This is called the **effective receptive field** (Luo et al.,
# 2016).
#
# ## 8. What can go wrong
#
# - **The converted network gives answers, but wrong ones.** The dense kernel was reshaped
#   channels first. Compare with the classifier on one photo.
#   [See it](09_bug_zoo.ipynb#flatten-order).
# - **Scores are slightly off everywhere.** The biases stayed in the dense layers. Compare
#   the scores, with biases that are not 0.
# - **The map is six cells smaller than pool5 where it should be as large.** This page's fc6
#   pads nothing ('valid'). That is right for reproducing a classifier. Page 04 shows the choices.
#   [See it](09_bug_zoo.ipynb#valid-fc6).
#
# ## 9. Summary
#
# - A dense layer over a map is a convolution with a kernel as large as the map. The
#   conversion is a `reshape`, and the biases stay.
# - A photo $H$ pixels high gives $\lfloor H/32 \rfloor - 6$ rows of scores in one pass.
# - You predicted from multiply-adds how much faster that is, and measured it.
# - With padding the scores differ from those of windows, and you know why.
# - A score can see 404 pixels. Half of its influence comes from a small part of them.
#
# ## Questions
#
# <details><summary>1. Which layer of a classifier forbids other photo sizes, and why not
# the convolutions?</summary>
#
# The first dense layer: the number of its weights fixes the length of the flattened map. A
# convolution's kernel does not depend on the size of the map.
# </details>
#
# <details><summary>2. Why can the speed-up for VGG16 never pass 49?</summary>
#
# In a very large photo each cell of 32 pixels lies in 7x7 = 49 windows. Windows compute its
# convolutions 49 times, one pass once. The dense layers gain nothing, which lowers the
# limit further, to about 36.
# </details>
#
# <details><summary>3. A colleague finds that sliding and one pass differ, and calls the
# conversion broken. What do you ask for?</summary>
#
# The same comparison at exactly 224 pixels. If they agree there, the conversion is right,
# and the difference is padding.
# </details>
#
# <details><summary>4. You need 1x1 instead of 7x7 for fc6. What do you lose?</summary>
#
# Its pretrained weights, because there are none of that shape. And part of the receptive
# field: a score then sees 212 pixels instead of 404.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/02_dense_to_convolution.ipynb),
# [solutions](solutions/02_dense_to_convolution.ipynb).
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. Section 3.1 for the conversion and its price.
# - W. Luo, Y. Li, R. Urtasun, R. Zemel. *Understanding the Effective Receptive Field in
#   Deep Convolutional Neural Networks*. NIPS 2016.
#
# Page 03 enlarges the map of scores to the size of the photo.
