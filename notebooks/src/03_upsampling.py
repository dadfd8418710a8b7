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
# Page 02 ended with one score per class for each square of 32x32 pixels. A mask needs one for
# every pixel, so the map of scores has to be enlarged. This page looks at the layer that
# FCN uses for it, the **transposed convolution**, and at mistakes that are easy to make.
#
# **You will be able to**
#
# - name three ways to enlarge a map in Keras and TensorFlow, and say which two are equal,
# - compute a transposed convolution by hand,
# - predict a checkerboard pattern before you see it,
# - derive the bilinear kernel, and use it without a dark frame,
# - say where a cell lies on the pixels, and which software puts it elsewhere,
# - explain why scores are enlarged, and never class ids.
#
# **You need** basic Keras, and nothing from the other pages. There is nothing to download. Without a GPU this page takes {minutes}.
#
# This is where it ends up:

# %% tags=["setup"]

# %%
import keras
import numpy as np
import skimage.draw
import tensorflow as tf
from keras import layers
from matplotlib.colors import ListedColormap

from utils import environment, fcn, pets, plots, surgery

# %% tags=["preview"]
plots.picture(
    "03_upsampling.jpg",
    alt="A cat in coarse cells, and enlarged by a random kernel, by a bilinear one "
    "that darkens at the frame, and by the same one on repeated edges",
)

# %% [markdown]
# Try another `FACTOR`:

# %% tags=["parameters"]
DATASET = "the cat of scikit-image"  # all that this page shows; in the public domain
FACTOR = 32  # how many times a map is enlarged: 8, 16, or 32 as in FCN-32s
STEPS = 100  # gradient steps for the kernel that is learned in section 11
SEED = 0  # of all random numbers

# %%
print(environment.prepare(SEED))
tf.config.experimental.enable_tensor_float_32_execution(False)  # exact on GPUs too

# %% [markdown]
# ## 1. Three ways to enlarge
#
# Make a coarse map out of a photo: the mean of each square of 32x32 pixels. Three numbers
# for each cell, red, green and blue, as a network has one score for each class.


# %%
def shrink(image, factor):
    """Average squares of factor x factor pixels, as a network's map covers them."""
    return tf.nn.avg_pool2d(image[None], factor, factor, "VALID")[0].numpy()


cat, _ = pets.chelsea()  # (300, 451, 3), RGB 0..255
photo = np.float32(cat[:288, :448])  # (H, W, 3), a multiple of 32
cells = shrink(photo, FACTOR)[None]  # (1, H/32, W/32, 3)
print(photo.shape, "->", cells.shape)

# %% [markdown]
# Now enlarge it 32 times: by a layer without weights, by a function, and by a layer with
# weights.

# %%
by_layer = layers.UpSampling2D(FACTOR, interpolation="bilinear")(cells)
by_function = tf.image.resize(cells, photo.shape[:2], "bilinear")
with_weights = layers.Conv2DTranspose(3, 2 * FACTOR, strides=FACTOR, padding="same")
by_weights = with_weights(cells)
for enlarged in (by_layer, by_function, by_weights):
    print(enlarged.shape)  # (1, H, W, 3)
    assert enlarged.shape[1:] == photo.shape

# %% [markdown]
# **Predict**: which of the three look alike?

# %%
figure, axes = plots.grid(1, 4, size=2.7, aspect=0.75)
panels = {"cells": cells, "UpSampling2D": by_layer, "tf.image.resize": by_function}
panels["Conv2DTranspose, new"] = 128 + 100 * by_weights / np.abs(by_weights).max()
for axis, (name, drawn) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(plots.photo(drawn[0]), interpolation="nearest")
    axis.set_title(name, fontsize=10)
plots.show(figure, "Coarse cells of a cat; two smooth pictures; a texture", photo=True)
print(f"the first two differ by {np.abs(by_layer - by_function).max():.0e} of 255")

# %% [markdown]
# `UpSampling2D` with `interpolation="bilinear"` and `tf.image.resize` do the same: both draw
# straight lines between the cells. A new `Conv2DTranspose` has random weights, so it gives
# noise (scaled here so that it can be seen). With the right weights and one trick it does
# what the other two do. And it can be **trained**. What it computes, which weights are
# right, and what the trick is, is the subject of this page.
#
# If you will never train the enlargement, `UpSampling2D` is the shorter way to the same
# result. FCN uses transposed convolutions, and so does this series.
#
# ## 2. Copy, scale, add
#
# A convolution reads a few numbers and writes one. A **transposed convolution** reads one
# number and writes a few: it writes a copy of the kernel, multiplied by that number. The
# next number's copy starts `stride` places further on. Where copies overlap, they are
# added.
#
# Take the values 1, 3, 2, the kernel 1, 2, 4 and stride 2. Do it on paper first.


# %%
def copy_and_add(values, kernel, stride):
    """Add one scaled copy of the kernel for each value, `stride` places apart."""
    output = np.zeros((len(values) - 1) * stride + len(kernel))
    for index, value in enumerate(values):
        start = index * stride
        output[start : start + len(kernel)] += value * kernel
    return output


# %% [markdown]
# **Predict**: at which places do two copies overlap?

# %%
values = np.array([1.0, 3.0, 2.0])  # (W,)
kernel = np.array([1.0, 2.0, 4.0])  # (k,), not symmetric on purpose
output = copy_and_add(values, kernel, stride=2)  # (2 * (W - 1) + k,)
print(f"{values} -> {output}")
assert output.tolist() == [1, 2, 7, 6, 14, 4, 8]

figure, (axis,) = plots.curves((7, 2.6))
base = np.zeros(len(output))
for index in range(len(values)):
    only = np.where(np.arange(3) == index, values, 0)  # this value, the others 0
    copy = copy_and_add(only, kernel, stride=2)
    label = f"copy for the value {values[index]:.0f}"
    axis.bar(range(7), copy, bottom=base, color=plots.LINE_COLORS[index], label=label)
    base += copy
for place, total in enumerate(output):
    axis.text(place, total + 0.2, f"{total:.0f}", ha="center")
axis.set(xlabel="place in the output", ylim=(0, 16))
axis.legend(frameon=False)
plots.show(figure, "Three coloured copies of the kernel; at places 2 and 4 two add up")

# %% [markdown]
# At places 2 and 4, counted from 0. Each copy has the kernel's order, 1, 2, 4: nothing is
# turned round. Keras agrees:

# %%
layer = layers.Conv1DTranspose(1, kernel_size=3, strides=2, use_bias=False)
layer.build((1, 3, 1))
layer.set_weights([kernel[:, None, None]])  # (k, out, in)
by_keras = layer(values[None, :, None])[0, :, 0]  # (B, W, C) -> (W',)
print(by_keras.numpy())
np.testing.assert_allclose(by_keras, output)

# %% [markdown]
# ## 3. How large is the output?
#
# With $n$ values, stride $s$ and a kernel of size $k$, the last copy starts at $(n - 1)\,s$
# and is $k$ long. So with 'valid' padding the output has $(n - 1)\,s + k$ places (for
# $k \ge s$). With 'same' padding Keras keeps $n\,s$ of them. The other $k - s$ are cut off:
# $\lfloor (k - s)/2 \rfloor$ in front, the rest at the end.


# %%
def transposed_size(n, kernel_size, stride, padding):
    """Return how long a transposed convolution makes an input of length n."""
    if padding == "same":
        return n * stride
    return (n - 1) * stride + max(kernel_size, stride)


for n, k, s in ((3, 3, 2), (7, 4, 2), (7, 64, 32), (7, 2, 3)):
    for padding in ("valid", "same"):
        layer = layers.Conv1DTranspose(1, k, strides=s, padding=padding)
        length = layer.compute_output_shape((1, n, 1))[1]
        print(f"{n} values, kernel {k:2}, stride {s:2}, {padding:5} -> {length}")
        assert length == transposed_size(n, k, s, padding)

# %% [markdown]
# Lines 5 and 6 are FCN-32s of page 04 on 224 pixels: seven cells, kernel 64, stride 32. With
# 'same' the output has 224 places again.
#
# ## 4. What is transposed
#
# A convolution is a multiplication by a matrix $M$. Each row of $M$ makes one output: it has
# the kernel's weights in the columns of the inputs that it reads, and zeros elsewhere. Here
# is $M$ for seven inputs and three outputs, with the same kernel and stride:

# %%
matrix = np.zeros((3, 7))  # (outputs, inputs)
for row in range(3):
    matrix[row, 2 * row : 2 * row + 3] = kernel
signal = np.arange(7.0) ** 2  # (W,)
convolved = keras.ops.conv(signal[None, :, None], kernel[:, None, None], strides=2)
print(matrix @ signal, convolved.numpy().ravel())
np.testing.assert_allclose(convolved[0, :, 0], matrix @ signal)

# %% [markdown]
# The transpose $M^\top$ has these rows as columns. Multiply it by our three values: each
# value is multiplied by a column, a copy of the kernel at its place, and the copies are
# added.

# %%
figure, axes = plots.grid(1, 2, size=3.6, aspect=0.75)
drawings = {"M": matrix, "Mᵀ": matrix.T}
for axis, (name, drawn) in zip(axes.flat, drawings.items(), strict=True):
    axis.imshow(drawn, cmap="Blues", vmax=3)
    axis.set_title(f"{name}: {drawn.shape[1]} numbers in, {drawn.shape[0]} out")
    for (row, column), weight in np.ndenumerate(drawn):
        color = "white" if weight > 3 else "black"
        axis.text(column, row, f"{weight:.0f}", ha="center", va="center", color=color)
plots.show(figure, "M has the kernel in rows, shifted by two; its transpose in columns")
print(matrix.T @ values, "=", output)
np.testing.assert_array_equal(matrix.T @ values, output)

# %% [markdown]
# The result is that of section 2. So a transposed convolution is the multiplication by
# $M^\top$.
#
# **Predict**: some texts call it *deconvolution*. Does $M^\top$ undo $M$?

# %%
print("before       ", signal)
print("there, back  ", matrix.T @ (matrix @ signal))
assert not np.allclose(matrix.T @ (matrix @ signal), signal)

# %% [markdown]
# No. It gives back the number of values, not the values. Nothing could: seven numbers became
# three, and many signals have the same three.
#
# ## 5. On a map
#
# On a map the copies are squares, on a grid. This function applies a kernel to a map. Note
# the order of the weights, `(k, k, out, in)`. A plain convolution has `(k, k, in, out)`.


# %%
def transposed(scores, kernel, stride):
    """Apply a 'same' transposed convolution with this kernel (k, k, out, in)."""
    layer = layers.Conv2DTranspose(
        kernel.shape[2], kernel.shape[0], strides=stride, padding="same", use_bias=False
    )
    layer.build(scores.shape)
    layer.set_weights([kernel])
    return layer(scores).numpy()  # (B, H, W, C) -> (B, stride * H, stride * W, C)


# %% [markdown]
# Check it against the loop of section 2. A kernel that is a column times a row can be
# applied along one axis after the other:

# %%
small_map = np.array([[1.0, 3.0, 2.0], [0.0, 1.0, 4.0]])  # (H, W)
square = np.outer(kernel, kernel)  # (3, 3)
by_layer = transposed(small_map[None, ..., None], square[..., None, None], stride=2)
rows = np.array([copy_and_add(row, kernel, 2) for row in small_map])  # (H, 7)
both = np.array([copy_and_add(column, kernel, 2) for column in rows.T]).T  # (5, 7)
print(by_layer.shape, "by the layer, 'same';", both.shape, "by the loop, 'valid'")
np.testing.assert_allclose(by_layer[0, :, :, 0], both[:4, :6])  # 'same' cuts the end

# %% [markdown]
# ## 6. Checkerboards
#
# Enlarge a map of ones, with a kernel of ones and stride 2. A good enlargement is flat.
#
# **Predict**: is the output flat, away from its ends, for a kernel of size 3? And of size 4?

# %%
for size in (3, 4):
    counts = copy_and_add(np.ones(6), np.ones(size), stride=2)
    print(f"kernel {size}, copies at each place: {counts.astype(int)}")

flat = np.ones((1, 8, 8, 1), "float32")  # (B, H, W, C)
random = np.random.default_rng(SEED).uniform(size=(4, 4, 1, 1))
kernels = {
    "3x3 of ones": np.ones((3, 3, 1, 1)),
    "4x4 of ones": np.ones((4, 4, 1, 1)),
    "4x4, random": random,
}
figure, axes = plots.grid(1, 3, size=2.7, aspect=0.95)
for axis, (name, weights) in zip(axes.flat, kernels.items(), strict=True):
    drawn = axis.imshow(transposed(flat, weights, 2)[0, :, :, 0], cmap="magma", vmin=0)
    axis.set_title(name)
    figure.colorbar(drawn, ax=axis, shrink=0.7)
plots.show(figure, "Overlap counts 1, 2, 4 as a checkerboard; even; a random texture")

# %% [markdown]
# Not with size 3: places with one copy and places with two take turns, because 3 is no
# multiple of 2. On a map that makes 1, 2 or 4 copies: a **checkerboard** (Odena et al.,
# 2016). With size 4 it is flat: two copies at every inner place. (The frame is the subject
# of section 8.) A random kernel of size 4 shows a pattern again. Even and odd places use
# different weights, and their sums differ.
#
# The weights that meet at one output place are every `stride`-th one: 0, s, 2s, ... at one
# place, 1, s + 1, ... at the next. All these sums must be equal for a flat output, and 1 to
# keep its level. A kernel whose size is a multiple of the stride makes that easy.
#
# ## 7. The bilinear kernel
#
# Which weights, then? Between two neighbouring cells, draw a straight line. So the weight
# of a cell falls from 1 at its own centre to 0 at its neighbour's centre, which is $f$
# pixels away, where $f$ is the factor. At a distance of $d$ pixels it is
#
# $$w(d) = \max(0,\; 1 - |d| / f)$$
#
# This is a triangle $2f$ wide, so the kernel has size $2f$, a multiple of the stride. Where
# in the kernel is its peak? Cell 0 covers the pixels 0 to $f - 1$, so its centre is at
# $(f - 1)/2$. With 'same', $\lfloor f/2 \rfloor$ places are cut from the front (section 3
# with $k = 2f$), so its copy starts that far before pixel 0. So the peak is at $\lfloor f/2 \rfloor + (f - 1)/2$. That is $f - 1$ for
# odd $f$, and $f - ½$ for even $f$.

# %%
figure, axes = plots.curves((9, 2.4), columns=3)
for axis, factor in zip(axes, (2, 3, 4), strict=True):
    centre = factor - 1 if factor % 2 else factor - 0.5
    places = np.arange(2 * factor)
    triangle = 1 - np.abs(places - centre) / factor  # (2f,)
    axis.plot([centre - factor, centre, centre + factor], [0, 1, 0], color="#C8CDD4")
    axis.stem(places, triangle, basefmt=" ")
    axis.set_title(f"factor {factor}", loc="left")
    axis.set_xticks(places)
    print(f"factor {factor}: {triangle.round(3)}")
plots.show(figure, "Triangles for factors 2, 3, 4, and the weights read off them")

# %% [markdown]
# The dots are the weights, the line is the triangle. *Bi*linear means: along rows, then
# along columns. So the weight at $(y, x)$ is the product of two triangles. Each class is
# enlarged by itself, so weights between different channels are 0.


# %%
def bilinear_kernel(factor, channels):
    """Return the kernel (2f, 2f, channels, channels) that enlarges by `factor`."""
    # 'same' crops factor // 2 in front. An odd factor's triangle peaks on a pixel, and
    # its last weight is zero; an even one's peaks between the two middle pixels.
    centre = factor - 1 if factor % 2 else factor - 0.5
    triangle = 1 - np.abs(np.arange(2 * factor) - centre) / factor  # (2f,)
    square = np.outer(triangle, triangle)  # (2f, 2f)
    kernel = square[:, :, None, None] * np.eye(channels)  # (2f, 2f, C, C)
    return np.float32(kernel)


# %%
for factor in (1, 2, 3, 4, 5, 32):
    weights = bilinear_kernel(factor, 1)[..., 0, 0]  # (2f, 2f)
    shares = weights.reshape(2, factor, 2, factor).sum((0, 2))  # (f, f)
    np.testing.assert_allclose(shares, 1, rtol=1e-6)  # equal sums: no checkerboard
    np.testing.assert_array_equal(
        bilinear_kernel(factor, 2), surgery.bilinear_kernel(factor, 2)
    )
print(bilinear_kernel(2, 1)[..., 0, 0])

# %% [markdown]
# For every factor the weights of each output pixel add up to 1. (The reshape splits each axis
# into two halves; each output pixel gets one weight of each.) The
# series imports this function from `utils/surgery.py` from here on.
#
# ## 8. The dark frame
#
# Use it on the cat.

# %%
enlarged = transposed(cells, bilinear_kernel(FACTOR, 3), FACTOR)  # (1, H, W, 3)
print(cells.shape, "->", enlarged.shape)
assert enlarged.shape == (1, *photo.shape)

# %% [markdown]
# A pixel between two cells gets its value from both. A pixel at the very edge has a cell on
# one side only.
#
# **Predict**: enlarge a map of ones. What do the pixels at its edge become?

# %%
flat = np.ones((1, 9, 14, 1), "float32")  # (B, H, W, C)
faded = transposed(flat, bilinear_kernel(FACTOR, 1), FACTOR)[0, :, :, 0]
middle = faded.shape[0] // 2
print(f"inside {faded[middle, middle]:.2f}, corner {faded[0, 0]:.2f}")

figure, (axis,) = plots.curves((7, 2.4))
axis.plot(faded[middle])
axis.text(10, faded[middle, 0], f"{faded[middle, 0]:.2f}")
axis.set(xlabel="column of pixels", ylim=(0, 1.1), title="one row of pixels")
plots.show(figure, "A row of 1 falls to about a half at both ends")

# %% [markdown]
# About a half, and a quarter in the corners: the other part would come from cells that do
# not exist. In a segmentation network these values are scores. Along the frame the scores
# of all classes shrink by the same factor. The best class stays the best, but all classes
# seem more alike, and the loss is wrong there. When two maps are added, as on page 05, the
# mask can become wrong too.
#
# The trick: repeat the outermost cells once on every side (Keras calls it "symmetric"
# padding), enlarge, and cut off what is too much. This function works on arrays, and while a
# functional model is built:


# %%
def upsample(scores, factor):
    """Enlarge scores (B, H, W, C) bilinearly, frame included."""
    sides = ((0, 0), (1, 1), (1, 1), (0, 0))  # one cell above, below, left and right
    padded = keras.ops.pad(scores, sides, mode="symmetric")  # (B, H + 2, W + 2, C)
    channels = scores.shape[-1]
    layer = layers.Conv2DTranspose(
        channels, 2 * factor, strides=factor, padding="same", use_bias=False
    )
    layer.trainable = False  # else the zeros between channels would learn as well
    layer.build(padded.shape)
    layer.set_weights([bilinear_kernel(factor, channels)])
    return layers.Cropping2D(factor)(layer(padded))  # (B, f * H, f * W, C)


# %% [markdown]
# Compare every pixel with `tf.image.resize`, for several factors:

# %%
for factor in (2, 3, 8, 32):
    scaled = shrink(photo, 32)[None] / 255  # (1, 9, 14, 3), 0..1
    reference = tf.image.resize(scaled, (9 * factor, 14 * factor), "bilinear").numpy()
    plain = transposed(scaled, bilinear_kernel(factor, 3), factor) - reference
    repaired = upsample(scaled, factor) - reference
    before, now = np.abs(plain).max(), np.abs(repaired).max()
    print(f"x{factor:<2} differs by {before:.2f}, with repeated edges by {now:.0e}")
    assert now < 1e-5

# %%
any_map = keras.Input((None, None, 3))
ours = keras.Model(any_map, upsample(any_map, FACTOR))
theirs = keras.Model(any_map, fcn.upsample(any_map, FACTOR, name="up32"))
np.testing.assert_allclose(ours(cells), upsample(cells, FACTOR), atol=1e-3)
np.testing.assert_allclose(theirs(cells), upsample(cells, FACTOR), atol=1e-3)

# %% [markdown]
# With repeated edges it equals `tf.image.resize` at every pixel, but for rounding. It
# works inside a model, and so does `fcn.upsample`, which pages 04 and 05 use.
#
# The next code cell drew the picture on top of this page: the cat as cells, enlarged by a
# random kernel (of positive weights, which keep the brightness), by the bilinear one, and by the bilinear one with repeated edges. The upper
# row has cells of 8 pixels, the lower one cells of 32.

# %% tags=["result"]
figure, axes = plots.grid(2, 4, size=2.9, aspect=288 / 448 + 0.08)
for row, factor in zip(axes, (8, 32), strict=True):
    map_of_cells = shrink(photo, factor)[None]  # (1, H/f, W/f, 3)
    weights = np.random.default_rng(SEED).uniform(0, 0.5, (2 * factor, 2 * factor))
    noisy = np.float32(weights[:, :, None, None] * np.eye(3))  # (2f, 2f, C, C)
    kernel_of_factor = bilinear_kernel(factor, 3)
    panels = {
        f"{map_of_cells.shape[1]}x{map_of_cells.shape[2]} cells": map_of_cells,
        "random kernel": transposed(map_of_cells, noisy, factor),
        "bilinear": transposed(map_of_cells, kernel_of_factor, factor),
        "bilinear, edges repeated": upsample(map_of_cells, factor),
    }
    for axis, (name, drawn) in zip(row, panels.items(), strict=True):
        axis.imshow(plots.photo(drawn[0]), interpolation="nearest")
        axis.set_title(name, fontsize=10)
plots.show(
    figure,
    "A cat in coarse cells, and enlarged by a random kernel, by a bilinear one that "
    "darkens at the frame, and by the same one on repeated edges",
    photo=True,
)

# %% [markdown]
# Enlarging adds no detail: from cells of 32 pixels the cat is hard to see, however smooth the
# picture. FCN gets detail from finer maps, on page 05.
#
# ## 9. Enlarge scores, not class ids
#
# In each cell a network has a **score** for each class. There are two orders: pick the best
# class in each cell and enlarge the *ids*; or enlarge the *scores* and pick the best class
# at each pixel. To compare them, draw a scene whose truth is known, a cat and a dog. As
# scores, take the share of each class in each cell.

# %%
truth = np.zeros((288, 448), int)  # (H, W): 0 background, 1 cat, 2 dog
truth[skimage.draw.disk((170, 120), 78)] = 1
for tip in (60, 180):  # the cat's ears
    ear = skimage.draw.polygon((40, 150, 110), (tip, 52 if tip < 99 else 188, 120))
    truth[ear] = 1
truth[skimage.draw.ellipse(160, 330, 95, 62)] = 2
for column in (262, 398):  # the dog's ears
    truth[skimage.draw.ellipse(150, column, 62, 24)] = 2
scores = shrink(np.eye(3, dtype="float32")[truth], FACTOR)[None]  # (B, H/32, W/32, 3)
labels = scores.argmax(-1).astype("float32")  # (B, H/32, W/32), ids
print(truth.shape, "->", scores.shape, "scores,", labels.shape, "ids")

# %% [markdown]
# Ids are numbers, so nothing stops you from enlarging them bilinearly and rounding.
#
# **Predict**: background is 0, cat 1, dog 2. What appears along the outline of the dog?

# %%
masks = {
    "truth": truth,
    "ids, as blocks": labels[0].repeat(FACTOR, 0).repeat(FACTOR, 1),
    "ids, bilinear": np.round(upsample(labels[..., None], FACTOR)[0, ..., 0]),
    "scores, then the best": np.argmax(upsample(scores, FACTOR)[0], -1),
}
right = {name: (masks[name] == truth).mean() for name in list(masks)[1:]}
assert max(right, key=right.get) == "scores, then the best"

palette = ListedColormap([plots.COLORS[k] for k in ("background", "cat", "dog")])
figure, axes = plots.grid(1, 4, size=2.9, aspect=288 / 448 + 0.16)
for axis, (name, mask) in zip(axes.flat, masks.items(), strict=True):
    axis.imshow(mask, cmap=palette, vmin=0, vmax=2, interpolation="nearest")
    share = f"{right[name]:.1%} of pixels right" if name in right else ""
    axis.set_title(f"{name}\n{share}", fontsize=10)
plots.legend(figure, ("background", "cat", "dog"))
plots.show(figure, "Truth; blocks; a dog with a rim of cat; smooth outlines")

# %% [markdown]
# A rim of cat: between background (0) and dog (2) lies 1. A number between two ids means
# nothing (truth masks are resized by nearest neighbour, page 00). A score between two
# scores means something. And scores give outlines *finer than a cell*: the outline runs where two
# scores are equal, which can be anywhere between two centres.
#
# ## 10. Where is a cell?
#
# A map of 7 cells becomes 224 pixels. Which pixel is the centre of cell 1? There are three
# answers in use. With $i$ the number of a pixel, $f$ the factor and $n$ the number of
# cells, pixel $i$ reads the map at
#
# - **half-pixel centres**: $(i + ½)/f - ½$. A cell is a square that covers its $f$ pixels.
# - **aligned corners**: $i\,(n - 1)/(f n - 1)$. The first cell's centre is put on the first
#   pixel, the last one's on the last.
# - **asymmetric**: $i/f$. A cell's centre is put on the first of its pixels. TensorFlow 1
#   did this by default.
#
# Draw the inverse as a ruler: 4 cells over 32 pixels, a dot where a cell's centre is put.


# %%
def centres(school, cells, factor):
    """Return at which pixel the centre of each cell is put."""
    cell = np.arange(cells)
    if school == "half-pixel centres":
        return (cell + 0.5) * factor - 0.5
    if school == "aligned corners":
        return cell * (factor * cells - 1) / (cells - 1)
    return cell * factor  # asymmetric


schools = ("half-pixel centres", "aligned corners", "asymmetric")
figure, (axis,) = plots.curves((8, 2.2))
for height, school in enumerate(schools):
    for cell in range(4):
        grey = "#EEEEEE" if cell % 2 else "#C8CDD4"
        axis.barh(height, 8, left=8 * cell - 0.5, color=grey)
    axis.plot(centres(school, 4, 8), [height] * 4, "o", color="#0072B2", ms=9)
axis.set(xlabel="pixel", xticks=range(0, 32, 4), yticks=range(3), yticklabels=schools)
axis.invert_yaxis()
plots.show(figure, "Four cells of eight pixels; only in the first row dots are central")

# %% [markdown]
# The grey boxes are the pixels that each cell was averaged from. Only half-pixel centres put
# each centre into the middle of its box. Now enlarge one bright cell, cell 1 of 7, by 32 in
# all three ways. It covers the pixels 32 to 63, so the middle of the result should be at
# 47.5. TensorFlow offers all three in one operation.
#
# **Predict** where the middle will be in each of the three.

# %%
bright = np.float32(np.eye(7)[1])[None, None, :, None]  # (1, 1, 7, 1)
resize = tf.raw_ops.ResizeBilinear  # what tf.image.resize calls
options = {
    "half-pixel centres": {"half_pixel_centers": True},
    "aligned corners": {"align_corners": True},
    "asymmetric": {},  # the default of this operation
}
rows = {}
for school, option in options.items():
    row = resize(images=bright, size=(1, 224), **option)[0, 0, :, 0]  # (224,)
    rows[school] = row
    reads = np.interp(np.arange(224), centres(school, 7, 32), bright[0, 0, :, 0])
    np.testing.assert_allclose(row, reads, atol=1e-5)
    print(f"{school:18} middle {np.average(np.arange(224), weights=row):5.1f}")
ours = upsample(bright, 32)[0, 0, :, 0]  # (224,)
np.testing.assert_allclose(ours, rows["half-pixel centres"], atol=1e-5)
print("upsample agrees with half-pixel centres")

# %% [markdown]
# Only with half-pixel centres at 47.5, and `upsample` has them. In VGG16, what a cell sees is
# centred on its own box of pixels, so they fit. The other two move the picture: aligned corners by up to
# $(f - 1)/2 = 15.5$ pixels outwards at factor 32, asymmetric by 15.5 to the upper left.
# See it in the scene of section 9, with the true outline in black:

# %%
size, wrong = truth.shape, {}
figure, axes = plots.grid(1, 3, size=3.2, aspect=288 / 448 + 0.12)
for axis, school in zip(axes.flat, schools, strict=True):
    enlarged = resize(images=scores, size=size, **options[school])  # (1, H, W, 3)
    mask = enlarged.numpy()[0].argmax(-1)  # (H, W)
    wrong[school] = (mask != truth).mean()
    axis.imshow(mask, cmap=palette, vmin=0, vmax=2, interpolation="nearest")
    axis.contour(truth > 0, [0.5], colors="black", linewidths=1)
    axis.set_title(f"{school}\n{wrong[school]:.1%} wrong", fontsize=10)
plots.legend(figure, ("background", "cat", "dog"))
plots.show(figure, "The true outlines in black: two of three masks lie beside them")
assert min(wrong, key=wrong.get) == "half-pixel centres"

# %% [markdown]
# Keras and TensorFlow use half-pixel centres, as section 1 and this one show. By their
# documentation so does PyTorch's `interpolate`, unless told otherwise, while PyTorch's
# `UpsamplingBilinear2d` and Paddle's `UpsamplingBilinear2D` align corners. Check this first when you port a network.
#
# ## 11. In two steps, or learned
#
# FCN-16s enlarges by 2, adds something, and enlarges by 16.
#
# **Predict**: with nothing to add, is x2 and then x16 the same as x32?

# %%
at_once = upsample(bright, 32)[0, 0, :, 0].numpy()  # (224,)
in_two = upsample(upsample(bright, 2), 16)[0, 0, :, 0].numpy()  # (224,)
at_once_mask = np.argmax(upsample(scores, FACTOR)[0], -1)  # (H, W)
in_two_mask = np.argmax(upsample(upsample(scores, 2), FACTOR // 2)[0], -1)
changed = (in_two_mask != at_once_mask).mean()
print(f"peak {at_once.max():.2f}, {in_two.max():.2f}; {changed:.1%} of pixels change")

figure, (axis,) = plots.curves((7, 2.6))
axis.plot(at_once, label="x32")
axis.plot(in_two, label="x2, then x16")
axis.set(xlabel="pixel", xlim=(0, 120), title="one bright cell")
axis.legend(frameon=False)
plots.show(figure, "The triangle of x32, and the same with its corners cut off")

# %% [markdown]
# Not quite. No value of the first step falls on the peak. The two nearest are 0.75, and the
# second step joins them by a straight line. So the corners of the triangle are cut off.
# Page 05 meets this difference again.
#
# A transposed convolution has weights. Should they be **learned**? In the paper the last
# enlargement is fixed and the x2 ones are learned, starting bilinear. The authors' code
# fixes all of them. Try it: train one 4x4 kernel to double the left half of the cat, and
# test it on the right half. Two pixels along the frame are left out of both.

# %%
gray = photo.mean(-1, keepdims=True) / 255  # (288, 448, 1), 0..1
small = shrink(gray, 2)[None]  # (B, 144, 224, 1)
train = small[:, :, :112], gray[None, 2:-2, 2:222]
test = small[:, :, 112:], gray[None, 2:-2, 226:-2]


def fitted(kernel):
    """Fit a doubling kernel that starts here; return losses, errors, the model."""
    layer = layers.Conv2DTranspose(1, 4, strides=2, padding="same", use_bias=False)
    inner = layers.Cropping2D(2)
    model = keras.Sequential([keras.Input((None, None, 1)), layer, inner])
    layer.set_weights([kernel])
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    before = model.evaluate(*test, verbose=0)
    losses = []
    while len(losses) < STEPS:
        epochs = min(20, STEPS - len(losses))  # one photo: an epoch is a step
        fit = model.fit(*train, epochs=epochs, verbose=0)
        losses += fit.history["loss"]
        print(f"step {len(losses):3}, loss {losses[-1]:.5f}")
    return losses, before, model.evaluate(*test, verbose=0), model


# %% [markdown]
# **Predict**: after the same number of steps, is a random start as good?

# %%
starts = {"bilinear": bilinear_kernel(2, 1), "random": np.float32(random / 2)}
runs = {name: fitted(start) for name, start in starts.items()}
for name, (_, before, after, _) in runs.items():
    print(f"{name:8} start, error on the unseen half: {before:.5f} -> {after:.5f}")
assert runs["bilinear"][2] < runs["random"][2]

figure, axes = plots.curves((9, 2.8), columns=3)
for name, (losses, *_) in runs.items():
    axes[0].semilogy(losses, label=f"{name} start")
axes[0].set(xlabel="step", title="loss")
axes[0].legend(frameon=False)
for axis, (name, run) in zip(axes[1:], runs.items(), strict=True):
    axis.imshow(run[3].predict(test[0], verbose=0)[0, 80:140, 40:120, 0], cmap="gray")
    axis.set_title(f"{name} start, learned")
    axis.set_axis_off()
plots.show(figure, "The bilinear start is lower throughout; the random one is textured")

# %% [markdown]
# Not after these steps: the random start still shows a pattern. So start bilinear. Training
# lowers the error of that start too, for enlarging photos. Masks are another matter: the
# paper's code keeps the weights fixed, and so does this series.

# %% tags=["key-figure"]
print(
    f"edge fades to {faded[middle, 0]:.2f}; repaired: within {now:.0e} of "
    f"tf.image.resize; wrong pixels {wrong['half-pixel centres']:.1%}, "
    f"{wrong['aligned corners']:.1%} with aligned corners"
)

# %% [markdown]
# ## 12. What can go wrong
#
# - **Loss or masks are wrong along the frame only.** A 'same' transposed convolution fades
#   scores there. Repeat the edge cells before it, and crop on both sides after it.
#   [See it](09_bug_zoo.ipynb#faded-frame).
# - **A regular pattern in the mask.** The kernel's size is no multiple of the stride, or the
#   layer started at random. Use size $2f$, and start bilinear.
#   [See it](09_bug_zoo.ipynb#random-kernel).
# - **Masks lie some pixels beside their objects.** The network or the resizing of masks
#   aligns corners.
#   [See it](09_bug_zoo.ipynb#aligned-corners).
#
# ## 13. Summary
#
# - `UpSampling2D` with bilinear interpolation equals `tf.image.resize`. `Conv2DTranspose`
#   has weights: it adds up copies of its kernel, one for each value.
# - The bilinear kernel is a product of two triangles, each $2f$ wide. With repeated edges it
#   equals `tf.image.resize` at every pixel.
# - Half-pixel centres keep each cell over its own pixels.
# - Enlarge scores, and pick the class last.
#
# ## Questions
#
# <details><summary>1. A map of 10 cells goes through a 'valid' transposed convolution,
# kernel 16, stride 8. How long is the result, and how much must you cut to get
# 80?</summary>
#
# 9 times 8 plus 16 is 88. Cut 8, four on each side: that is what 'same' does.
# </details>
#
# <details><summary>2. Kernel 6, stride 3, all weights equal: a checkerboard?</summary>
#
# No: 6 is a multiple of 3, so every inner place gets two copies.
# </details>
#
# <details><summary>3. Why does repeating one cell suffice, even at x32?</summary>
#
# The triangle reaches one cell to either side of its centre. So a pixel at the edge needs
# one cell beyond the map, and no more.
# </details>
#
# <details><summary>4. Softmax first, then enlarge: still fine?</summary>
#
# It works, as with the shares of section 9, but the outlines move a little. A loss that takes
# logits needs them at full size: enlarge logits, and apply softmax only to show them.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/03_upsampling.ipynb),
# [solutions](solutions/03_upsampling.ipynb).
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015.
# - E. Shelhamer, J. Long, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. IEEE TPAMI 2017.
# - V. Dumoulin, F. Visin. *A Guide to Convolution Arithmetic for Deep Learning*.
#   arXiv:1603.07285, 2016.
# - A. Odena, V. Dumoulin, C. Olah. *Deconvolution and Checkerboard Artifacts*. Distill,
#   2016.
#
# Page 04 puts this layer on page 02's network, and trains it.
