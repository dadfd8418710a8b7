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
# The first network of this series that is shown masks and learns to draw them: VGG16's
# convolutions, three more, one enlargement by 32 (the *s* in its name is for *stride*: it
# has one score for each 32 pixels). No windows, no stitching, any size of photo.
#
# **You will be able to**
#
# - estimate how much of a mask a map of a given size can hold, before training anything,
# - choose between three ways of turning `fc6` into a convolution, knowing the price of
#   each,
# - make a network take any photo, by padding and cropping at the right edges,
# - write a segmentation loss that skips unknown pixels, and check it by hand,
# - prove that a network can learn at all before you spend an hour training it.
#
# **You need** notebook 02; 03 explains the enlargement. Without a GPU this page takes
# {minutes}, all of it on drawings; the backbone's 59 MB are downloaded once.
#
# Here is the end: what the network draws of pets it has never seen, and where it is
# wrong.

# %% tags=["setup"]

# %%
import itertools

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from utils import environment, fcn, imagenet, metrics, networks, pets, plots
from utils import surgery, training, vgg16

# %% tags=["preview"]
plots.picture(
    "04_fcn32s.jpg",
    alt="Photo, truth, FCN-32s's mask and its errors, which lie along outlines",
)

# %% [markdown]
# Without a GPU the backbone stays as ImageNet left it, and only what stands on top of it
# is trained. With a folder of real photographs as `DATASET`, the page does the same.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224 if ON_GPU else 128  # side of the square photos, in pixels
FC_UNITS = 4096 if ON_GPU else 512  # width of fc6 and fc7; 4096 in the paper
BATCH_SIZE = 16  # photos in one step
EPOCHS = 8  # passes over the training photos
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))
NAMES = pets.CLASS_NAMES["trimap"]
print(NAMES)

# %% [markdown]
# ## 1. How much mask fits into a few numbers?
#
# Notebook 02 left you with a classifier that scores a 224-pixel photo *once*: a map of
# 1x1. Notebook 03 can enlarge any map. So enlarge that one to 224x224, and done?
#
# Forget networks for a moment. Take a true mask, average it over the cells of a coarse
# grid, and enlarge that again, scores first and the best class last, as in notebook 03.
# Whatever is gone then, no better training would bring back, as long as a cell says no
# more than its own average.

# %%
validation = pets.load(DATASET, "validation", image_size=IMAGE_SIZE, batch_size=16)
images, masks = next(iter(validation))  # (B, H, W, 3), (B, H, W)
print(images.shape, masks.shape, np.unique(masks))


# %%
def through_a_grid(mask, cells, num_classes):
    """Average a mask (H, W) over cells x cells, and enlarge it bilinearly again."""
    truth = tf.one_hot(mask, num_classes)[None]  # (1, H, W, C)
    coarse = tf.image.resize(truth, (cells, cells), method="area")
    return tf.image.resize(coarse, mask.shape)[0].numpy().argmax(-1)  # (H, W)


# %% [markdown]
# **Predict**: which is the smallest grid in which you would still call it a mask? A
# cell may cover the whole photo, or 32, 16 or 8 pixels a side.

# %%
GRIDS = (1, IMAGE_SIZE // 32, IMAGE_SIZE // 16, IMAGE_SIZE // 8)  # cells a side
figure, axes = plots.grid(2, len(GRIDS) + 2, size=1.7, aspect=1.12)
for row, image, mask in zip(axes, images, masks, strict=False):
    panels = {"photo": plots.photo(image), "truth": plots.colored(mask, NAMES)}
    for cells in GRIDS:
        kept = through_a_grid(mask.numpy(), cells, len(NAMES))
        panels[f"{cells}x{cells}"] = plots.colored(kept, NAMES)
    for axis, (title, panel) in zip(row, panels.items(), strict=True):
        axis.imshow(panel)
        axis.set_title(title)
plots.show(figure, "Two pets, their true masks, and what coarse and fine grids keep")

# %% [markdown]
# Orange is pet, grey background, black the border between them. 8 pixels keep ears and
# legs, 16 a body, 32 a lump. And one cell can only say which class is the most frequent:
# interpolating 1x1 to a photo is **hopeless**. Numbers, over these photos, in *mean IoU*:
# for each class the pixels where truth and prediction agree, over the pixels where either
# says so, averaged over the classes.

# %%
for cells in GRIDS:
    score = metrics.SegmentationMetrics(len(NAMES))
    kept = np.stack([through_a_grid(mask, cells, len(NAMES)) for mask in masks.numpy()])
    score.update_state(masks, kept)
    print(f"{cells:3} x {cells:2} cells: mean IoU {score.result()['mean_iou']:.3f}")

# %% [markdown]
# Keep an eye on these: FCN-32s has the second grid, with a cell for each 32 pixels, and
# page 05 goes on to the other two. They are a guide and no limit: a trained network may
# put more cunning numbers into its cells than averages. Section 6 will show one that
# does.
#
# ## 2. Three choices for fc6
#
# At 224 pixels VGG16 ends in a map of 7x7 (at 128 it is 4x4). What `fc6` makes of it
# decides the size of the score map:

# %%
pool5 = keras.Input((7, 7, 512), name="pool5")  # (B, 7, 7, 512)
choices = {
    "7x7, valid": layers.Conv2D(4096, 7, padding="valid"),
    "1x1": layers.Conv2D(4096, 1),
    "7x7, same": layers.Conv2D(4096, 7, padding="same"),
}
for name, fc6 in choices.items():
    print(f"{name:11} {fc6(pool5).shape}  {fc6.count_params():>11,} parameters")

# %% [markdown]
# - **7x7, valid** is notebook 02's: exact, and a 1x1 map at this size. Everything it sees
#   ends up in a single cell. To get 7x7 you would need a photo of 416 pixels.
# - **1x1** keeps the 7x7 map, and is small. The dense weights no longer fit, so they are
#   thrown away and learned anew.
# - **7x7, same** keeps the map, and could keep the dense weights too: zeros are padded
#   around it. It is the paper's size, and what this series takes where memory allows.
#
# The whole network in float32, with 7x7 and 4096 units or with 1x1 and 512:

# %%
for units, kernel in ((4096, 7), (512, 1)):
    model = fcn.build("32s", 3, fc_units=units, fc_kernel=kernel, weights=None)
    size = 4 * model.count_params()  # float32: four bytes each
    print(
        f"fc6 {kernel}x{kernel}, {units:4} units: {size / 1e6:5.0f} MB of weights, ",
        end="",
    )
    print(f"{3 * size / 1e6:5.0f} MB more to train them with Adam")
del model

# %% [markdown]
# (Adam keeps two numbers for each weight, and each has a gradient.) Without a GPU this
# page takes the slim one, and its numbers below are that one's.
#
# ## 3. From backbone to scores
#
# Now build it, one layer at a time. The photo comes first, padded to a multiple of 32:
# VGG16 halves it five times, and an odd side would lose a row each time.
#
# Two layers do that, and both are short. The first adds what is missing below and to
# the right, in the mean colour of ImageNet's photos, which the network will subtract: what
# is left of the padding is zero, to within half a grey level, as in the convolutions' own
# padding. (In `utils.fcn` it
# has a `get_config` besides, so that it can be saved.)


# %%
class PadToStride(layers.Layer):
    """Pads an image below and to the right until its sides divide by the stride."""

    def __init__(self, stride=32, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, image):
        batch, height, width, _ = ops.shape(image)
        below = (self.stride - height % self.stride) % self.stride
        right = (self.stride - width % self.stride) % self.stride
        mean = ops.cast(imagenet.CAFFE_MEAN, image.dtype)
        rows = ops.zeros((batch, below, width, 3), image.dtype) + mean
        image = ops.concatenate([image, rows], axis=1)
        columns = ops.zeros((batch, height + below, right, 3), image.dtype) + mean
        return ops.concatenate([image, columns], axis=2)


# %% [markdown]
# The second takes off at the end what the first has added. Same edges, so the pixels in
# between keep their places.


# %%
class CropToImage(layers.Layer):
    """Cuts a map to the height and width of an image, at the lower and right edge."""

    def call(self, logits_and_image):
        logits, image = logits_and_image
        _, height, width, _ = ops.shape(image)
        return logits[:, :height, :width]


# %%
photo = np.zeros((1, 97, 161, 3), "float32")  # (B, H, W, 3)
padded = PadToStride()(photo)  # (B, 128, 192, 3)
cropped = CropToImage()([padded, photo])  # (B, H, W, 3)
print(photo.shape, "->", padded.shape, "->", cropped.shape)
assert padded.shape[1:3] == (128, 192) and cropped.shape == photo.shape

# %% [markdown]
# `ops.shape` gives numbers while the network runs; `image.shape` would give `None`, as no
# size is known while it is built. Now the network. Input and backbone, ImageNet weights
# in it:

# %%
image = keras.Input((None, None, 3), name="image")  # (B, H, W, 3)
pooled = vgg16.backbone(PadToStride(name="pad")(image))
backbone = keras.Model(image, list(pooled.values()))
print(vgg16.load_imagenet_weights(backbone))
spread = vgg16.feature_spread(backbone)["pool5"]
print("pool5:", pooled["pool5"].shape, f"spread {spread:.2f}")

# %% [markdown]
# Next `fc6` and `fc7`, in the slim form: 1x1, 512 units. They are new here, and new weights
# expect numbers around one. So divide the features by their **spread** first, the standard
# deviation over all cells and channels, measured on one photo (page 05 shows what happens
# where nobody does that).

# %%
x = layers.Rescaling(1 / spread)(pooled["pool5"])
for name in ("fc6", "fc7"):
    x = layers.Conv2D(
        512, 1, activation="relu", kernel_initializer="he_normal", name=name
    )(x)  # (B, H/32, W/32, 512)
    x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
print("fc7:", x.shape)
assert x.shape[-1] == 512

# %% [markdown]
# The **score layer**: one number per class and cell, no activation. A softmax here would
# be enlarged with the rest, and a ReLU would forbid a cell to say "certainly not". It
# starts at zero, as in the paper.

# %%
score_layer = layers.Conv2D(3, 1, kernel_initializer="zeros", name="score_fc7")
score_map = score_layer(x)  # (B, H/32, W/32, C)
print("score map:", score_map.shape)
assert score_map.shape[-1] == 3

# %% [markdown]
# Last, page 03's layer: repeat the edges, enlarge by 32 with the bilinear kernel, cut
# the extra cell off again. The kernel is fixed, there is nothing to learn in it.

# %%
enlarge = layers.Conv2DTranspose(
    3, 64, strides=32, padding="same", use_bias=False, trainable=False, name="up32"
)
x = enlarge(fcn.PadEdges()(score_map))  # (B, H' + 64, W' + 64, C)
enlarge.set_weights([surgery.bilinear_kernel(32, 3)])
x = layers.Cropping2D(32)(x)  # (B, H', W', C), multiples of 32
logits = CropToImage(name="s32")([x, image])  # (B, H, W, C)
by_hand = keras.Model(image, logits)
assert by_hand(photo).shape == (1, 97, 161, 3)

# %% [markdown]
# The same as a drawing, in the paper's size: 224 pixels, `fc6` 7x7 and 4096 units wide
# (yours is 1x1 and 512). Blue is features, orange is scores. The last box is as large as
# the photo.

# %%
plots.picture(
    "fcn32s.svg",
    alt="FCN-32s: five blocks of convolutions, fc6, fc7, a score map, enlarged by 32",
)

# %% [markdown]
# From here on `fcn.build` does this in one line. Is it the same network? Give both the
# same weights, random ones in the score layer, and a photo of an awkward size:

# %%
model = fcn.build("32s", 3, fc_units=512, fc_kernel=1, weights="imagenet_convolutions")
generator = np.random.default_rng(SEED)
score_layer = model.get_layer("score_fc7")
score_layer.set_weights(
    [generator.normal(0, 0.02, w.shape) for w in score_layer.get_weights()]
)
by_hand.set_weights(model.get_weights())  # same layers, same order
photo = generator.uniform(0, 255, (1, 97, 161, 3))  # (B, H, W, 3)
difference = float(np.abs(model(photo) - by_hand(photo)).max())
print(model(photo).shape, f"largest difference {difference:.1g}")
assert difference < 1e-4

# %% [markdown]
# The same network.
#
# ## 4. A loss that skips what nobody knows
#
# Every pixel is a classification, so the loss is the cross-entropy you know, averaged
# over pixels. With one twist: some pixels have no truth. In another task of notebook 00
# the border belongs to neither side; a photo that was turned or shrunk leaves a frame
# with nothing in it. There the mask says 255, **void**. Such a pixel must add nothing,
# not to the sum and not to the count. (Here border is a class, and no mask of this page
# holds void. You will make one.)


# %%
def cross_entropy(mask, logits, ignore_class=255):
    """Average the cross-entropy over the pixels that are not void."""
    mask = ops.cast(mask, "int32")
    valid = mask != ignore_class
    # Void becomes class 0 only so that there is something to look up.
    ids = ops.where(valid, mask, 0)
    per_pixel = ops.sparse_categorical_crossentropy(ids, logits, from_logits=True)
    count = ops.sum(ops.cast(valid, per_pixel.dtype))
    return ops.sum(ops.where(valid, per_pixel, 0.0)) / ops.maximum(count, 1.0)


# %% [markdown]
# Check it by hand on a mask of 2x2 pixels, one of them void. The network leans to class 0
# in each, with logits 2, 0, 0.

# %%
tiny_mask = np.array([[[0, 1], [0, 255]]])  # (B, H, W)
tiny_logits = np.tile(np.float32([2, 0, 0]), (1, 2, 2, 1))  # (B, H, W, C)
p = np.exp(2) / (np.exp(2) + 2)  # softmax of the first
q = 1 / (np.exp(2) + 2)  # of the others
on_paper = -(np.log(p) + np.log(q) + np.log(p)) / 3  # the fourth pixel is void
print(f"{on_paper:.6f} on paper, {cross_entropy(tiny_mask, tiny_logits):.6f}")
np.testing.assert_allclose(cross_entropy(tiny_mask, tiny_logits), on_paper, rtol=1e-6)

# %% [markdown]
# Three details, each a bug in somebody's repository: the logits go in as they are
# (`from_logits=True`, no softmax in the network), the division is by the pixels that
# count, and void is replaced *before* the look-up, because 255 is no class. (Keras has it
# too: `SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)`.)
#
# That leaves ids that are neither class nor void. A CPU refuses such an id; a GPU gives
# NaN, by TensorFlow's documentation, and soon every weight is NaN. So look once, before
# training:


# %%
def check_mask(mask, num_classes, ignore_class=255):
    """Return the mask when it holds nothing but class ids and void."""
    found = np.unique(mask)
    unknown = found[((found < 0) | (found >= num_classes)) & (found != ignore_class)]
    if unknown.size:
        raise ValueError(
            f"The mask holds the id {unknown[0]}, but the loss knows 0 to "
            f"{num_classes - 1} and {ignore_class} for void; map it to one of them."
        )
    return mask


# %%
check_mask(masks.numpy(), len(NAMES))
try:
    check_mask(masks.numpy() + 1, len(NAMES))  # as in the files: 1, 2, 3
except ValueError as error:
    print(error)

# %% [markdown]
# ## 5. Before training
#
# The score layer starts at zero, so the untrained network says 0, 0, 0 everywhere: each
# class has probability 1/3.
#
# **Predict**: what is the loss then? And which class does `argmax` choose?

# %%
model = fcn.build("32s", 3, fc_units=512, fc_kernel=1, weights="imagenet_convolutions")
untrained = model.predict(images, verbose=0)  # (B, H, W, C)
print(f"loss {cross_entropy(masks, untrained):.4f}, ln 3 = {np.log(3):.4f}")
print("classes chosen:", [NAMES[k] for k in np.unique(untrained.argmax(-1))])
assert abs(cross_entropy(masks, untrained) - np.log(3)) < 1e-4

# %% [markdown]
# $\ln 3 = 1.0986$. **Remember that number.** If your loss starts far above it, the
# scores start too large; if it *stays* there, nothing reaches them. And on a tie `argmax`
# takes the first class, so an untrained network sees pets everywhere.
#
# ## 6. Overfit one batch
#
# The cheapest test there is: can the network learn sixteen photos by heart? If not, a
# thousand will not help, and you have found your bug in seconds instead of hours.
#
# Freeze the backbone for it. Then what it says about a photo never changes: compute that
# once, keep it, and train what comes after. `networks.heads` is that rest of the network,
# **sharing** its layers. No copy: what it learns, the network has learned.
#
# (The sixteen are validation photos. That is allowed once: this network is thrown away
# afterwards. The 32s uses `pool5` alone; `pool3` and `pool4` are for page 05.)

# %%
training.freeze(model, (1, 2, 3, 4, 5))
batch = tf.data.Dataset.from_tensors((images, masks))
features = networks.backbone_features(model, batch).batch(len(images))
pools, _ = next(iter(features))
print("pool3, pool4, pool5:", *(pool.shape for pool in pools))

# %% [markdown]
# One argument: `jit_compile` is XLA, a compiler, which makes these networks slower on a
# CPU (notebook 06 has the figures). So it is on with a GPU only, as Keras itself has it.

# %%
rest = networks.heads(model)
rest.compile(keras.optimizers.AdamW(3e-3), loss=cross_entropy, jit_compile=ON_GPU)
rest.fit(features.repeat(60), shuffle=False, verbose=0)
print(f"loss {rest.evaluate(features, verbose=0):.3f} after 60 steps")

# %% [markdown]
# The `model` has learned it too, since they share layers. Ask it:

# %%
score = metrics.SegmentationMetrics(len(NAMES))
score.update_state(masks, model.predict(images, verbose=0))
learned = metrics.scores(score.confusion)
print({k: f"{v:.2f}" for k, v in zip(NAMES, learned["iou"].numpy(), strict=True)})
print(f"mean IoU {learned['mean_iou']:.3f}")
assert learned["mean_iou"] > 0.5, "the network cannot even learn one batch"

# %% [markdown]
# It can learn: the loss is far below ln 3. By heart it is not, and with 4x4 cells it cannot
# be. So compare with section 1: averages in such a grid keep less of these very photos than
# the network has learned, since it may choose its numbers. The border stays hard, a band of
# a few pixels for a network that speaks in cells of 32. That is no bug, it is section 9.
#
# ## 7. Train
#
# Nothing new: a fresh network, the same loss, the metric in `fit`. `SegmentationMetrics`
# counts over all photos which class was taken for which, and computes mean IoU from that;
# averaging the IoU of batches gives another, wrong number. `training.AdamW` is Keras's,
# with a lower rate for the backbone where that is trained.

# %%
model = fcn.build(
    "32s",
    len(NAMES),
    fc_units=FC_UNITS,
    fc_kernel=7 if ON_GPU else 1,
    weights="imagenet_convolutions",
)
train = pets.load(
    DATASET,
    "train",
    image_size=IMAGE_SIZE,
    batch_size=BATCH_SIZE,
    augment=ON_GPU,
    shuffle=ON_GPU,
    seed=SEED,
)

# %% [markdown]
# Without a GPU, wait here: this is where the frozen backbone looks at every photo, once
# and for all.

# %%
held_out = validation
if not ON_GPU:
    training.freeze(model, (1, 2, 3, 4, 5))
    train, held_out = (
        networks.backbone_features(model, batches) for batches in (train, validation)
    )
    train = train.shuffle(len(train), seed=SEED).batch(BATCH_SIZE)
    held_out = held_out.batch(BATCH_SIZE)
trainable = model if ON_GPU else networks.heads(model)
trained = sum(ops.size(w) for w in trainable.trainable_weights)
print(f"{len(train)} steps an epoch, {trained:,} weights to train")

# %% [markdown]
# The loss of section 4, the metric, and go:

# %%
trainable.compile(
    training.AdamW(1e-3, backbone_factor=0.1, weight_decay=1e-4),
    loss=cross_entropy,
    metrics=[metrics.SegmentationMetrics(len(NAMES))],
    jit_compile=ON_GPU,
)
history = trainable.fit(
    train, validation_data=held_out, epochs=EPOCHS, shuffle=False, verbose=0
).history
for epoch in (0, EPOCHS // 2, EPOCHS - 1):
    loss, val_loss, iou = (
        history[key][epoch] for key in ("loss", "val_loss", "val_mean_iou")
    )
    print(f"epoch {epoch + 1}: loss {loss:.3f}, ", end="")
    print(f"validation {val_loss:.3f}, mean IoU {iou:.3f}")

# %% [markdown]
# Curves first, always:

# %%
figure, axes = plots.curves((8, 2.8), columns=2)
for axis, name in zip(axes, ("loss", "mean_iou"), strict=True):
    axis.plot(range(1, EPOCHS + 1), history[name], label="training")
    axis.plot(range(1, EPOCHS + 1), history[f"val_{name}"], label="validation")
    axis.set(xlabel="epoch", title=name.replace("_iou", " IoU"))
axes[0].axhline(np.log(3), color="black", linestyle=":", label="ln 3, untrained")
axes[0].legend(frameon=False)
plots.show(figure, "Loss falls from ln 3, mean IoU rises; validation rises more slowly")

# %% [markdown]
# In the first epoch training looks worse than validation: dropout is on while it is
# computed, and it averages over an epoch in which the network was still getting better.
# Later the lines part: training goes on falling, validation hardly moves. What the network
# learns now holds more and more for these pictures only. A few more epochs would still gain
# a little, so the page stops early, not late.
#
# ## 8. Look at it
#
# **Predict**: where will the errors be? Say it before you run the cell, and say which
# part of the animal will be missing.

# %% tags=["result"]
predictions = model.predict(images, verbose=0).argmax(-1)  # (B, H, W)
figure = plots.compare(images[:4], masks[:4], {"FCN-32s": predictions[:4]}, NAMES)
plots.show(
    figure,
    "Photo, truth, FCN-32s, errors of four pets: wrong along outlines",
    photo=True,
)

# %%
result = training.evaluate(model, validation)
for name, iou in zip(NAMES, result["iou"], strict=True):
    print(f"{name:10} IoU {iou:.3f}")
print(f"mean IoU {result['mean_iou']:.3f}, pixels right {result['pixel_accuracy']:.1%}")
all_masks = np.concatenate([mask for _, mask in validation])  # (N, H, W)
print(f"calling everything background: {(all_masks == 1).mean():.1%} right")

# %% [markdown]
# Most pixels are right, and that number is worth little, as the last line shows. Per class
# the truth comes out. The pets have lost ears, legs and tails, one of them its whole head.
# What is left are lumps, two with pieces of room. And the border, a class of its own here,
# is hardly ever found.
#
# ## 9. What stride 32 cannot draw
#
# Look at what the network really computed, before the enlargement: one score per class
# for each cell.

# %%
cells = keras.Model(model.input, model.get_layer("score_fc7").output)
scores = ops.softmax(cells.predict(images[:1], verbose=0))[0].numpy()  # (H/32, W/32, C)
figure, axes = plots.grid(1, 5, size=2.0, aspect=1.1)
axes[0, 0].imshow(plots.photo(images[0]))
axes[0, 0].set_title("photo")
for axis, name, score in zip(
    axes[0, 1:4], NAMES, np.moveaxis(scores, -1, 0), strict=True
):
    axis.imshow(score, cmap="magma", vmin=0, vmax=1)
    axis.set_title(f"{name}, {score.shape[0]}x{score.shape[1]}")
axes[0, 4].imshow(plots.colored(predictions[0], NAMES))
axes[0, 4].set_title("enlarged, best class")
plots.show(
    figure, "A photo, coarse probability maps, the mask from the scores behind them"
)

# %% [markdown]
# Bright is probable. That is all it knows of the photo: a handful of cells. A tail fills a
# small part of its cell, so the cell says "a bit of pet", which is less than "mostly
# background", and the tail is gone.
#
# How wrong is it where? `outline_distance` measures for each pixel how far it is from
# the nearest change of class in the truth.

# %%
all_images = np.concatenate([image for image, _ in validation])  # (N, H, W, 3)
wrong = model.predict(all_images, verbose=0).argmax(-1) != all_masks  # (N, H, W)
distance = np.stack([metrics.outline_distance(mask) for mask in all_masks])
edges = (1, 2, 4, 8, 16, 32, 64)
ranges = list(itertools.pairwise(edges))
rates = [wrong[(distance >= low) & (distance < high)].mean() for low, high in ranges]

figure, (axis,) = plots.curves((7, 2.8))
axis.bar(range(len(rates)), rates, color=plots.COLORS["32s"])
axis.set_xticks(range(len(rates)), [f"{low} to {high}" for low, high in ranges])
axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
axis.set(xlabel="pixels from the true outline", title="wrong pixels")
plots.show(
    figure, "Share of wrong pixels by distance: most at the outline, few farther off"
)
assert rates[0] > 3 * rates[-1]

# %% [markdown]
# Next to an outline most pixels are wrong, partly because the border is hardly ever chosen;
# a cell away from it, few are. The network knows *what* is there and roughly *where*. What
# it lacks are the last few pixels, and much of that is still known to `pool4` and `pool3`,
# with their cells of 16 and 8. Page 05 asks them.
#
# ### On real photographs
#
# The drawings above are a stand-in. `tools.reproduce` trains the same network on
# photographs by page 06's recipe (blocks 3 to 5 too, another loss), and scores the test
# photos once, at the end (few epochs: the first of three stages, page 05 has the others):

# %%
real = environment.results("oxford-pets-sample_trimap")
row = real["summary"]["32s"]
print(real["command"])
print(f"{real['data']}, {real['image_size']} px, {real['device']}")
print(
    f"FCN-32s after {real['epochs'][0]} epochs: mean IoU {row['mean_iou']:.3f}, ",
    end="",
)
print(f"{row['seeds']} seeds within {row['range']:.3f}")

# %% tags=["key-figure"]
print(
    f"mean IoU {result['mean_iou']:.3f} on validation; wrong at the outline "
    f"{rates[0]:.0%}, 32 px away {rates[-1]:.1%}"
)

# %% [markdown]
# ## 10. What can go wrong
#
# - **The loss stays at 1.0986.** Nothing reaches the scores: a ReLU on top of them, a rate
#   too small, or frozen layers where the new ones are.
#   [See it](09_bug_zoo.ipynb#relu-on-scores). (With a
#   [softmax too many](09_bug_zoo.ipynb#softmax-twice) it never falls below
#   $\ln(1 + 2/e) = 0.55$.)
# - **Everything is background, and most of the pixels are right.** Look at IoU per class,
#   and overfit one batch. Often the ids are off by one: 1, 2, 3 in the file.
#   [See it](09_bug_zoo.ipynb#labels-from-1).
# - **The mask sits a few pixels off.** Padding was added on one side and cropped off the
#   other. Send an impulse through, as in notebook 03.
#   [See it](09_bug_zoo.ipynb#one-sided-crop).
#
# ## 11. Summary
#
# - A 1x1 map cannot hold a mask. A grid can; you measured how much of the truth each size
#   keeps.
# - `fc6` 'valid' collapses the map; 1x1 keeps it and throws the dense weights away; 7x7
#   'same' can keep both, for 103 of the network's 134 million parameters.
# - Padding to a multiple of 32, and cropping the same edges, makes any photo fit.
# - The loss counts pixels that are known, and nothing else; untrained it is $\ln 3$.
# - One batch overfitted, then curves, then pictures, then IoU by class.
# - FCN-32s is mostly right inside, and wrong along outlines and on thin parts.
#
# ## Questions
#
# <details><summary>1. With C classes and zero scores, what is the loss? And if the network
# were certain, and right on 90 % of the pixels?</summary>
#
# $\ln C$. And infinite, or close: certainty on the wrong tenth costs without bound. That
# is why a loss can rise while mean IoU rises too.
# </details>
#
# <details><summary>2. A photo of 33x33 pixels goes in. How large is the score map, and how
# much of it is about padding?</summary>
#
# 33 is padded to 64, so 2x2 cells. Of the 4,096 pixels 3,007 are padding, 73 %. (A cell
# *covers* 32x32 pixels but *sees* many more, as notebook 02 measured.)
# </details>
#
# <details><summary>3. Why not put the loss on the score map, against a mask shrunk to that
# size?</summary>
#
# It is cheaper, and it teaches cells their average instead of the mask. With the
# enlargement inside the network a cell learns the value that makes its 64x64 surroundings
# come out best. It needs no opinion on shrinking masks.
# </details>
#
# <details><summary>4. The validation photos were scored after each epoch. May you report
# their mean IoU as the result?</summary>
#
# Not if you chose anything by it: epochs, rates, the seed. That is why no page trains or
# chooses by the official test list. `tools.reproduce` opens it once, after its last epoch.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/04_fcn32s.ipynb),
# [solutions](solutions/04_fcn32s.ipynb).
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. Sections 3 and 4.
# - E. Shelhamer, J. Long, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. IEEE TPAMI 2017. Appendix A: what a grid keeps of the truth.
# - K. Simonyan, A. Zisserman. *Very Deep Convolutional Networks for Large-Scale Image
#   Recognition*. ICLR 2015.
# - I. Loshchilov, F. Hutter. *Decoupled Weight Decay Regularization*. ICLR 2019.
#
# Next, notebook 05 adds two short connections, and comes nearer the outline.
