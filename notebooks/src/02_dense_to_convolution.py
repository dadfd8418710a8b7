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
# Notebook 01 slid a classifier over a photo, window by window. This page turns the same
# classifier, weights untouched, into a network that answers for **all windows in one
# pass**. It is the idea that gave *fully convolutional networks* their name.
#
# **You will be able to**
#
# - turn a dense layer into a convolution, and prove that nothing changed,
# - say what a convolution on a larger photo computes, and how large its map is,
# - predict the speed-up over sliding windows, and measure it,
# - tell where the two differ in values, and why,
# - measure how much of a photo one score really sees.
#
# **You need** notebook 01. Without a GPU this page takes {minutes}; the
# classifier is the one that notebook 01 has saved, or is trained here on as many photos.
#
# Here is the end: a photo, what dozens of window passes drew, and what one pass draws.

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
# With real photographs, write the folder that holds `images/` and `annotations/`.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
TRAIN_PHOTOS = 2048 if ON_GPU else 96  # photos to learn from, as in notebook 01
FC_UNITS = 4096  # width of the dense layers, as in notebook 01
EPOCHS = 8  # passes over them, as in notebook 01
PHOTOS = 16  # photos on which both networks must agree
SLIDE_HEIGHT = 512  # height in pixels of the photo we slide over, as in notebook 01
SIZES = (256, 320, 384)  # sides in pixels at which both are timed
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. One dense layer, in your hand
#
# Take a map so small that you can read it: 2x2 positions with 3 channels. A dense layer
# flattens it to 12 numbers first, and computes each of its outputs as a weighted sum of
# all 12.

# %%
small_map = np.arange(12, dtype="float32").reshape(1, 2, 2, 3)  # (B, H, W, C)
dense = layers.Dense(5)
flat = small_map.reshape(1, -1)  # (B, H * W * C)
answer = dense(flat).numpy()  # (B, 5)
print(flat.shape, "->", answer.shape, "kernel", dense.kernel.shape)

# %% [markdown]
# A convolution whose kernel is **as large as the map** also computes weighted sums of
# all 12 numbers, at the one position where it fits. Same sums, if its weights are in the
# same order. Flattening puts channels last: row $(y \cdot W + x) \cdot C + c$ of the dense
# kernel belongs to position $(y, x)$ and channel $c$, where $W$ is the map's width and $C$
# its channels. So the conversion is one `reshape`, and the bias stays as it is.


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
# **Predict**: what happens if the reshape assumes channels *first*, as code ported from
# Caffe or PyTorch likes to do? No shape is wrong, so nothing will crash.

# %%
wrong = (
    dense.get_weights()[0].reshape(3, 2, 2, 5).transpose(1, 2, 0, 3)
)  # C, H, W order
convolution.set_weights([wrong, bias])
print("right", answer.round(2))
print("wrong", convolution(small_map).numpy()[0, 0].round(2))
assert not np.allclose(convolution(small_map)[:, 0, 0], answer, atol=0.1)

# %% [markdown]
# Different numbers, the same shape, no message. That is why the rest of this page
# compares and asserts after every step.
#
# ## 2. VGG16's three dense layers, one at a time
#
# Take notebook 01's classifier: background, cat or dog at the centre of a 224-pixel
# window. Cut it behind the last pooling, into convolutions and dense layers. If notebook
# 01 has not run on these photos, train the dense layers here, on three squares of each
# photo: the whole photo at half size, and two quarters of it.


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
# `fc1` sees the 7x7x512 map laid flat, 25,088 numbers. So it becomes a convolution with a
# **7x7** kernel:


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


# %%
fc1 = model.get_layer("fc1")
fc6 = as_convolution(fc1, features, side=7)
dense_1 = fc1(features.reshape(PHOTOS, -1)).numpy()  # (16, 4096)
map_1 = fc6(features).numpy()  # (16, 1, 1, 4096)
compare("fc1", dense_1, map_1)

# %% [markdown]
# Three columns: the dense layer's output, the convolution's, and the largest difference
# as a share of the outputs' range. What is left is rounding: the sums are added up in
# another order. (The paper numbers these layers on from the five blocks: fc6, fc7.)
#
# `fc2` sees 4,096 numbers, which is a map with **one** position and 4,096 channels. Its
# kernel is 1x1. The same goes for `predictions`:

# %%
fc2, predictions = model.get_layer("fc2"), model.get_layer("predictions")
fc7 = as_convolution(fc2, map_1, side=1)
dense_2, map_2 = (
    fc2(dense_1).numpy(),
    fc7(map_1).numpy(),
)  # (16, 4096), (16, 1, 1, 4096)
compare("fc2", dense_2, map_2)

# %%
score = as_convolution(predictions, map_2, side=1)
dense_3, map_3 = predictions(dense_2).numpy(), score(map_2).numpy()
compare("predictions", dense_3, map_3)  # (16, 3), (16, 1, 1, 3)

# %% [markdown]
# Now the bookkeeping. If nothing was added and nothing lost, the parameter counts must
# agree to the last one, biases included:

# %%
pairs = [(fc1, fc6), (fc2, fc7), (predictions, score)]
for one, other in pairs:
    print(
        f"{one.name:12}{one.kernel.shape!s:16}{one.count_params():>12,}   "
        f"{other.kernel.shape!s:22}{other.count_params():>12,}"
    )
    assert one.count_params() == other.count_params()

# %% [markdown]
# Two mistakes are common enough to deserve a look: leaving the biases behind, and the
# wrong flatten order. **Predict** which of the two does more harm.


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
# A lost bias does little here, because this `fc1` was trained only briefly and its
# biases are still small; with ImageNet's own dense layers the same mistake may cost more.
# That makes it the nastier bug: it hides. The wrong order shows, if you look.
#
# ## 3. The whole network
#
# `utils.surgery.convolutionize` does these three steps to any chain of layers that ends
# in `Flatten` and `Dense`, and refuses what it cannot convert with a sentence.

# %%
del converted, pairs, kernel, shuffled, fc6  # half a gigabyte each
network = surgery.convolutionize(model)
print(network.input_shape, "->", network.output_shape)

dense_logits = model(photos, training=False).numpy()  # (16, 3)
map_logits = network(photos, training=False).numpy()  # (16, 1, 1, 3)
compare("whole model", dense_logits, map_logits)
assert network.count_params() == model.count_params()

# %% [markdown]
# Look at the input shape once more: `(None, None, None, 3)`. The flattening was the only
# layer that insisted on 224 pixels, and it is gone.
#
# ## 4. A larger photo in, a map of scores out

# %%
plots.picture(
    "convolutional.svg", alt="VGG16 with convolutions in place of its dense layers"
)

# %% [markdown]
# A 224-pixel photo fits the 7x7 kernel once. On a larger photo the last pooling returns a
# larger map, and the kernel fits several times: once for each step of 32 pixels. With $H$
# the photo's height,
#
# $$\text{rows} = \lfloor H / 32 \rfloor - 6$$
#
# and the same for columns with the width $W$.

# %%
print("photo         pool5       scores")
for height, width in ((224, 224), (256, 320), (384, 576), (500, 375), (640, 640)):
    pooled = (height // 32, width // 32)
    _, rows, columns, _ = network.compute_output_shape((1, height, width, 3))
    assert (rows, columns) == (height // 32 - 6, width // 32 - 6)
    print(f"{height}x{width:<8}  {pooled[0]}x{pooled[1]:<8} {rows}x{columns}")

# %% [markdown]
# Now the photo of notebook 01, the one whose cat covers nearest to a quarter, enlarged in
# the same way. One call:

# %%
cats = [one for one in examples if one["species"] == 0] or examples  # dogs, if no cats
shares = np.array([np.isin(one["mask"], (1, 2)).mean() for one in cats])  # of the pet
scene = cats[np.abs(shares - 0.25).argmin()]["image"]  # (H, W, 3) uint8
width = round(scene.shape[1] * SLIDE_HEIGHT / scene.shape[0] / 32) * 32
large = tf.image.resize(scene, (SLIDE_HEIGHT, max(width, 224)), antialias=True).numpy()

network(large[None])  # the first call prepares memory
started = time.perf_counter()
one_pass = network(large[None], training=False)[0].numpy()  # (H/32 - 6, W/32 - 6, 3)
one_pass_seconds = time.perf_counter() - started
print(large.shape, "->", one_pass.shape, f"{one_pass_seconds:.2f} s")

# %% [markdown]
# And the old way, window by window. Both functions are those of notebook 01:


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
# Paint both maps of scores into the photo:

# %% tags=["result"]
figure, axes = plots.grid(1, 3, size=3.0, aspect=large.shape[0] / large.shape[1])
axes[0, 0].imshow(plots.photo(large))
axes[0, 0].set_title("the photo", loc="left")
for axis, scores, title in (
    (axes[0, 1], windows, f"sliding window: {window_seconds:.1f} s"),
    (axes[0, 2], one_pass, f"one pass: {one_pass_seconds:.2f} s"),
):
    mask = paint(scores.argmax(-1), large.shape[:2])  # (H, W)
    axis.imshow(plots.overlay(large, mask))
    axis.set_title(title, loc="left")
plots.show(
    figure, "A photo, its slid mask, and nearly the same from one pass", photo=True
)

# %% [markdown]
# Orange is cat, blue dog. The same picture, or nearly, in one pass; "nearly" is worth a
# section.
#
# ## 5. Are the values equal?
#
# Public tutorials say so, or leave it open. **Predict**: will the two maps of scores agree
# to rounding, as they did at 224 pixels?

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
# No: strongly related, and not equal. The reason is **zero padding**. Each of VGG16's
# convolutions pads its input with zeros. A window cut out of the photo ends in zeros; the
# same window *inside* the photo ends in its neighbours. The difference starts at the
# window's rim, and each convolution carries it one step further in. Watch it arrive at
# the last pooling, 7x7 cells for one window:

# %%
convolutions_only = keras.Model(network.input, network.get_layer("block5_pool").output)
inside = convolutions_only(large[None])[0].numpy()  # (H/32, W/32, 512)
top, left = 2, 3  # a window in the interior, in cells of 32 px
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
# Each number is the mean difference of that cell's features, relative to the average
# feature. Large along the rim, small in the middle: it comes from the frame, as claimed.
# Neither answer is wrong. The one pass sees the true neighbours, the window sees a
# frame of zeros; the classifier was trained with that frame.
#
# To be sure that padding is the *only* reason, take it away. A small network without any
# padding, random weights, a window of 38 pixels:

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
starts = [
    (y, x) for y in range(0, 158 - 37, 4) for x in range(0, 198 - 37, 4)
]  # stride 4
tiles = np.stack([crop[y : y + 38, x : x + 38] for y, x in starts])
slid = unpadded(tiles).numpy()  # (31 * 41, 3)
mapped = unpadded_map(crop[None])[0].numpy()  # (31, 41, 3)
print(
    mapped.shape,
    "largest difference",
    np.abs(slid.reshape(mapped.shape) - mapped).max(),
)
np.testing.assert_allclose(slid.reshape(mapped.shape), mapped, rtol=1e-4, atol=1e-5)

# %% [markdown]
# Without padding: equal to the last rounding, at all 1,271 positions. So the algebra is
# exact, and what differs in VGG16 is the frame of zeros around each window.
#
# ## 6. What it buys
#
# The two do the same sums, but the convolution does each shared one once. Count the
# multiply-adds: one pass over the large photo, against one classifier run per window.


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
# Why does it grow with the photo? At 224 px there is a single window, and nothing to
# share. The larger the photo, the more windows overlap in any one place, up to 7x7 = 49.
# **Predict**: will the clock agree with the count?


# %%
def seconds_of(function):
    """Time a function once, after a first call that prepares memory."""
    function()
    started = time.perf_counter()
    function()
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
# One timing each, on whatever else your machine is doing. `benchmarks/sliding_window.py`
# repeats it five times, up to larger photos; both go into the figure.

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
plots.show(
    figure, "Speed-up by size of the photo: grows as predicted, mostly below the count"
)

# %% tags=["key-figure"]
side = SIZES[-1]
print(
    f"{side} px: {measured[side]:.1f}x measured, "
    f"{predicted_ratio(network, side):.1f}x predicted"
)

# %% [markdown]
# Not quite: the clock shows the same growth, and mostly a smaller gain than the count.
#
# The paper (section 3.1) reports *more than 5 times* for AlexNet's 10x10 windows on a
# 500-pixel photo, on a GPU of 2014. Sizes, networks and machines differ,
# so take it as the same effect, not as the same measurement.
#
# ## 7. How much of the photo does one score see?
#
# Walk the layers and keep two numbers: the side $r$ of the square of pixels that can
# reach one cell, and the step $j$ between neighbouring cells, both in pixels of the photo.
# A layer with kernel $k$ and stride $s$ turns them into $r + (k - 1)\,j$ and $j \cdot s$.


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
# 404 pixels, as the paper says: more than the window's 224, because near the window's rim
# it now sees real neighbours. But *can* is not *does*. The gradient of one score with
# respect to the photo tells which pixels would really change it.
#
# **Predict**: does the score listen to all of its 404x404 pixels alike?

# %%
image = tf.image.resize(large, (480, 480))[None]  # (1, 480, 480, 3)
with tf.GradientTape() as tape:
    tape.watch(image)
    scores = network(image, training=False)  # (1, 9, 9, 3)
    middle = tf.reduce_max(scores[0, 4, 4])  # the best class's score
influence = tf.abs(tape.gradient(middle, image))[0].numpy().sum(-1)  # (480, 480)


# %% [markdown]
# Which centred square holds half of that influence, and which nearly all of it?


# %%
def share_within(influence, side):
    """Return the share of all influence inside a centred square."""
    height, width = influence.shape
    top, left = (height - side) // 2, (width - side) // 2
    return influence[top : top + side, left : left + side].sum() / influence.sum()


half = next(side for side in range(0, 480, 4) if share_within(influence, side) >= 0.5)
most = next(side for side in range(0, 480, 4) if share_within(influence, side) >= 0.95)
print(
    f"half of the influence within {half} px, 95 % within {most} px, all within {side}"
)
assert share_within(influence, side) > 0.9999

# %%
figure, axes = plots.grid(1, 2, size=3.4)
axes[0, 0].imshow(plots.photo(image[0]))
axes[0, 1].imshow(influence**0.3, cmap="magma")
for axis in axes[0]:
    for wide, color in ((side, "white"), (most, "#56B4E9"), (half, "#E69F00")):
        corner = ((480 - wide) / 2, (480 - wide) / 2)
        axis.add_patch(plt.Rectangle(corner, wide, wide, fill=False, ec=color, lw=2))
plots.show(
    figure, "Receptive field drawn on the photo, and the influence map", photo=True
)

# %% [markdown]
# White: what it can see. Blue: 95 % of what it listens to. Orange: half of it. (The map
# is brightened so that the faint parts show.) The **effective receptive field** is
# smaller than the formula says (Luo et al., 2016): half of the influence comes from a
# small part of the area.
#
# ## 8. Slimming the giant
#
# fc6 holds 102,764,544 of 134 million parameters. When the network moves to a task with a
# few classes, much of that can go. DeepLab (Chen et al., 2015) has a quarter of the
# filters in fc6 and fc7. Get there by keeping **every fourth** filter of both layers. The
# layer that follows loses the inputs that are gone. The inputs that stay are multiplied
# by four, so that its sums keep their size: dropout does the same while training.


# %%
def slimmed(network, nth):
    """Return the network with only every n-th filter of fc1 and fc2."""
    x = network.get_layer("block5_pool").output  # (B, H/32, W/32, 512)
    inputs = 1  # fc1 keeps all of its inputs
    for name, filters in (("fc1", nth), ("fc2", nth), ("predictions", 1)):
        layer = network.get_layer(name)
        kernel, bias = layer.get_weights()  # (side, side, in, out), (out,)
        kernel = kernel[:, :, ::inputs, ::filters] * inputs
        bias = bias[::filters]
        kept = layers.Conv2D(len(bias), layer.kernel_size, activation=layer.activation)
        x = kept(x)
        kept.set_weights([kernel, bias])
        inputs = filters  # every n-th input is left to the next layer
    return keras.Model(network.input, x)


# %%
slim = slimmed(network, nth=4)
for name, one in (("full", network), ("slim", slim)):
    seconds = seconds_of(lambda one=one: one(large[None], training=False))
    megabytes = one.count_params() * 4 / 1e6  # float32
    print(
        f"{name}: {one.count_params():>11,} parameters, "
        f"{megabytes:4.0f} MB, {seconds:.2f} s"
    )

thin = slim(large[None], training=False)[0].numpy()  # (H/32 - 6, W/32 - 6, 3)
correlation = np.corrcoef(thin.ravel(), one_pass.ravel())[0, 1]
agree = (thin.argmax(-1) == one_pass.argmax(-1)).mean()
print(f"scores: correlation {correlation:.3f}; same class in {agree:.0%} of the cells")

# %% [markdown]
# A third of the memory. By count it saves a tenth of the work, since the convolutions do
# the rest; a larger gap in the seconds is memory traffic, or the noise of one timing. The
# scores survive **in part**: related, but not to be used as they are. DeepLab trains on
# after the cut, which mends them. The pages that run without a GPU go further still, to
# 512 units and a 1x1 kernel trained from the start, and say so.
#
# ## 9. What can go wrong
#
# - **The converted network answers, but nonsense.** The dense kernel was reshaped with
#   channels first. Nothing crashes. Compare with the classifier on one photo.
#   [See it](09_bug_zoo.ipynb#flatten-order).
# - **Scores slightly off everywhere.** The biases stayed behind in the dense layers.
#   Compare the biases.
# - **"2x2 against 14x14".** This page's fc6 pads nothing ('valid'), so its map is six
#   cells smaller than the photo's grid. It is right for reproducing a classifier, wrong
#   for adding skip connections. Notebook 04 shows the three choices for fc6.
#   [See it](09_bug_zoo.ipynb#valid-fc6).
#
# ## 10. Summary
#
# - You turned dense layers into convolutions with one `reshape` each, biases kept, and
#   proved both equal on photos.
# - You got a map of $H/32 - 6$ rows of scores from a photo $H$ pixels high, in one pass.
# - You predicted the speed-up from counted multiply-adds, and measured it.
# - You saw that with padding the values differ from slid windows, and why.
# - You measured how unevenly a score listens to its 404 pixels.
#
# ## Questions
#
# <details><summary>1. Which layer of a classifier forbids other photo sizes, and why not
# the convolutions?</summary>
#
# The flattening in front of the first dense layer: its length is fixed by the dense
# kernel. A convolution's kernel does not depend on the map's size.
# </details>
#
# <details><summary>2. Why can the speed-up for VGG16 never pass 49?</summary>
#
# In the limit of a huge photo each 32-pixel cell is inside 7x7 = 49 windows. Sliding
# computes its convolutions 49 times, the one pass once. The dense part gains nothing.
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
# The pretrained fc6, since nothing of that shape exists; and the view: one score then
# sees 212 pixels of the photo instead of 404.
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
# - L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. Yuille. *Semantic Image
#   Segmentation with Deep Convolutional Nets and Fully Connected CRFs*. ICLR 2015.
