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
# Notebook 02 ended with a map that has one score for each 32 pixels. Here you enlarge
# such a map until every pixel has its own, with the layer that FCN uses for it, and find
# out how many ways there are of getting that quietly wrong.
#
# **You will be able to**
#
# - compute a transposed convolution by hand, and say what is transposed in it,
# - predict a checkerboard before you see one,
# - derive the bilinear kernel for any factor, and use it without a dark frame,
# - settle an argument about aligned corners with a single bright cell,
# - say why scores are enlarged, and never labels.
#
# **You need** basic Keras, and nothing from the other pages. There is nothing to
# download and no network to train; without a GPU the page takes under a minute.
#
# Here is where it ends up: a cat, remembered in a few cells, and three ways to enlarge
# what is left. All three layers are of the same size; only their weights, and one row of
# cells, differ.

# %% tags=["setup"]

# %%
import keras
import numpy as np
import skimage.data
import skimage.draw
import tensorflow as tf
from keras import layers
from matplotlib.colors import ListedColormap

from utils import environment, fcn, plots, surgery

# %% tags=["preview"]
plots.picture(
    "03_upsampling.jpg",
    alt="A cat in coarse cells, and enlarged by a random kernel, by a bilinear one "
    "that darkens at the frame, and by the same one on repeated edges",
)

# %% [markdown]
# The cells to play with: another factor, more steps.

# %% tags=["parameters"]
DATASET = "the cat of scikit-image"  # all this page shows; in the public domain
FACTOR = 32  # how many times a map is enlarged: 8, 16, or 32 as in FCN-32s
STEPS = 100  # gradient steps for the kernel that is learned in section 10
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))
tf.config.experimental.enable_tensor_float_32_execution(False)  # exact on GPUs too

# %% [markdown]
# ## 1. Stamp, shift, add
#
# A convolution *reads* a window of its input and writes one number. Turn that round:
# read one number, *write* a window. Each input value presses a copy of the kernel, a
# stamp scaled by the value, onto the output; the next stamp lands `stride` places
# further on; where stamps overlap, they add up.
#
# Take the values 1, 3, 2, the kernel 1, 2, 1 and a stride of 2. Do it on paper first, it
# takes a minute. Then let a loop do it:


# %%
def stamp_and_add(values, kernel, stride):
    """Add up one copy of the kernel per value, each `stride` further on."""
    output = np.zeros((len(values) - 1) * stride + len(kernel))
    for index, value in enumerate(values):
        start = index * stride
        output[start : start + len(kernel)] += value * kernel
    return output


# %% [markdown]
# **Predict**: which places of the output get something from two stamps?

# %%
values = np.array([1.0, 3.0, 2.0])  # (W,)
kernel = np.array([1.0, 2.0, 1.0])  # (k,)
output = stamp_and_add(values, kernel, stride=2)  # (2 * (W - 1) + k,)
print(f"{values} -> {output}")
assert output.tolist() == [1, 2, 4, 6, 5, 4, 2]

# %%
figure, (axis,) = plots.curves((7, 2.6))
base = np.zeros(len(output))
for index in range(len(values)):
    stamp = stamp_and_add(values * (np.arange(3) == index), kernel, stride=2)
    label = f"stamp of {values[index]:.0f}"
    axis.bar(range(7), stamp, bottom=base, color=plots.LINE_COLORS[index], label=label)
    base += stamp
for place, total in enumerate(output):
    axis.text(place, total + 0.1, f"{total:.0f}", ha="center")
axis.set(xlabel="place in the output", ylim=(0, 7.2))
axis.legend(frameon=False)
plots.show(figure, "Three coloured stamps; at places 2 and 4 two of them add up")

# %% [markdown]
# One colour per stamp. Places 2 and 4 get two stamps, their neighbours one: remember that
# unevenness, it becomes a pattern in section 5. Keras calls the operation
# `Conv1DTranspose`, and agrees:

# %%
layer = layers.Conv1DTranspose(1, kernel_size=3, strides=2, use_bias=False)
layer.build((1, 3, 1))
layer.set_weights([kernel[:, None, None]])  # (k, out, in)
by_keras = layer(values[None, :, None])[0, :, 0]  # (B, W, C) -> (W',)
print(by_keras.numpy())
np.testing.assert_allclose(by_keras, output)

# %% [markdown]
# ## 2. How large is the output?
#
# Read it off the function: the last of $n$ stamps starts at $(n - 1)\,s$, with $s$ the
# stride, and is $k$ long, the kernel's size. So 'valid' padding gives $(n - 1)\,s + k$
# (as long as $k \ge s$). With 'same', Keras cuts that down to $n\,s$, and takes
# $\lfloor (k - s)/2 \rfloor$ of the surplus from the front.


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
# The third pair is FCN-32s: seven cells, kernel 64, stride 32. 'same' gives exactly 224.
#
# ## 3. What is transposed
#
# Any convolution is a multiplication by a matrix: one row per output, the kernel's
# weights in the columns it reads, zeros elsewhere. Here is $M$, for seven inputs, three
# outputs and the same kernel and stride:

# %%
matrix = np.zeros((3, 7))  # (outputs, inputs)
for row in range(3):
    matrix[row, 2 * row : 2 * row + 3] = kernel
signal = np.arange(7.0) ** 2  # (W,)
convolved = keras.ops.conv(signal[None, :, None], kernel[:, None, None], strides=2)
print(matrix @ signal, convolved.numpy().ravel())
np.testing.assert_allclose(convolved[0, :, 0], matrix @ signal)

# %% [markdown]
# Now read the same matrix by columns. Each *column of the transpose* holds one stamp,
# at its place:

# %%
figure, axes = plots.grid(1, 2, size=3.6, aspect=0.75)
drawings = {"M": matrix, "Mᵀ": matrix.T}
for axis, (name, drawn) in zip(axes.flat, drawings.items(), strict=True):
    axis.imshow(drawn, cmap="Blues", vmax=3)
    axis.set_title(f"{name}: {drawn.shape[1]} numbers in, {drawn.shape[0]} out")
    for (row, column), weight in np.ndenumerate(drawn):
        axis.text(column, row, f"{weight:.0f}", ha="center", va="center", fontsize=9)
plots.show(figure, "M has the kernel in rows, shifted by two; its transpose in columns")
print(matrix.T @ values, "=", output)
np.testing.assert_array_equal(matrix.T @ values, output)

# %% [markdown]
# So a **transposed convolution** is multiplication by $M^\top$, and that is all there is
# to the name. You have used it before: back-propagation multiplies by $M^\top$ whenever
# a gradient passes a convolution.
#
# **Predict**: older texts say *deconvolution*. Does $M^\top$ undo $M$?

# %%
print("before       ", signal)
print("there, back  ", matrix.T @ (matrix @ signal))
assert not np.allclose(matrix.T @ (matrix @ signal), signal)

# %% [markdown]
# Not at all. It restores the *shape*, nothing else. Seven numbers were squeezed into
# three; what fills the gaps is up to the kernel. The rest of the page is about choosing
# it.
#
# ## 4. The same on a map
#
# In two dimensions the stamps are square, and land on a grid.

# %%
small_map = np.zeros((1, 4, 4, 1))  # (B, H, W, C)
small_map[0, 1, 1], small_map[0, 1, 2], small_map[0, 3, 0] = 1.0, 2.0, 1.5
square = np.outer(kernel, kernel)  # (3, 3)
stamped = np.zeros((9, 9))  # (2 * (H - 1) + 3, 2 * (W - 1) + 3)
for row, column in np.ndindex(4, 4):
    stamp = small_map[0, row, column, 0] * square
    stamped[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += stamp
layer = layers.Conv2DTranspose(1, kernel_size=3, strides=2, use_bias=False)
layer.build(small_map.shape)
layer.set_weights([square[:, :, None, None]])  # (k, k, out, in)
by_keras = layer(small_map)  # (B, 2 * (H - 1) + 3, 2 * (W - 1) + 3, 1)
print(small_map.shape, "->", by_keras.shape)
np.testing.assert_allclose(by_keras[0, :, :, 0], stamped)

# %%
figure, axes = plots.grid(1, 3, size=2.4)
titles = ("4x4 map", "3x3 kernel", "9x9 output")
drawings = (small_map[0, :, :, 0], square, stamped)
for axis, drawn, title in zip(axes.flat, drawings, titles, strict=True):
    axis.imshow(drawn, cmap="magma", vmin=0)
    axis.set_title(title)
plots.show(figure, "Three bright cells become three stamps, two of them overlapping")

# %% [markdown]
# Three cells, three stamps, one overlap. Mind the weights' shape, `(k, k, out, in)`: a
# plain convolution has `(k, k, in, out)`. For segmentation every class is enlarged by
# itself, so between different channels the kernel is zero.
#
# This helper applies any kernel; you will need it a dozen times.


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
# ## 5. Checkerboards
#
# Feed it the dullest map there is, a wall of ones. An honest enlargement is a larger
# wall.
#
# **Predict** for a kernel of ones and stride 2: what does kernel size 3 make of the
# wall? And 4? Count the stamps on one place.

# %%
for size in (3, 4):
    counts = stamp_and_add(np.ones(6), np.ones(size), stride=2)
    print(f"kernel {size}, stamps per place: {counts.astype(int)}")

# %%
wall = np.ones((1, 8, 8, 1), "float32")  # (B, H, W, C)
random = np.random.default_rng(SEED).uniform(size=(4, 4, 1, 1))
kernels = {
    "3x3 of ones": np.ones((3, 3, 1, 1)),
    "4x4 of ones": np.ones((4, 4, 1, 1)),
    "4x4, random": random,
}
figure, axes = plots.grid(1, 3, size=2.7, aspect=0.95)
for axis, (name, weights) in zip(axes.flat, kernels.items(), strict=True):
    drawn = axis.imshow(transposed(wall, weights, 2)[0, :, :, 0], cmap="magma", vmin=0)
    axis.set_title(f"wall, {name}")
    figure.colorbar(drawn, ax=axis, shrink=0.7)
plots.show(figure, "Overlap counts 1, 2, 4 as a checkerboard; even; a random texture")

# %% [markdown]
# Size 3 alternates between one stamp and two, because 3 is no multiple of 2. In two
# dimensions the counts multiply to 1, 2 and 4: the **checkerboard** known from so many
# generated pictures (Odena et al., 2016). Size 4 covers every inner place evenly; its
# frame is another matter, for section 7. On the right the size is right and the pattern
# is back: even and odd places are served by different weights, and at random these do
# not add up to the same.
#
# So two rules. The kernel's size is a multiple of the stride, and its weights, taken
# every `stride` places, add up to one.
#
# ## 6. The bilinear kernel, derived
#
# Which weights, then? Take what you would do with a ruler: between two cells, draw a
# straight line. A cell's say falls from 1 at its own centre to 0 at its neighbour's,
# one cell further, and a cell is `factor` pixels wide. At $d$ pixels from the centre:
#
# $$w(d) = \max(0,\; 1 - |d| / f)$$
#
# with $f$ the factor. It is a tent $2f$ wide, so a kernel of $2f$ holds it: a multiple
# of the stride, as it should be. One question is left, where in the kernel its peak
# belongs. Cell 0 covers pixels 0 to $f - 1$, so its centre should come out at
# $(f - 1)/2$: on a pixel if $f$ is odd, between two if it is even. And 'same' cuts
# $\lfloor f/2 \rfloor$ from the front (section 2, $k = 2f$). So the peak is at
# $\lfloor f/2 \rfloor + (f - 1)/2$, which is $f - 1$ for odd $f$ and $f - ½$ for even.

# %%
figure, axes = plots.curves((9, 2.4), columns=3)
for axis, factor in zip(axes, (2, 3, 4), strict=True):
    centre = factor - 1 if factor % 2 else factor - 0.5
    places = np.arange(2 * factor)
    tent = 1 - np.abs(places - centre) / factor  # (2f,)
    axis.plot([centre - factor, centre, centre + factor], [0, 1, 0], color="#C8CDD4")
    axis.stem(places, tent, basefmt=" ")
    axis.set_title(f"factor {factor}", loc="left")
    axis.set_xticks(places)
    print(f"factor {factor}: {tent.round(3)}")
plots.show(figure, "Tents for factors 2, 3, 4; only the odd one has a weight of 1")

# %% [markdown]
# Dots are weights, the grey line is the tent. An odd factor has its peak on a pixel, and
# one weight of zero at the end. *Bi*linear means linear along rows, then along columns:
# the weight at $(y, x)$ is the product of two tents, an outer product.


# %%
def bilinear_kernel(factor, channels):
    """Return the kernel (2f, 2f, channels, channels) that enlarges by `factor`."""
    # 'same' crops factor // 2 in front. An odd factor's tent peaks on a pixel, and its
    # last column is zero; an even one's peaks between the two middle pixels.
    centre = factor - 1 if factor % 2 else factor - 0.5
    tent = 1 - np.abs(np.arange(2 * factor) - centre) / factor  # (2f,)
    kernel = np.outer(tent, tent)[:, :, None, None] * np.eye(channels)  # (2f, 2f, C, C)
    return np.float32(kernel)


# %%
for factor in (1, 2, 3, 4, 5, 32):
    weights = bilinear_kernel(factor, 1)[..., 0, 0]  # (2f, 2f)
    shares = weights.reshape(2, factor, 2, factor).sum((0, 2))  # (f, f)
    np.testing.assert_allclose(shares, 1, rtol=1e-6)  # even: no checkerboard
    np.testing.assert_array_equal(
        bilinear_kernel(factor, 2), surgery.bilinear_kernel(factor, 2)
    )
print(bilinear_kernel(2, 1)[..., 0, 0])

# %% [markdown]
# Every pixel gets weights that add up to one, whatever the factor. From here on the
# series imports this very function from `utils/surgery.py`.
#
# ## 7. The cat, and the dark frame
#
# Time for a photo. Shrink it by averaging squares, which leaves a map such as a network
# might hold, and enlarge that again.

# %%
photo = skimage.data.chelsea()[:288, :448]  # (288, 448, 3), RGB 0..255
photo = photo.astype("float32")


def shrink(image, factor):
    """Average squares of factor x factor pixels: (H, W, C) -> (H/f, W/f, C)."""
    height, width, channels = image.shape
    squares = image.reshape(height // factor, factor, width // factor, factor, channels)
    return squares.mean((1, 3))


coarse = shrink(photo, FACTOR)[None]  # (B, H/32, W/32, 3)
enlarged = transposed(coarse, bilinear_kernel(FACTOR, 3), FACTOR)  # (B, H, W, 3)
print(photo.shape, "->", coarse.shape, "->", enlarged.shape)
assert enlarged.shape == (1, *photo.shape)

# %% [markdown]
# **Predict**: a pixel inside the map gets its value from the cells on both sides of it.
# What of a pixel at the very edge, beyond the last cell's centre? Try the wall again.

# %%
wall = np.ones((1, 9, 14, 1), "float32")  # (B, H, W, C)
faded = transposed(wall, bilinear_kernel(FACTOR, 1), FACTOR)[0, :, :, 0]
middle = faded.shape[0] // 2
print(f"inside {faded[middle, middle]:.2f}, corner {faded[0, 0]:.2f}")

figure, (axis,) = plots.curves((7, 2.4))
axis.plot(faded[middle])
axis.text(10, faded[middle, 0], f"{faded[middle, 0]:.2f}")
axis.set(xlabel="column of pixels", ylim=(0, 1.1), title="one row of the enlarged wall")
plots.show(figure, "A row of the wall falls from 1 to about a half at both ends")

# %% [markdown]
# Half the stamps of an edge pixel would come from a cell that does not exist, so it
# loses up to half its value, and a corner three quarters. In a segmenter these are
# scores: along the frame all classes fade towards zero, hence towards each other.
#
# The cure is one cell wide. Repeat the outermost cells once on every side, enlarge, cut
# the surplus off.


# %%
def upsample(scores, factor):
    """Enlarge scores (B, H, W, C) bilinearly, frame included."""
    padded = np.pad(scores, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    kernel = bilinear_kernel(factor, scores.shape[-1])
    enlarged = transposed(padded, kernel, factor)  # (B, f * (H + 2), f * (W + 2), C)
    return enlarged[:, factor:-factor, factor:-factor]  # (B, f * H, f * W, C)


# %% [markdown]
# Is that right, or does it only sound right? Ask an independent reference, TensorFlow's
# own `tf.image.resize`, about every pixel of the cat, and for an odd factor too:

# %%
for factor in (2, 3, 8, 32):
    cells = shrink(photo, 32)[None] / 255  # (B, 9, 14, 3), 0..1
    size = (9 * factor, 14 * factor)
    reference = tf.image.resize(cells, size, method="bilinear").numpy()
    plain = transposed(cells, bilinear_kernel(factor, 3), factor) - reference
    repaired = upsample(cells, factor) - reference
    before, now = np.abs(plain).max(), np.abs(repaired).max()
    print(f"x{factor:<2} off by up to {before:.2f} as it comes, {now:.0e} repaired")
    assert now < 1e-5

# %%
cells = keras.Input(coarse.shape[1:])
as_layers = keras.Model(cells, fcn.upsample(cells, FACTOR, name="up32"))
difference = np.abs(as_layers(coarse) - upsample(coarse, FACTOR)).max()
print([layer.name for layer in as_layers.layers[1:]], f"differ by {difference:.0e}")
assert difference < 1e-3  # of 255

# %% [markdown]
# Equal everywhere, but for rounding. Why not call `tf.image.resize`, then? Because a
# layer with weights can be *learned*, and exported anywhere. The second cell shows the
# same three steps as layers, `fcn.upsample`; notebooks 04 and 05 build with it.
#
# Now all of it on the cat, at 1/8 and at 1/32. Columns: the cells, a random kernel, the
# bilinear one as it comes, the bilinear one on repeated edges.

# %% tags=["result"]
figure, axes = plots.grid(2, 4, size=2.9, aspect=288 / 448 + 0.08)
for row, factor in zip(axes, (8, 32), strict=True):
    cells = shrink(photo, factor)[None]  # (B, H/f, W/f, 3)
    weights = np.random.default_rng(SEED).uniform(0, 0.5, (2 * factor, 2 * factor))
    careless = np.float32(weights[:, :, None, None] * np.eye(3))  # (2f, 2f, C, C)
    panels = {
        f"{cells.shape[1]}x{cells.shape[2]} cells": cells,
        "random kernel": transposed(cells, careless, factor),
        "bilinear, as it comes": transposed(cells, bilinear_kernel(factor, 3), factor),
        "bilinear, edges repeated": upsample(cells, factor),
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
# The random kernel prints its own texture into every cell. The third column has the dark
# frame, as wide as half a cell. The last is clean: at 1/8 a cat, at 1/32 a mood.
# Enlarging invents nothing, which is why FCN will fetch detail from finer maps.
#
# ## 8. Enlarge scores, not labels
#
# A network's map holds **scores**, one per class. You could pick the best class in each
# cell and enlarge the *labels*, or enlarge the *scores* and pick last. To compare, draw
# a scene whose truth we know, a cat and a dog, and give a perfect coarse network its
# scores: the share of each class in each cell.

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
print(truth.shape, "->", scores.shape, "scores,", labels.shape, "labels")

# %% [markdown]
# **Predict**: labels are numbers, so nothing stops you from enlarging them bilinearly,
# and rounding. What appears along the outline of the *dog*?

# %%
masks = {
    "truth": truth,
    "labels, as blocks": labels[0].repeat(FACTOR, 0).repeat(FACTOR, 1),
    "labels, bilinear": upsample(labels[..., None], FACTOR)[0, ..., 0].round(),
    "scores, bilinear, then best": upsample(scores, FACTOR)[0].argmax(-1),
}
right = {name: (masks[name] == truth).mean() for name in list(masks)[1:]}
assert max(right, key=right.get) == "scores, bilinear, then best"

# %%
palette = ListedColormap([plots.COLORS[k] for k in ("background", "cat", "dog")])
figure, axes = plots.grid(1, 4, size=2.9, aspect=288 / 448 + 0.16)
for axis, (name, mask) in zip(axes.flat, masks.items(), strict=True):
    axis.imshow(mask, cmap=palette, vmin=0, vmax=2, interpolation="nearest")
    share = f"{right[name]:.1%} of pixels right" if name in right else ""
    axis.set_title(f"{name}\n{share}", fontsize=10)
plots.show(figure, "Truth; blocks; a dog with a cat-coloured rim; smooth outlines")

# %% [markdown]
# Orange is cat, blue is dog. Halfway between background (0) and dog (2) lies 1, so the
# dog grows a rim of cat. Ids have no in-between. Scores have, and from the same few
# cells they draw outlines *finer than a cell*: how sure each cell was tells where
# between two cells the border runs.
#
# ## 9. Where is a pixel?
#
# There are two schools of placing cells on pixels.
#
# - **Half-pixel centres**: a cell is a square, and covers its `factor` pixels. Its
#   centre is in their middle. Output pixel $i$ reads position $(i + ½)/f - ½$.
# - **Aligned corners**: cells and pixels are points; the first sits on the first, the
#   last on the last. Output pixel $i$ reads position $i\,(n - 1)/(f n - 1)$, with $n$ the
#   number of cells.
#
# Both look fine on a photo. Settle it with an **impulse**: one bright cell, cell 1 of 7.
# The pixels it stands for are 32 to 63 (grey in the figure), so its centre of mass
# belongs at 47.5. `np.interp` is all we need; TensorFlow's operation confirms both, and
# the last line says which school our own `upsample` belongs to.

# %%
cells = 7
pixels = np.arange(cells * FACTOR)  # (W,)
impulse = np.eye(cells)[1]  # (cells,)
positions = np.arange(cells)
readings = {
    "half_pixel_centers": (pixels + 0.5) / FACTOR - 0.5,
    "align_corners": pixels * (cells - 1) / (cells * FACTOR - 1),
}
lines = {name: np.interp(at, positions, impulse) for name, at in readings.items()}

resize = tf.raw_ops.ResizeBilinear  # what tf.image.resize calls; it offers both
cell_map = np.float32(impulse[None, None, :, None])  # (B, 1, cells, C)
for name, line in lines.items():
    row = resize(images=cell_map, size=(1, len(pixels)), **{name: True})[0, 0, :, 0]
    np.testing.assert_allclose(row, line, atol=1e-5)
    print(f"{name:18} centre of mass {np.average(pixels, weights=line):5.1f}")
ours = upsample(cell_map, FACTOR)[0, 0, :, 0]  # (W,)
np.testing.assert_allclose(ours, lines["half_pixel_centers"], atol=1e-5)

# %%
figure, (left, right) = plots.curves((9, 2.8), columns=2)
left.axvspan(FACTOR, 2 * FACTOR, color="#C8CDD4", alpha=0.5, label="pixels of cell 1")
for name, line in lines.items():
    left.plot(line, label=name)
left.set(xlabel="pixel", xlim=(0, 120), title="one bright cell, enlarged")
left.legend(frameon=False, fontsize=8)
for at in readings.values():
    landed = np.interp(positions, at, pixels)  # where each cell's centre lands
    shift = landed - (FACTOR * positions + (FACTOR - 1) / 2)
    right.plot(shift, "o-")
right.set(xlabel="cell", ylabel="shift in pixels", title="by how much cells move")
plots.show(figure, "Aligned corners move cells by up to 15.5 pixels, outwards")

# %% [markdown]
# Half-pixel centres land every cell on its own pixels. Aligned corners stretch the map
# from the middle, by up to $(f - 1)/2$: 15.5 pixels at x32, half a cell. The pooling
# layers made each cell from *its* square of pixels, so half-pixel centres are what undoes
# them. Here are both in the scene of section 8, with the true outline in black:

# %%
half_pixel = masks["scores, bilinear, then best"]  # (H, W)
enlarged = resize(images=scores, size=truth.shape, align_corners=True)  # (B, H, W, 3)
aligned = enlarged.numpy()[0].argmax(-1)  # (H, W)
wrong_half, wrong_aligned = ((mask != truth).mean() for mask in (half_pixel, aligned))
print(f"wrong pixels: {wrong_half:.1%} half-pixel, {wrong_aligned:.1%} aligned corners")
assert wrong_aligned > wrong_half

# %%
figure, axes = plots.grid(1, 2, size=3.6, aspect=288 / 448 + 0.08)
for axis, mask, name in zip(axes.flat, (half_pixel, aligned), readings, strict=True):
    axis.imshow(mask, cmap=palette, vmin=0, vmax=2, interpolation="nearest")
    axis.contour(truth > 0, [0.5], colors="black", linewidths=1)
    axis.set_title(name)
plots.show(figure, "True outline in black: aligned corners push both heads outwards")

# %% [markdown]
# Aligned corners push both heads outwards, and more than double the wrong pixels.
#
# Who does which, by their documentation: Keras and TensorFlow use half-pixel centres, and
# so does PyTorch's `interpolate` unless told otherwise; PyTorch's `UpsamplingBilinear2d`
# and Paddle's `UpsamplingBilinear2D` align corners. When you port a network, check this
# first.
#
# ## 10. In two steps, or learned
#
# FCN-16s enlarges by 2, adds something, then enlarges by 16.
#
# **Predict**: with nothing to add, is x2 then x16 the same as x32?

# %%
at_once = upsample(cell_map, 32)[0, 0, :, 0]  # (224,)
in_two = upsample(upsample(cell_map, 2), 16)[0, 0, :, 0]  # (224,)
at_once_mask = upsample(scores, 32)[0].argmax(-1)  # (H, W)
in_two_mask = upsample(upsample(scores, 2), 16)[0].argmax(-1)  # (H, W)
changed = (in_two_mask != at_once_mask).mean()
print(f"peak {at_once.max():.2f}, {in_two.max():.2f}; {changed:.1%} of pixels change")

figure, (axis,) = plots.curves((7, 2.6))
axis.plot(at_once, label="x32")
axis.plot(in_two, label="x2, then x16")
axis.set(xlabel="pixel", xlim=(0, 120), title="one bright cell")
axis.legend(frameon=False)
plots.show(figure, "The tent of x32, and the same tent with its kinks cut off")

# %% [markdown]
# Not quite. The first step samples the tent on either side of its peak and its feet, and
# the second joins the samples with straight lines: the kinks are cut, and with them a
# quarter of the peak. Notebook 05 meets
# this again, when it grows a trained FCN-32s into a 16s.
#
# Last question: a transposed convolution has weights, so should they be **learned**? In
# the paper the final enlargement stays fixed, the x2 ones start bilinear and learn; the
# authors' released code fixes all of them and finds no significant difference. Try it
# small: teach one 4x4 kernel to double the left half of the cat, test it on the right.

# %%
gray = photo.mean(-1, keepdims=True) / 255  # (288, 448, 1), 0..1
small = shrink(gray, 2)[None]  # (B, 144, 224, 1)
train = small[:, :, :112], gray[None, :, :224]
test = small[:, :, 112:], gray[None, :, 224:]


def fitted(kernel):
    """Fit a doubling kernel that starts here; return losses, errors, the model."""
    layer = layers.Conv2DTranspose(1, 4, strides=2, padding="same", use_bias=False)
    model = keras.Sequential([keras.Input((None, None, 1)), layer])
    layer.set_weights([kernel])
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    before = model.evaluate(*test, verbose=0)
    history = model.fit(*train, epochs=STEPS, verbose=0)  # one photo: a step an epoch
    return history.history["loss"], before, model.evaluate(*test, verbose=0), model


# %% [markdown]
# **Predict**: after the same number of steps, does the random start catch up?

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
# The bilinear start is the better kernel from the first step to the last, and gains some
# more by sharpening the fur. The random one has spent its steps on getting rid of its
# checkerboard, and has a grain still: look at the eye's rim. Hence the habit, which this
# series keeps: start bilinear. Whether it is learned on from there matters less.

# %% tags=["key-figure"]
print(
    f"edge fades to {faded[middle, 0]:.2f}; repaired: within {now:.0e} of "
    f"tf.image.resize; wrong pixels {wrong_half:.1%}, {wrong_aligned:.1%} if aligned"
)

# %% [markdown]
# ## 11. What can go wrong
#
# - **Masks go wrong along the frame alone.** A 'same' transposed kernel fades scores
#   there. Repeat the edge cells before, crop after, on *both* sides of the map.
#   [See it](09_bug_zoo.ipynb#faded-frame).
# - **A regular grain in the mask.** The kernel's size is no multiple of the stride, or
#   the layer started at random. Use $2f$, and start bilinear.
#   [See it](09_bug_zoo.ipynb#random-kernel).
# - **Masks sit a few pixels off, more so towards the edges.** Somebody aligned corners,
#   in the network or in resizing the masks. Send an impulse through.
#   [See it](09_bug_zoo.ipynb#aligned-corners).
#
# ## 12. Summary
#
# - A transposed convolution stamps its kernel once per input value, and adds. It is
#   multiplication by the transposed matrix of a convolution, and no inverse.
# - Checkerboards are uneven overlap; you can count them beforehand.
# - The bilinear kernel is an outer product of two tents $2f$ wide. On repeated edges it
#   equals `tf.image.resize` at every pixel.
# - One bright cell tells half-pixel centres from aligned corners.
# - Enlarge scores, choose the class last.
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
# <details><summary>2. Kernel 6, stride 3, all weights equal. Checkerboard or not? Is it
# bilinear?</summary>
#
# No checkerboard: 6 is a multiple of 3, every inner place gets two stamps. But the
# result is in steps, not in slopes: a box instead of a tent.
# </details>
#
# <details><summary>3. Why does repeating one cell suffice, even at x32?</summary>
#
# A tent reaches one cell to either side of its centre. So a pixel at the edge asks for at
# most one cell beyond the map.
# </details>
#
# <details><summary>4. Softmax first, then enlarge: still fine?</summary>
#
# No label rim appears, but the outlines move, as softmax bends the scores before the
# straight line is drawn. And the loss wants logits: enlarge them, apply softmax to show.
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
# Next, notebook 04 puts this layer on top of notebook 02's network, and trains it.
