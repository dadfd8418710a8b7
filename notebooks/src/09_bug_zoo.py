# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The bug zoo
#
# Nineteen bugs that people really have, each in a cage: you see the wrong line beside the
# right one, what it does, and the one-line test that would have caught it.
#
# **You will be able to**
#
# - go from a symptom to its cause, by a table,
# - recognise a bug by its curve or by its mask,
# - tell bugs that crash from bugs that only cost you,
# - write a test of one line for each.
#
# **You need** notebooks 04 and 05. Without a GPU this page takes {minutes}, on
# drawings; the backbone's 59 MB are downloaded once.
#
# The inmates, on one pet. Orange is pet, grey background, black border.

# %% tags=["setup"]

# %%
import inspect
import re
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from utils import environment, fcn, metrics, networks, pets, plots, surgery
from utils import vgg16
from utils.metrics import cross_entropy

# %% tags=["preview"]
plots.picture(
    "09_bug_zoo.jpg",
    alt="One pet: photo, truth, the healthy mask, and the masks that nine bugs draw",
)

# %% [markdown]
# ## What can go wrong, by symptom
#
# | what you see | cause | cage |
# |---|---|---|
# | a slab of pet at the edge, pets squeezed | batches padded before resizing | [Zero padding](#zero-padding) |
# | a thin wrong class along outlines | ids averaged | [Bilinear masks](#bilinear-masks) |
# | "value of 3 which is outside the valid range", NaN on a GPU, or pets drawn as background | ids of the file | [Labels from 1](#labels-from-1) |
# | masks in shreds, though nothing crashes | photo and mask augmented apart | [Two draws](#two-draws) |
# | everything is background; fine in training, useless in production | photos scaled to 0..1 | [Photos in 0 to 1](#photos-in-0-to-1) |
# | the converted classifier answers nonsense | channels first | [Flatten order](#flatten-order) |
# | shape error: 2x2 against 14x14 | fc6 pads nothing | [Valid fc6](#valid-fc6) |
# | out of memory at the first photo | factors multiplied | [Enlarged in a row](#enlarged-in-a-row) |
# | edges shifted by half a cell | cropped on one side | [One-sided crop](#one-sided-crop) |
# | masks drift outwards, more so far from the middle | two schools of resizing | [Aligned corners](#aligned-corners) |
# | logits fade at the frame | stamps missing there | [Faded frame](#faded-frame) |
# | a checkerboard in the mask | kernel started at random | [Random kernel](#random-kernel) |
# | loss stays at 1.0986 | no gradient | [ReLU on scores](#relu-on-scores) |
# | loss falls, but never below 0.55 | one softmax too many | [Softmax twice](#softmax-twice) |
# | 8s worse than 32s, its loss flat far above 1.0986, one class everywhere | softmax saturated by loud skips | [Saturated softmax](#saturated-softmax) |
# | NaN after a few steps in float16 | a probability rounded to zero | [Softmax in float16](#softmax-in-float16) |
# | 8s hardly better than 32s | skips unheard | [Quiet skips](#quiet-skips) |
# | the finished 32s changes while another trains | shared layers | [Shared layers](#shared-layers) |
# | "Incompatible shapes" or "must match" in MeanIoU; IoU depends on the batch size | wrong metric | [Measured wrongly](#measured-wrongly) |
#
# A symptom can have several causes: see the questions at the end.
#
# ## 0. The healthy one
#
# All cages share a small world: photos of 96 pixels, a frozen backbone whose features are
# computed once, and a slim FCN-8s behind it. It is too small for good masks. It is large
# enough to fall ill. In every cage `bug` is the switch: True runs the wrong line, False the
# right one, and the cell asserts that the symptom comes and goes with it.

# %% tags=["parameters"]
DATASET = "synthetic_pets"  # or "oxford_iiit_pet", or a folder's path
IMAGE_SIZE = 96  # side of the square photos in pixels, a multiple of 32
PHOTOS = 96  # photos to train on
EPOCHS = 10  # passes over them
RATE = 0.01  # learning rate of AdamW; high, as there is little time
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))
NAMES = pets.CLASS_NAMES["trimap"]  # pet 0, background 1, border 2
image = keras.Input((None, None, 3))  # (B, H, W, 3)
pooled = vgg16.backbone(image)
backbone = keras.Model(image, [pooled[f"pool{k}"] for k in (3, 4, 5)])
print(vgg16.load_imagenet_weights(backbone))
spread = vgg16.feature_spread(backbone)  # of each pool: a standard deviation

# %% [markdown]
# Photos and masks as arrays, and what the backbone says about them:


# %%
def load(split, count):
    """Return images (N, H, W, 3), masks (N, H, W) and the features pool3, 4, 5."""
    data = pets.load(DATASET, split, image_size=IMAGE_SIZE).take(count // 16)
    images = np.concatenate([batch for batch, _ in data])
    features = networks.backbone_features(backbone, data).batch(count)
    pools, masks = next(iter(features))
    return images, masks.numpy(), [np.float32(pool) for pool in pools]


images, masks, features = load("train", PHOTOS)
new_images, new_masks, new_features = load("validation", PHOTOS // 2)
print(*(pool.shape for pool in features))  # (N, H/8, W/8, 256), (N, H/16, ...), ...

# %% [markdown]
# The head is notebook 05's. Its arguments are the doors through which some of the bugs come
# in; left alone, it is healthy.


# %% tags=["whole-model"]
def build_head(enlarge=fcn.upsample, activation=None, loudness=(1, 1), coarse=False):
    """FCN-8s (coarse: 32s) behind the backbone: pool3, pool4, pool5 -> logits."""
    keras.utils.set_random_seed(SEED)

    def score(x, name):
        return layers.Conv2D(
            3, 1, activation=activation, kernel_initializer="zeros", name=name
        )(x)

    pools = [keras.Input((None, None, depth)) for depth in (256, 512, 512)]
    pool3, pool4, x = (
        layers.Rescaling(loud / spread[name])(pool)
        for loud, name, pool in zip((*loudness, 1), spread, pools, strict=True)
    )
    for _ in ("fc6", "fc7"):
        x = layers.Conv2D(128, 1, activation="relu", kernel_initializer="he_normal")(x)
    x = score(x, "score_fc7")  # (B, H/32, W/32, C)
    if coarse:
        used = [enlarge(x, 32, "up32"), *pools]  # Keras 3.13 wants every input used
        return keras.Model(pools, layers.Identity()(used)[0])  # (B, H, W, C)
    x = layers.Add()([enlarge(x, 2, "up2_fc7"), score(pool4, "score_pool4")])
    x = layers.Add(name="sum")(
        [enlarge(x, 2, "up2_pool4"), score(pool3, "score_pool3")]
    )
    return keras.Model(pools, enlarge(x, 8, "up8"))  # (B, H, W, C)


# %%
KEPT = {}


def trained(ids=masks, loss=cross_entropy, **options):
    """Train a head and return it with its losses; the same one is not trained twice."""
    chosen = inspect.signature(build_head).bind(**options)
    chosen.apply_defaults()
    key = (hash(ids.tobytes()), loss, *chosen.arguments.values())
    if key not in KEPT:
        head = build_head(**options)
        head.compile(keras.optimizers.AdamW(RATE), loss=loss, jit_compile=False)
        fitted = head.fit(features, ids, batch_size=16, epochs=EPOCHS, verbose=0)
        KEPT[key] = head, fitted.history["loss"]
    return KEPT[key]


# %% [markdown]
# And three helpers: the masks a head draws of new photos, their mean IoU, and a row of
# pictures.


# %%
def drawn(head):
    """Return the class of each pixel of the new photos: (N, H, W)."""
    return np.argmax(head(new_features), -1)


def mean_iou(prediction, truth=new_masks):
    score = metrics.SegmentationMetrics(len(NAMES))
    score.update_state(truth, prediction)
    return float(score.result()["mean_iou"])


def show_row(panels, alt):
    """Show photos and masks side by side, by title."""
    figure, axes = plots.grid(1, len(panels), size=1.9, aspect=1.12)
    for axis, (title, panel) in zip(axes[0], panels.items(), strict=True):
        axis.imshow(plots.colored(panel, NAMES) if panel.ndim == 2 else panel)
        axis.set_title(title, fontsize=9)
    plots.show(figure, alt, photo=True)


# %%
healthy, per_epoch = trained()
cages = {"healthy": drawn(healthy)}  # what each network draws: (N, H, W)
iou = mean_iou(cages["healthy"])
print(f"healthy: loss {per_epoch[0]:.2f} to {per_epoch[-1]:.2f}, mean IoU {iou:.3f}")
pairs = zip(cages["healthy"], new_masks, strict=True)
shown = int(np.argmax([mean_iou(*pair) for pair in pairs]))  # its best photo

# %% [markdown]
# ## 1. Photos and masks
#
# <a id="zero-padding"></a>
#
# ### Zero padding
#
# Photos differ in size, and `padded_batch` makes them fit: with zeros, in the masks too.
# Zero is *pet* here. (Where zero is background the frame becomes background: milder, and
# still invented.)


# %%
def resized(image, mask):
    side = (IMAGE_SIZE, IMAGE_SIZE)
    mask = tf.image.resize(mask[..., None], side, "nearest")[..., 0]
    return tf.image.resize(image, side), mask


examples = pets.load_examples(DATASET, "validation").take(8)
pairs = examples.map(lambda one: (one["image"], one["mask"]))
in_files = np.mean([np.mean(mask == 0) for _, mask in pairs])  # share of pet
padded = next(iter(pairs.padded_batch(8).map(resized)))  # wrong: pad, then resize
single = next(iter(pairs.map(resized).batch(8)))  # right: resize, then batch
for bug, (_, mask) in ((True, padded), (False, single)):
    share = np.mean(mask == 0)
    print(f"{bug=!s:5}: {share:.1%} pet; in the files {in_files:.1%}")
    assert (abs(share - in_files) < 0.02) != bug  # the test: shares survive resizing

# %%
slab = int(np.argmax(np.mean(padded[1] != single[1], axis=(1, 2))))
panels = {}
for name, (photos, its_masks) in {"healthy": single, "padded": padded}.items():
    panels[name] = plots.photo(photos[slab])
    panels[f"{name}, mask"] = its_masks[slab].numpy()
show_row(panels, "A pet and its mask; both squeezed, with a slab of pet at the edge")

# %% [markdown]
# <a id="bilinear-masks"></a>
#
# ### Bilinear masks
#
# The mean of pet (0) and border (2) is 1. **Predict** what appears, and where.

# %%
half = (IMAGE_SIZE // 2, IMAGE_SIZE // 2)
without_1 = np.where(new_masks == 1, 0, new_masks)[..., None]
small = {}
for bug in (True, False):
    method = "bilinear" if bug else "nearest"  # wrong and right
    small[bug] = np.round(tf.image.resize(new_masks[..., None], half, method)[..., 0])
    ids = np.unique(np.round(tf.image.resize(without_1, half, method)))
    print(f"{method}: ids 0 and 2 become {ids}")
    assert (set(ids) <= {0, 2}) != bug  # the test: no id that was not there

# %%
invented = (small[True] == 1) & (small[False] != 1)  # (N, H/2, W/2)
print(f"{invented.mean():.1%} of the pixels became background")
panels = {"nearest": small[False], "bilinear, rounded": small[True]}
panels["became background"] = np.where(invented, 2, 1)
show_row(
    {name: np.int32(ids[shown]) for name, ids in panels.items()},
    "A mask by nearest neighbour, by averaging, and a dotted rim of invented pixels",
)

# %% [markdown]
# <a id="labels-from-1"></a>
#
# ### Labels from 1
#
# The file says 1, 2, 3. A sparse loss then looks up class 3 of three: an error on a CPU, by
# TensorFlow's documentation NaN on a GPU. One-hot masks (second cell) say nothing at all:
# id 3 becomes a row of zeros, which costs nothing.

# %%
zeros = np.zeros((*masks.shape, 3), "float32")  # (N, H, W, C)
for bug in (True, False):
    ids = masks + 1 if bug else masks  # wrong: 1, 2, 3; right: 0, 1, 2
    try:
        loss = float(cross_entropy(ids, zeros))
    except tf.errors.InvalidArgumentError as error:
        loss = np.nan
        print(re.search(r"Received a label value.*?\)", str(error))[0])
    print(f"{bug=!s:5}: loss {loss:.4f}")
    assert np.isfinite(loss) != bug
    assert (ids.max() < len(NAMES)) != bug  # the test, in words: batching.check_mask


# %%
def one_hot_loss(ids, logits):
    truth = ops.one_hot(ops.cast(ids, "int32"), 3)  # (B, H, W, C)
    return keras.losses.categorical_crossentropy(truth, logits, from_logits=True)


for bug in (True, False):
    name = "labels from 1" if bug else "healthy"
    head, per_epoch = trained(masks + 1 if bug else masks, loss=one_hot_loss)
    cages[name] = drawn(head)
    share = np.mean(cages[name] == 0)
    print(f"{name}: loss {per_epoch[-1]:.2f}, pixels called pet {share:.1%}")
    assert (share < 0.01) == bug

# %% [markdown]
# The lowest loss in this zoo, and hardly a pet: pets are called background, and background
# border. (All masks together are at the end of the page.)
#
# <a id="two-draws"></a>
#
# ### Two draws
#
# Flip a photo, and its mask must flip with it. With a draw for each, half of the pairs
# disagree. (Below only the mask is flipped, where the draws differ. For the network that is
# the same disagreement.)


# %%
def flipped(batch, draw):
    return np.where(draw[:, None, None], batch[:, :, ::-1], batch)  # (N, H, W)


first, second = np.random.default_rng(SEED).random((2, PHOTOS)) < 0.5
for bug in (True, False):
    name = "two draws" if bug else "healthy"
    draw = second if bug else first  # wrong: its own draw; right: the photo's
    cages[name] = drawn(trained(flipped(masks, draw != first))[0])
    print(f"{name}: mean IoU {mean_iou(cages[name]):.3f}")
    # The test: a mask that is its own photo must come out equal to it.
    assert np.array_equal(flipped(masks, first), flipped(masks, draw)) != bug
assert mean_iou(cages["two draws"]) < mean_iou(cages["healthy"]) - 0.02

# %% [markdown]
# Nothing crashes. That augmentation makes things *worse* is the only hint.
#
# <a id="photos-in-0-to-1"></a>
#
# ### Photos in 0 to 1
#
# These networks take 0..255. Scale by habit, and every photo is nearly black. **Predict**:
# what does the healthy network see in it? And with red and blue exchanged?

# %%
for name in ("photos in 0 to 1", "BGR", "healthy"):
    photos = new_images[..., ::-1] if name == "BGR" else new_images
    photos = photos / 255 if name == "photos in 0 to 1" else photos  # wrong and right
    cages[name] = np.argmax(healthy(backbone(photos)), -1)
    share = np.bincount(cages[name].ravel()).max() / cages[name].size
    same = np.mean(cages[name] == cages["healthy"])
    print(f"{name}: one class has {share:.0%}, pixels as healthy {same:.0%}")
    assert (photos.max() < 2) == (share > 0.95)  # the test: look at the largest value

# %% [markdown]
# One colour, from a network in perfect health. Exchanged colours are the milder brother:
# nearly all pixels stay, so nobody notices.
#
# ## 2. Layers
#
# <a id="flatten-order"></a>
#
# ### Flatten order
#
# A dense layer becomes a convolution by one `reshape` (notebook 02). Keras flattens rows,
# columns, channels; where channels come first, the rows of the kernel have another order.
# Both reshapes fit. Below: three outputs of each, and those of the dense layer.

# %%
side, pool5 = IMAGE_SIZE // 32, new_features[2]  # (N, H/32, W/32, 512)
dense = np.random.default_rng(SEED).normal(size=(side * side * 512, 10)) / 100
by_dense = pool5.reshape(len(pool5), -1) @ dense  # (N, 10)
for bug in (True, False):
    wrong = dense.reshape(512, side, side, 10).transpose(1, 2, 0, 3)
    right = dense.reshape(side, side, 512, 10)
    answers = ops.conv(pool5, np.float32(wrong if bug else right))[:, 0, 0]  # (N, 10)
    print(f"{bug=!s:5}:", np.round(answers[0, :3], 2), by_dense[0, :3].round(2))
    assert np.allclose(answers, by_dense, atol=1e-3) != bug  # the test

# %% [markdown]
# Comparing with the dense layer also catches biases left behind: all scores off by a
# constant.
#
# <a id="valid-fc6"></a>
#
# ### Valid fc6
#
# 'valid' repeats the classifier exactly, so 224 pixels give one cell. Enlarged by two it
# meets the 14x14 of `pool4`.

# %%
pool5, score_pool4 = keras.Input((7, 7, 512)), keras.Input((14, 14, 3))
for padding in ("valid", "same"):  # wrong and right
    scores = layers.Conv2D(3, 7, padding=padding)(pool5)  # (B, 1, 1, C), (B, 7, 7, C)
    twice = fcn.upsample(scores, 2, f"up2_{padding}")
    try:
        fused = layers.Add()([twice, score_pool4]).shape
    except ValueError as error:
        fused = str(error).splitlines()[0]
    print(f"{padding}: {fused}")
    assert isinstance(fused, tuple) == (padding == "same")
    assert (scores.shape[1] == 7) == (padding == "same")  # the test: 224 / 32 cells

# %% [markdown]
# <a id="enlarged-in-a-row"></a>
#
# ### Enlarged in a row
#
# 32, 16 and 8 are the strides of three networks. Some programs enlarge by all of them, one
# after the other. **Predict** the size of that map.

# %%
for bug in (True, False):
    x = keras.Input((7, 7, 3))  # (B, H/32, W/32, C)
    for factor in (32, 16, 8) if bug else (2, 2, 8):  # wrong and right
        x = layers.Conv2DTranspose(3, 2 * factor, strides=factor, padding="same")(x)
    print(f"{bug=!s:5}: {x.shape[1:]}, {4 * np.prod(x.shape[1:]) / 1e9:.3f} GB a photo")
    assert (x.shape[1:3] == (224, 224)) != bug  # the test: as large as the photo

# %% [markdown]
# Factors of a chain multiply, and 32 is all there is to make up for.
#
# <a id="one-sided-crop"></a>
#
# ### One-sided crop
#
# A transposed convolution without padding gives a map one cell too large. Half a cell must
# go at *each* side. To see where things land, send an **impulse**: cell 1 of 7, which at x8
# stands for pixels 8 to 15, so its centre of mass belongs at 11.5. What is enlarged below
# are the healthy network's last scores, with a cell for each 8 pixels.


# %%
def shift(enlarge):
    """How many pixels off an impulse lands."""
    cells = np.zeros((1, 7, 7, 3), "float32")
    cells[:, :, 1] = 1
    row = np.array(enlarge(cells))[0, 28, :, 0]  # (W,)
    return np.average(np.arange(len(row)), weights=row) - 11.5


def uncropped(scores, factor=8):
    kernel = surgery.bilinear_kernel(factor, 3)
    return ops.conv_transpose(scores, kernel, factor, "valid")  # (B, f * (H + 1), ...)


last_sum = keras.Model(healthy.input, healthy.get_layer("sum").output)
scores = np.array(last_sum(new_features))  # (N, H/8, W/8, C)


# %%
for bug in (True, False):
    name = "one-sided crop" if bug else "healthy"
    cut = np.s_[:, :-8, :-8] if bug else np.s_[:, 4:-4, 4:-4]  # wrong and right
    off = shift(lambda cells, cut=cut: uncropped(cells)[cut])
    cages[name] = np.argmax(uncropped(scores)[cut], -1)
    print(f"{name}: off by {off:.1f} pixels, mean IoU {mean_iou(cages[name]):.3f}")
    assert (abs(off) < 0.01) != bug  # the test
assert mean_iou(cages["one-sided crop"]) < mean_iou(cages["healthy"]) - 0.02

# %% [markdown]
# Half a cell: 4 pixels at x8, 16 at x32.
#
# <a id="aligned-corners"></a>
#
# ### Aligned corners
#
# Pooling made each cell of its own square of pixels; half-pixel centres undo that. Layers
# that align corners (PyTorch's `align_corners=True`, Paddle's `UpsamplingBilinear2D`)
# stretch the map from its middle instead.


# %%
def aligned(scores, bug):
    size = [8 * side for side in scores.shape[1:3]]
    wrong, right = {"align_corners": True}, {"half_pixel_centers": True}
    school = wrong if bug else right
    return tf.raw_ops.ResizeBilinear(images=scores, size=size, **school)


for bug in (True, False):
    name = "aligned corners" if bug else "healthy"
    off = shift(lambda cells, bug=bug: aligned(cells, bug))
    cages[name] = np.argmax(aligned(scores, bug), -1)
    print(f"{name}: off by {off:.1f} pixels, mean IoU {mean_iou(cages[name]):.3f}")
    assert (abs(off) < 0.01) != bug  # the test
assert mean_iou(cages["aligned corners"]) < mean_iou(cages["healthy"])

# %%
figure, axes = plots.grid(1, 3, size=2.2, aspect=1.1)
names = ("healthy", "one-sided crop", "aligned corners")
for axis, name in zip(axes[0], names, strict=True):
    axis.imshow(plots.colored(cages[name][shown], NAMES))
    axis.contour(new_masks[shown] == 0, [0.5], colors="#0072B2", linewidths=1.2)
    axis.set_title(name, fontsize=9)
plots.show(figure, "Three masks under the true outline: fitting, moved, stretched")

# %% [markdown]
# Blue is the true outline. Aligned corners move nothing in the middle and up to 3.5 pixels
# at the frame (15.5 at x32). Here that is mild, and it never goes away.
#
# <a id="faded-frame"></a>
#
# ### Faded frame
#
# With 'same' padding, half of the stamps at the frame are missing, those of cells beyond
# it. **Predict**: does `argmax` notice?


# %%
def faded(scores, factor, name):
    """The kernel of `fcn.upsample`, without its repeated edges."""
    enlarge = layers.Conv2DTranspose(
        3, 2 * factor, strides=factor, padding="same", use_bias=False, name=name
    )
    enlarged = enlarge(scores)  # (B, factor * H, factor * W, C)
    enlarge.set_weights([surgery.bilinear_kernel(factor, 3)])
    return enlarged


sure = {}
for bug in (True, False):
    name = "faded frame" if bug else "healthy"
    enlarge = faded if bug else fcn.upsample  # wrong and right
    cells = keras.Input((9, 9, 3))
    ones = keras.Model(cells, enlarge(cells, 8, f"up8_{bug}"))(np.ones((1, 9, 9, 3)))
    assert np.allclose(ones, 1) != bug  # the test: a constant stays constant
    twin = build_head(enlarge=enlarge)
    twin.set_weights(healthy.get_weights())
    logits = np.array(twin(new_features))  # (N, H, W, C)
    cages[name] = logits.argmax(-1)
    sure[name] = np.max(ops.softmax(logits), -1).mean((0, 1))  # (W,)
    print(
        f"{name}: corner {ones[0, 0, 0, 0]:.2f}, mean IoU {mean_iou(cages[name]):.3f}"
    )

# %%
figure, (axis,) = plots.curves((7, 2.4))
for name, line in sure.items():
    axis.plot(line, label=name)
axis.set(xlabel="column of pixels", title="probability of the chosen class")
axis.legend(frameon=False, loc="upper center")
plots.show(
    figure, "Two lines, one a little below the other, and far below at both ends"
)
assert sure["faded frame"][0] < sure["healthy"][0] - 0.02

# %% [markdown]
# Hardly. All classes fade alike, so the same one wins, and the mean IoU stays. What is gone
# is confidence, most at the frame, where the logits shrink to a half and in corners to a
# third. (Inside, the deep scores have only three cells, so all of them are near a frame.)
#
# <a id="random-kernel"></a>
#
# ### Random kernel
#
# Keras starts a `Conv2DTranspose` at random. Each cell stamps a texture, which training has
# to wash out.


# %%
def careless(scores, factor, name):
    if factor < 8:
        return fcn.upsample(scores, factor, name)
    return layers.Conv2DTranspose(3, 16, strides=8, padding="same", name=name)(scores)


views = {}
for bug in (True, False):
    name = "random kernel" if bug else "healthy"
    head, _ = trained(enlarge=careless if bug else fcn.upsample)  # wrong and right
    flat = head.get_layer("up8")(np.ones((1, 9, 9, 3), "float32"))[0, 16:-16, 16:-16]
    grain = float(ops.max(ops.std(flat, axis=(0, 1))))
    assert (grain < 1e-3) != bug  # the test: a constant stays constant, off the frame
    logits = np.array(head(new_features))  # (N, H, W, C)
    cages[name] = logits.argmax(-1)
    views[name] = logits[shown, ..., 0] - logits[shown, ..., 1]  # pet over background
    print(f"{name}: grain {grain:.3f}, mean IoU {mean_iou(cages[name]):.3f}")

# %%
figure, axes = plots.grid(1, 4, size=2.0, aspect=1.12)
for (left, right), (name, view) in zip(axes.reshape(2, 2), views.items(), strict=True):
    left.imshow(plots.colored(cages[name][shown], NAMES))
    limit = np.abs(view).max()
    right.imshow(view, cmap="RdBu_r", vmin=-limit, vmax=limit)
    left.set_title(name, fontsize=9)
    right.set_title("logits: pet over background", fontsize=9)
alt = "A frayed mask over logits with a regular grain; both smooth in health"
plots.show(figure, alt, photo=True)

# %% [markdown]
# ## 3. Training
#
# <a id="relu-on-scores"></a>
#
# ### ReLU on scores
#
# Hidden layers have a ReLU, so the score layers get one too. They start at zero, where a
# ReLU passes no gradient. **Predict** the loss after ten epochs.

# %%
for bug in (True, False):
    activation = "relu" if bug else None  # wrong and right
    head, per_epoch = trained(activation=activation)
    print(f"{activation}: loss {per_epoch[0]:.4f} to {per_epoch[-1]:.4f}")
    moved = np.any(head.get_layer("score_pool3").get_weights()[0])
    assert moved != bug  # the test: training moves the score layers
    assert (abs(per_epoch[-1] - np.log(3)) < 1e-4) == bug

# %% [markdown]
# <a id="softmax-twice"></a>
#
# ### Softmax twice
#
# A softmax in the network *and* `from_logits=True`: the loss takes probabilities for
# logits. These differ by 1 at most, so it never falls below $\ln(1 + 2/e) = 0.551$.


# %%
def with_softmax(scores, factor, name):
    scores = layers.Softmax()(scores) if factor == 8 else scores
    return fcn.upsample(scores, factor, name)


curves, floor = {}, np.log(1 + 2 / np.e)
for bug in (True, False):
    name = "softmax twice" if bug else "healthy"
    enlarge = with_softmax if bug else fcn.upsample  # wrong and right
    head, curves[name] = trained(enlarge=enlarge)
    logits = np.array(head(new_features))  # (N, H, W, C)
    cages[name] = logits.argmax(-1)
    print(f"{name}: loss {curves[name][-1]:.3f}, mean IoU {mean_iou(cages[name]):.3f}")
    assert np.allclose(logits.sum(-1), 1, atol=1e-3) == bug  # the test: they sum to 1
    assert (min(curves[name]) > floor) == bug

# %%
figure, (axis,) = plots.curves((7, 2.4))
for name, curve in curves.items():
    axis.plot(range(1, EPOCHS + 1), curve, label=name)
axis.axhline(floor, color="black", linestyle=":", label="the floor, 0.551")
axis.set(xlabel="epoch", title="training loss")
axis.legend(frameon=False)
plots.show(figure, "The healthy loss falls through the floor, the other stays above it")

# %% [markdown]
# It learns, slowly, so nobody looks. Keras helps, a little: where softmax is the *last*
# operation, it finds the logits behind it, and warns. With anything in between, such as an
# enlargement, it cannot.

# %%
values, truth = np.float32([[4, 0, 0]]), np.array([0])  # (B, C), (B,)
for last in (True, False):
    with warnings.catch_warnings(record=True) as caught:
        output = ops.softmax(values)
        output = output if last else 1 * output
        loss = ops.sparse_categorical_crossentropy(truth, output, from_logits=True)
    print(f"{last=!s:5}: loss {loss[0]:.3f}, warnings: {len(caught)}")
    assert (loss[0] < floor) == last

# %% [markdown]
# <a id="saturated-softmax"></a>
#
# ### Saturated softmax
#
# A public example, "Composable fully-convolutional networks" on keras.io, prints its own
# log: validation mean IoU .434 for its 32s, .658 for its 16s, and .352 for its 8s, whose
# loss never left about 8.1. Its features go into the skips as loud as they come, and its
# softmax stands before the enlargement. Do the same, with loud skips:


# %%
def as_published(scores, factor, name):
    if factor < 8:
        return fcn.upsample(scores, factor, name)
    scores = layers.Conv2D(3, 1, activation="softmax")(scores)
    return layers.UpSampling2D(8, name=name)(scores)  # each cell repeated: 0 stays 0


probabilities = keras.losses.SparseCategoricalCrossentropy()  # no logits, as there
curves = {}
for bug in (True, False):
    name = "saturated softmax" if bug else "spread 1"
    loudness = (400, 40) if bug else (1, 1)  # wrong: loud; right: measured, divided
    head, curves[name] = trained(
        loss=probabilities, enlarge=as_published, loudness=loudness
    )
    cages.update({name: drawn(head)} if bug else {})
    certain = np.mean(np.max(head(new_features), -1) > 0.9999)
    print(f"{name}: {certain:.0%} certain, losses", np.round(curves[name][:4], 2))
    assert (certain > 0.9) == bug  # the test: a beginner must not be certain
    assert (min(curves[name]) > np.log(3)) == bug

# %%
alone = np.unique(cages["saturated softmax"])  # the one class it draws
for cost, meaning in ((np.mean(masks != alone[0]) * 16.12, "ours"), (8.1, "published")):
    print(f"{meaning}: a loss of {cost:.2f} is {cost / 16.12:.2f} of the pixels wrong")
assert len(alone) == 1

# %% [markdown]
# The first steps push the scores so far apart that the softmax says 1 and 0 everywhere.
# Keras clips probabilities at $10^{-7}$, and a clipped number has no gradient. What is
# left is $-\ln 10^{-7} = 16.12$ for each wrong pixel, for ever; the published 8.1 is what
# half of the pixels would cost. Whether that happened there is not tested: how loud its
# skips are was not measured here.
#
# <a id="softmax-in-float16"></a>
#
# ### Softmax in float16
#
# The smallest number of float16 is 6e-8. A probability below it is 0, and its logarithm
# minus infinity. One pixel is enough.


# %%
def loss_in(dtype):
    def loss(ids, logits):
        p = ops.softmax(ops.cast(logits, dtype))  # (B, H, W, C)
        truth = ops.one_hot(ops.cast(ids, "int32"), 3, dtype=dtype)
        return -ops.mean(ops.cast(ops.log(ops.sum(p * truth, -1)), "float32"))

    return loss


certain, other = np.float32([[[[20, 0, 0]]]]), np.array([[[1]]])  # sure, and wrong
parts = [np.split(array, PHOTOS // 16) for array in (*features, masks)]
for bug in (True, False):
    dtype = "float16" if bug else "float32"  # wrong and right
    head, loss = build_head(), loss_in(dtype)
    head.compile(keras.optimizers.AdamW(RATE), loss=loss, jit_compile=False)
    steps = [
        head.train_on_batch(pools, ids) for *pools, ids in zip(*parts, strict=True)
    ]
    print(f"{dtype}: losses", np.round(steps, 2))
    assert np.isnan(steps[-1]) == bug
    assert bool(ops.isfinite(loss(other, certain))) != bug  # the test

# %% [markdown]
# Cast logits to float32 before softmax and loss. (With logits, Keras's loss needs no
# logarithm of a small number at all.)
#
# <a id="quiet-skips"></a>
#
# ### Quiet skips
#
# The paper's code multiplies `pool4` by 0.01 and `pool3` by 0.0001, chosen for other
# weights than these. **Predict**: where between 32s and 8s does that land?

# %%
quiet = (1e-4 * spread["pool3"], 1e-2 * spread["pool4"])
fcn32s = trained(coarse=True)[0]
print(f"32s: mean IoU {mean_iou(drawn(fcn32s)):.3f}")
for bug in (True, False):
    name = "quiet skips" if bug else "healthy"
    loudness = quiet if bug else (1, 1)  # wrong: constants; right: measured
    cages[name] = drawn(trained(loudness=loudness)[0])
    print(f"{name}: mean IoU {mean_iou(cages[name]):.3f}")
    assert (min(loudness) > 0.1) != bug  # the test: a skip's spread is near 1
middle = (mean_iou(drawn(fcn32s)) + mean_iou(cages["healthy"])) / 2
assert mean_iou(cages["quiet skips"]) < middle

# %% [markdown]
# <a id="shared-layers"></a>
#
# ### Shared layers
#
# Build the 16s on the finished 32s, in Keras's functional way, and both own the same
# layers. Train one, and the other moves.

# %%
for bug in (True, False):
    finished = fcn.clone(fcn32s)
    base = finished if bug else fcn.clone(finished)  # wrong and right
    pool4 = layers.Rescaling(1 / spread["pool4"])(base.inputs[1])
    skip = layers.Conv2D(3, 1, kernel_initializer="zeros")(pool4)
    x = fcn.upsample(base.get_layer("score_fc7").output, 2, "up2")
    fcn16s = keras.Model(base.inputs, fcn.upsample(layers.Add()([x, skip]), 16, "up16"))
    optimizer = keras.optimizers.AdamW(RATE)
    fcn16s.compile(optimizer, cross_entropy, jit_compile=False)
    before = drawn(finished)
    fcn16s.fit(features, masks, batch_size=16, epochs=3, verbose=0)
    print(f"{bug=!s:5}: 32s {mean_iou(before):.3f}, after training the 16s", end="")
    print(f" {mean_iou(drawn(finished)):.3f}")
    assert np.array_equal(before, drawn(finished)) != bug  # the test

# %% [markdown]
# ## 4. Measuring
#
# <a id="measured-wrongly"></a>
#
# ### Measured wrongly
#
# Keras's `MeanIoU` expects class ids, not logits. Unless told otherwise it fails, in words
# that point elsewhere. The quiet version of the bug is an average over batches (second
# cell).

# %%
for bug in (True, False):
    metric = keras.metrics.MeanIoU(3, sparse_y_pred=bug)  # wrong: the default, True
    try:
        metric.update_state(new_masks, healthy(new_features))  # right: it takes argmax
        found = f"{float(metric.result()):.4f}"
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        found = re.search(r"\}\} (.*) \[Op", str(error))[1]  # differs by Keras version
    print(f"MeanIoU with {bug=!s:5}: {found}")
    assert ("hapes" in found) == bug

# %%
found = {}
for size in (1, 4, 16):
    each, whole = [], metrics.SegmentationMetrics(3)
    for start in range(0, len(new_masks), size):
        part = metrics.SegmentationMetrics(3)
        for metric in (part, whole):
            batch = np.s_[start : start + size]
            metric.update_state(new_masks[batch], cages["healthy"][batch])
        each.append(part.result()["mean_iou"])
    # Wrong: the mean of what batches had. Right: one matrix for all of them.
    found[size] = float(np.mean(each)), float(whole.result()["mean_iou"])
    print("batches of {:2}: averaged {:.4f}, summed {:.4f}".format(size, *found[size]))
averaged, summed = zip(*found.values(), strict=True)
assert np.ptp(summed) < 1e-9 < 1e-3 < np.ptp(averaged)  # the test: any batch size

# %% [markdown]
# Small here, where every photo holds all three classes. Two networks measured with
# different batch sizes still cannot be compared.
#
# ## 5. The line-up
#
# All who left a mask, on one photo, and what they cost where nothing crashes. (BGR and the
# faded frame are among the bars only: their masks look healthy.)

# %% tags=["result"]
inmates = {"photo": plots.photo(new_images[shown]), "truth": new_masks[shown]}
names = [name for name in cages if name not in ("BGR", "faded frame")]
inmates |= {name: cages[name][shown] for name in names}
figure, axes = plots.grid(2, 6, size=1.6, aspect=1.15)
for axis, (title, panel) in zip(axes.flat, inmates.items(), strict=True):
    axis.imshow(plots.colored(panel, NAMES) if panel.ndim == 2 else panel)
    axis.set_title(title, fontsize=9)
alt = "One pet: photo, truth, the healthy mask, and the masks that nine bugs draw"
plots.show(figure, alt, photo=True)

# %% tags=["key-figure"]
costs = {name: mean_iou(prediction) for name, prediction in cages.items()}
costs = dict(sorted(costs.items(), key=lambda item: item[1]))
figure, (axis,) = plots.curves((7, 3.4))
colors = [plots.COLORS["16s" if name == "healthy" else "32s"] for name in costs]
bars = axis.barh(list(costs), costs.values(), color=colors)
axis.bar_label(bars, fmt="%.3f", padding=3)
axis.set(title="mean IoU on new photos")
plots.show(figure, "Mean IoU by bug: lowest labels from 1, top healthy, faded frame")
print(f"mean IoU healthy {costs['healthy']:.3f}, lowest {min(costs.values()):.3f}")

# %% [markdown]
# ## Summary
#
# - A symptom has an address: the table on top.
# - Bugs that crash are the kind ones. The lowest loss of the page belongs to a network that
#   hardly draws a pet.
# - Each bug has a test of one line: shapes, ids, the range of a photo, a constant map, an
#   impulse, a mask as its own photo, a weight that must move, a number that must not depend
#   on the batch.
# - Small bugs cost little, and stay for ever: nobody looks for three pixels.
#
# ## Questions
#
# <details><summary>1. The loss stays at 1.0986, and there is no ReLU. What else?</summary>
#
# New layers that are frozen, or a rate far too small: the 1e-10 of the paper's code belongs
# to a loss summed over pixels. Look at the gradient: zero means no path, small numbers mean
# small steps.
# </details>
#
# <details><summary>2. Everything is background. Which cages do you visit?</summary>
#
# Photos in 0 to 1, if training looked fine: predict a *training* photo. Saturated
# softmax, if the loss was flat. If neither, count the classes in the masks: perhaps there
# is little else to learn.
# </details>
#
# <details><summary>3. Which of these bugs does overfitting one batch catch, and which
# not?</summary>
#
# All that block learning: ReLU, saturated softmax, NaN, softmax twice. Not those that
# change the question: labels from 1, bilinear masks, zero padding, two draws made once. A
# network learns wrong masks by heart as well.
# </details>
#
# <details><summary>4. The 8s is worse than the 32s, and its skips have a spread of 1. What
# now?</summary>
#
# Send an impulse: a skip that meets its scores half a cell off helps nobody. Then compare
# training times, as notebook 05 does with its control.
# </details>
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015.
# - E. Shelhamer. *fcn.berkeleyvision.org*, the paper's code; `voc-fcn8s-atonce/net.py` has
#   the constants.
# - S. Mukherjee. *Image Segmentation using Composable Fully-Convolutional Networks*.
#   keras.io, code examples, 2023. Its log is printed on the page.
# - A. Odena, V. Dumoulin, C. Olah. *Deconvolution and Checkerboard Artifacts*. Distill, 2016.
#
# Back to [training on pets](06_training_on_pets.ipynb#12-what-can-go-wrong), with open
# eyes.
