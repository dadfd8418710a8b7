# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Skip connections: FCN-16s and FCN-8s
#
# FCN-32s knows what is in the photo and forgets where it ends. The layers it came
# through still know. Two short connections bring that back.
#
# **You will be able to**
#
# - say which layer knows what, and which knows where, from pictures of both,
# - add a skip to a trained network, and say what that changes before any training,
# - find the scale at which a skip learns, and see what becomes of one at the wrong scale,
# - take an FCN-8s apart into the three maps it adds up,
# - measure where skips pay, and where they do not.
#
# **You need** notebook 04. Without a GPU this page takes {minutes}, on drawings. Section
# 10 is FCN-8s whole, in one cell, to take away.
#
# Here is the end: one photo, three networks, and what each makes of a detail. Orange is
# pet, black border, the blue line the true outline.

# %% tags=["setup"]

# %%
import itertools
import os

import keras
import numpy as np
import skimage.data
import tensorflow as tf
from keras import layers, ops

from utils import environment, fcn, metrics, networks, pets, plots, training, vgg16

# %% tags=["preview"]
plots.picture(
    "05_skip_connections.jpg",
    alt="One pet's mask by FCN-32s, 16s and 8s, whole and enlarged, ever finer",
)

# %% [markdown]
# As in notebook 04: without a GPU the backbone is frozen and the rest is trained. A
# folder of real photographs as `DATASET` does as well.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224 if ON_GPU else 128  # side of the square photos, in pixels
FC_UNITS = 4096 if ON_GPU else 512  # width of fc6 and fc7; 4096 in the paper
FC_KERNEL = 7 if ON_GPU else 1  # side of fc6's kernel
BATCH_SIZE = 16  # photos in one step
EPOCHS = 6  # passes over the training photos, in each of three stages
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))
NAMES = pets.CLASS_NAMES["trimap"]
OPTIONS = {
    "fc_units": FC_UNITS,
    "fc_kernel": FC_KERNEL,
    "weights": "imagenet_convolutions",
}

# %% [markdown]
# ## 1. Who knows what, and who knows where
#
# Look inside the backbone. Each pooling layer halves the map: `pool3` has a cell for each
# 8 pixels, `pool4` for each 16, `pool5` for each 32. Take a photograph for once, the cat
# that comes with scikit-image; the network takes any size.

# %%
fcn32s = fcn.build("32s", len(NAMES), **OPTIONS)
pools = {f"pool{k}": fcn32s.get_layer(f"block{k}_pool").output for k in (3, 4, 5)}
cat = tf.image.resize(skimage.data.chelsea(), (448, 672))[None]  # (1, H, W, 3)
features = keras.Model(fcn32s.input, pools)(cat, training=False)
for name, feature in features.items():
    print(name, feature.shape)  # (1, H/8, W/8, 256), (1, H/16, W/16, 512), ...
assert features["pool5"].shape == (1, 448 // 32, 672 // 32, 512)

# %% [markdown]
# Hundreds of channels do not fit into a picture, but three do: find the three directions
# in which the features vary most (their principal components), and show these as red,
# green and blue. Cells of one colour are alike in these three directions.
#
# **Predict**: in which of the three maps can you still follow a whisker? In which have eyes
# and nose become one kind of thing?


# %%
def as_colors(feature):
    """Show the three principal components of a map (H, W, C) as colours (H, W, 3)."""
    flat = np.reshape(feature, (-1, feature.shape[-1]))  # (H * W, C)
    flat = flat - flat.mean(0)
    _, _, directions = np.linalg.svd(flat, full_matrices=False)
    colors = flat @ directions[:3].T  # (H * W, 3)
    low, high = np.percentile(colors, (2, 98), axis=0)
    colors = np.clip((colors - low) / (high - low), 0, 1)
    return colors.reshape(*feature.shape[:2], 3)


# %%
figure, axes = plots.grid(1, 4, size=2.6, aspect=0.75)
axes[0, 0].imshow(plots.photo(cat[0]))
axes[0, 0].set_title("photo")
for axis, (name, feature) in zip(axes[0, 1:], features.items(), strict=True):
    axis.imshow(as_colors(feature[0].numpy()))
    axis.set_title(f"{name}: {feature.shape[1]}x{feature.shape[2]}")
plots.show(
    figure,
    "Whiskers and fur in pool3, eyes and nose in pool4, a rough face in pool5",
    photo=True,
)

# %% [markdown]
# `pool3` follows whiskers and stripes. In `pool4` edges have become parts: two eyes and a
# nose, of one colour. `pool5` has the eyes left as two blobs of a few cells, and for the
# rest broad patches: face, room. *Where* is on the left, *what* on the right. FCN's idea is
# to ask both, and add the answers.
#
# ## 2. One skip, by hand
#
# "Ask" means: a 1x1 convolution gives `pool4` scores of its own. "Add" means: enlarge
# the coarse scores by two, so that both maps have a cell for each 16 pixels, and sum them
# class by class.
#
# **Predict**: `fc6` in its 'valid' form (notebook 02) leaves a map of 1x1 for a
# 224-pixel photo. What happens at the first skip?

# %%
pool4 = keras.Input((14, 14, 512), name="pool4")  # (B, 14, 14, 512) for 224 px
score_pool4 = layers.Conv2D(3, 1, name="score_pool4")(pool4)  # (B, 14, 14, C)
for cells, padding in ((1, "valid"), (7, "same")):
    score_fc7 = keras.Input((cells, cells, 3))  # (B, cells, cells, C)
    twice = fcn.upsample(score_fc7, 2, name=f"up2_{padding}")  # (B, 2 * cells, ..., C)
    try:
        fused = layers.Add()([twice, score_pool4])
        print(f"{padding:5} {twice.shape} + {score_pool4.shape} = {fused.shape}")
    except ValueError as error:
        print(f"{padding:5} {str(error).splitlines()[0]}")

# %% [markdown]
# Two cells cannot be added to fourteen. That is the error people meet who keep the
# classifier's `fc6` as it is; with 'same' the maps fit. (The last dimension fits as well:
# scores are added class by class, so both have C = 3.)
#
# With the skip in its place the network is an **FCN-16s**: its finest scores have a cell
# for each 16 pixels. (Drawn in the paper's size. At each + the coarse scores, enlarged,
# meet those of the skip; the sum goes on.)

# %%
plots.picture(
    "fcn16s.svg",
    alt="FCN-16s: scores of fc7 enlarged by 2, scores of pool4 added, enlarged by 16",
)

# %% [markdown]
# ## 3. How loud is a skip?
#
# The two maps are added, so their values should be of one size. A score layer could learn
# any factor, but what one step of training changes grows with the layer's inputs: small
# features learn slowly, large ones overshoot. How large are they here?

# %%
spread = vgg16.feature_spread(fcn32s)  # standard deviation, over all cells and channels
paper = {"pool3": 1e-4, "pool4": 1e-2, "pool5": 1.0}  # factors in the paper's code
for name, value in spread.items():
    scaled = value * paper[name]
    print(f"{name}: spread {value:6.2f}, times the paper's factor {scaled:.5f}")

# %% [markdown]
# The paper trains its three networks one after the other (section 4), or all in one go
# (section 8). For the second its code multiplies `pool4` by 0.01 and `pool3` by 0.0001.
# These constants were chosen for the authors' own weights. With torchvision's, which this
# run has, they leave little of `pool4` and next to nothing of `pool3`. What fits any
# weights is to **measure**: let one photo through, here scikit-image's cat, and divide each
# map by its own spread. `fcn.build` does that once, when the weights are loaded, in a
# `Rescaling` layer. So every skip comes in with a spread of about 1.
#
# Try other spreads. First the data, and without a GPU the features of the frozen backbone,
# as in notebook 04:

# %%
train = pets.load(
    DATASET,
    "train",
    image_size=IMAGE_SIZE,
    batch_size=BATCH_SIZE,
    augment=ON_GPU,
    shuffle=ON_GPU,
    seed=SEED,
)
validation = pets.load(DATASET, "validation", image_size=IMAGE_SIZE, batch_size=16)
images, masks = next(iter(validation))  # (B, H, W, 3), (B, H, W)

# %% [markdown]
# One backbone, so its features are computed once. `training.fit` lets the learning rate
# fall while it trains.

# %%
held_out = validation
if not ON_GPU:
    train, held_out = (
        networks.backbone_features(fcn32s, batches) for batches in (train, validation)
    )
    train = train.shuffle(len(train), seed=SEED).batch(BATCH_SIZE)
    held_out = held_out.batch(BATCH_SIZE)


# %%
def train_network(model, train, validation, epochs, frozen):
    """Train a network, or only what follows its backbone; return its history."""
    if frozen:
        training.freeze(model, (1, 2, 3, 4, 5))
        model = networks.heads(model)
    return training.fit(model, train, epochs=epochs, validation=validation, verbose=0)


# %% [markdown]
# Now four networks, equal but for the spread of their two skips: a thousandth (between what
# the paper's factors leave of `pool3` and of `pool4`), one, ten, a hundred.
#
# **Predict**: which one learns least, and which one does not even begin calmly?

# %%
curves = {}
for loudness in (0.001, 1, 10, 100):
    keras.utils.set_random_seed(SEED)  # the same start for all
    model = fcn.build("8s", len(NAMES), **OPTIONS)
    for pool in ("pool3", "pool4"):
        # Before training: a traced step keeps the old factor.
        model.get_layer(f"{pool}_rescaled").scale = loudness / spread[pool]
    curves[loudness] = train_network(model, train, held_out, 2, frozen=not ON_GPU)
    last = curves[loudness]["val_mean_iou"][-1]
    print(f"skips of spread {loudness:6}: validation mean IoU {last:.3f}")

# %%
figure, axes = plots.curves((8, 2.8), columns=2)
for loudness, curve in curves.items():
    axes[0].semilogy([1, 2], curve["loss"], "o-", label=loudness)
    axes[1].plot([1, 2], curve["val_mean_iou"], "o-", label=loudness)
for axis, title in zip(axes, ("training loss", "validation mean IoU"), strict=True):
    axis.set(xlabel="epoch", title=title, xticks=[1, 2])
axes[0].axhline(np.log(3), color="black", linestyle=":")
axes[0].set_yticks([0.5, 1, 2, 3], ["0.5", "1", "2", "3"])
axes[0].minorticks_off()
axes[1].legend(
    frameon=False, title="spread", loc="center left", bbox_to_anchor=(1, 0.5)
)
plots.show(figure, "Quiet skips learn least; the loudest begin with a huge loss")

# %% [markdown]
# **Quiet skips starve.** The 8s with skips of a thousandth learns least, and not for want
# of information: the skips are in it, and nobody hears them. **The loudest begins with a
# blow**: its first epoch's loss averages far above that of a network which knows nothing
# (the dotted line, ln 3).
#
# And an honest remark: on validation ten and a hundred are ahead of one, from the first
# epoch on. Only the heads learn here; a backbone that learns would receive that blow too,
# and this run does not show what it does to it. So take from it that *too quiet* is the
# mistake that hurts. A measured spread of one is a safe start under any weights. It is
# not the best one here.
#
# ## 4. Grow, do not start over
#
# The paper trains in stages: 32s first, then the 16s *from it*, then the 8s. The new score
# layer starts at zero, so at first it adds nothing. Train stage one:

# %%
keras.utils.set_random_seed(SEED)
fcn32s = fcn.build("32s", len(NAMES), **OPTIONS)
history = {"32s": train_network(fcn32s, train, held_out, EPOCHS, frozen=not ON_GPU)}
print(f"32s: validation mean IoU {history['32s']['val_mean_iou'][-1]:.3f}")

# %% [markdown]
# Now add the skip. `fcn.grow` copies every weight and shares none (networks that share
# layers change each other while they train, silently).
#
# **Predict**: does the grown network give *exactly* what its parent gave? Think of
# notebook 03, section 10.

# %%
fcn16s = fcn.grow(fcn32s)
grown, parent = fcn16s(images), fcn32s(images)  # (B, H, W, C)
changed = np.mean(ops.argmax(grown, -1) != ops.argmax(parent, -1))
print(f"pixels whose class changed: {changed:.1%}")
assert grown.shape == parent.shape

# %% [markdown]
# Not quite the same. So take the parent's *scores*, and send them through the 16s's way of
# enlarging, by 2 and then by 16:

# %%
cells = keras.Model(fcn32s.input, fcn32s.get_layer("score_fc7").output)
coarse = keras.Input((None, None, len(NAMES)))
chain = keras.Model(coarse, fcn.upsample(fcn.upsample(coarse, 2, "x2"), 16, "x16"))
expected = chain(cells(images))  # (B, H, W, C)
error = float(ops.max(ops.abs(grown - expected)) / ops.max(ops.abs(expected)))
print(f"the 16s against the parent's scores x2 x16: {error:.0e} relative")
assert error < 1e-5

# %% [markdown]
# So `grow` carries every score over, and what changed is the enlargement alone: two tents
# in a row are not one tent.
#
# Growing once more puts `pool3` in, and that is FCN-8s:

# %%
plots.picture(
    "fcn8s.svg",
    alt="FCN-8s: scores of fc7 and pool4 added, enlarged by 2, pool3 added, then by 8",
)

# %% [markdown]
# Train both stages, the second one from where the first ends:

# %%
history["16s"] = train_network(fcn16s, train, held_out, EPOCHS, frozen=not ON_GPU)
fcn8s = fcn.grow(fcn16s)
history["8s"] = train_network(fcn8s, train, held_out, EPOCHS, frozen=not ON_GPU)
by_variant = {"32s": fcn32s, "16s": fcn16s, "8s": fcn8s}
for name in by_variant:
    print(f"{name:3} validation mean IoU {history[name]['val_mean_iou'][-1]:.3f}")
for name in ("score_pool4", "score_pool3"):
    print(f"{name}: {fcn8s.get_layer(name).count_params():,} weights")

# %%
figure, axes = plots.curves((8, 2.8), columns=2)
for stage, (name, curve) in enumerate(history.items()):
    epochs = np.arange(1, EPOCHS + 1) + stage * EPOCHS
    for axis, key in zip(axes, ("loss", "val_mean_iou"), strict=True):
        axis.plot(epochs, curve[key], color=plots.COLORS[name], label=name)
for axis, title in zip(axes, ("training loss", "validation mean IoU"), strict=True):
    axis.set(xlabel="epoch", title=title, xticks=range(0, 3 * EPOCHS + 1, EPOCHS))
axes[1].legend(frameon=False)
plots.show(figure, "Three stages: at each new skip the loss drops by a step")

# %% [markdown]
# Each skip costs about a thousand weights, a ten-thousandth of what was there, and
# validation rises by a step. (The paper lowers the learning rate a hundredfold when it
# grows; here each stage starts anew at the full rate.) But careful: the 8s has been trained
# for three stages, the 32s for one.
# Would the 32s have got there too, given the time? Keep that question for section 9.
#
# ## 5. The same photo, three times

# %%
masks_by = {
    f"FCN-{name}": model(images, training=False).numpy().argmax(-1)
    for name, model in by_variant.items()
}  # (B, H, W) each
figure = plots.compare(
    images[:3], masks[:3], {k: v[:3] for k, v in masks_by.items()}, NAMES
)
plots.show(
    figure, "Photo, truth, 32s, 16s, 8s, and the 8s's errors, of three pets", photo=True
)

# %% [markdown]
# Go closer, to where the pet begins at the top; the blue line is its true outline.

# %% tags=["result"]
top, left = np.argwhere(masks[0].numpy() == NAMES.index("pet"))[0]
side = IMAGE_SIZE // 3
top = int(np.clip(top - side // 4, 0, IMAGE_SIZE - side))
left = int(np.clip(left - side // 2, 0, IMAGE_SIZE - side))
detail = np.s_[top : top + side, left : left + side]
figure, axes = plots.grid(2, 4, size=2.1, aspect=1.05)
shown = {"photo": plots.photo(images[0])}
shown |= {name: plots.colored(mask[0], NAMES) for name, mask in masks_by.items()}
for column, (name, picture) in zip(axes.T, shown.items(), strict=True):
    column[0].set_title(name)
    for axis, part in zip(column, (np.s_[:, :], detail), strict=True):
        axis.imshow(picture[part], interpolation="nearest")
        outline = masks[0].numpy()[part] == NAMES.index("pet")
        axis.contour(outline, [0.5], colors=plots.COLORS["dog"], linewidths=1.2)
plots.show(
    figure,
    "A pet and a detail of it: the finer the network, the truer the edge",
    photo=True,
)

# %% [markdown]
# The 32s draws a flame. The 16s finds the base of the body and of the head. The 8s comes
# close to the outline, and puts lumps of border beside it. It is clumsy still. One reason
# may be the backbone: without a GPU it stays as ImageNet left it, and that was photographs.
# Section 9 has the numbers of one that learned.
#
# ## 6. An FCN-8s is a sum of three maps
#
# Enlarging is linear, and so is adding. So the logits of the 8s are *exactly* the sum of
# three maps, one from each depth, each enlarged on its own. To see one of them, silence
# the other two score layers:


# %%
SCORES = ("score_fc7", "score_pool4", "score_pool3")


def only(model, name):
    """Return a copy of an 8s in which one score layer speaks, the others are zero."""
    copy = fcn.clone(model)
    for other in set(SCORES) - {name}:
        layer = copy.get_layer(other)
        layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
    return copy


# %%
parts = {name: only(fcn8s, name)(images[:1])[0].numpy() for name in SCORES}
logits = fcn8s(images[:1])[0].numpy()  # (H, W, C)
gap = np.abs(sum(parts.values()) - logits).max() / np.abs(logits).max()
print(f"sum of the three against the logits: {gap:.0e} relative")
assert gap < 1e-5

# %% [markdown]
# Each map as a picture: how much it says for *pet* over *background*, red for, blue
# against. Below, for *border* over the mean of the other two. One scale for each row; the
# thin line is the pet's true outline.

# %%
figure, axes = plots.grid(2, 4, size=2.1, aspect=1.05)
maps = parts | {"sum": logits}
for row, title in zip(axes, ("pet", "border"), strict=True):
    views = {}
    for name, part in maps.items():
        pet, background, border = np.moveaxis(part, -1, 0)  # (H, W) each
        views[name] = (
            pet - background if title == "pet" else border - (pet + background) / 2
        )
    limit = max(np.abs(view).max() for view in views.values())
    for axis, (name, view) in zip(row, views.items(), strict=True):
        drawn = axis.imshow(view, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(f"{title}: {name}", fontsize=9)
        axis.contour(masks[0].numpy() == 0, [0.5], colors="black", linewidths=0.7)
    figure.colorbar(drawn, ax=row, shrink=0.8)
plots.show(
    figure, "Deep map: a blob. pool4: a body. pool3: details, and lines in a maze"
)

# %% [markdown]
# The deep map is a blob: *here is an animal*. `pool4` carves a body from it, and `pool3`
# sharpens it. For *border* `pool3` does nearly all the talking, much of it in the wrong
# place, and the sum below repeats its maze. What keeps most of the maze out of the mask is
# the upper row: border wins a pixel only where its sum is above half of the upper sum's
# distance from zero. So it can win where red turns to blue, and rarely elsewhere.
#
# ## 7. Where skips pay
#
# Over all validation photos: how often is a pixel wrong, by its distance from the true
# outline?
#
# **Predict**: where do the three curves meet, and do they cross?

# %%
all_masks = np.concatenate([mask for _, mask in validation])  # (N, H, W)
distance = np.stack([metrics.outline_distance(mask) for mask in all_masks])
ranges = list(itertools.pairwise((1, 2, 4, 8, 16, 32, 64)))
wrong_by = {}
for name, model in by_variant.items():
    predicted = np.concatenate(
        [np.argmax(model(batch, training=False), -1) for batch, _ in validation]
    )  # (N, H, W)
    wrong = predicted != all_masks
    near = [(distance >= low) & (distance < high) for low, high in ranges]
    wrong_by[name] = [wrong[where].mean() for where in near]
    print(f"{name:3}", *(f"{rate:6.1%}" for rate in wrong_by[name]))

# %%
figure, (axis,) = plots.curves((7, 2.8))
for name, rates in wrong_by.items():
    axis.plot(rates, "o-", color=plots.COLORS[name], label=name)
axis.set_xticks(range(len(ranges)), [f"{low} to {high}" for low, high in ranges])
axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
axis.set(xlabel="pixels from the true outline", title="wrong pixels")
axis.legend(frameon=False)
plots.show(
    figure,
    "Wrong pixels by distance: far apart at the outline, crossing far from it",
)
assert wrong_by["8s"][0] < wrong_by["16s"][0] < wrong_by["32s"][0]

# %% [markdown]
# The first skip pays up to 32 pixels from the outline, a cell of the 32s. The second
# pays up to 8, half a cell of the 16s. Farther off there is little left to gain, and beyond
# 32 pixels the skips even cost: there the 32s makes the fewest errors. Look at the sofa in
# section 5 for one of them, a skip that answers to a texture.
#
# So whether skips pay depends on your question. Is there a pet, and roughly where? No. Cut
# it out? Yes.
#
# ## 8. All three at once
#
# The paper's second recipe trains the FCN-8s in one go, and comes out level (65.4 against
# 65.5 on PASCAL VOC). Many programs go a step further, and let one network give all three
# outputs, trained on the sum of their losses:

# %%
at_once = fcn.build("at_once", len(NAMES), **OPTIONS)
print({name: logits.shape for name, logits in at_once(images[:1]).items()})

# %% [markdown]
# Nothing in the idea asks for pretrained weights. Here is the plain version, as many
# articles print it: a batch-normalised VGG16, a 1x1 `fc6`, two classes, random weights.
# It gets eight pictures and sixteen steps, so all you can ask is whether all three
# outputs learn.

# %%
few = pets.load(DATASET, "train", task="foreground", image_size=64, batch_size=8).take(
    1
)
plain = fcn.build("at_once", 2, batch_norm=True, fc_kernel=1, weights=None)
# One batch, so an epoch is one step.
curve = training.fit(plain, few, epochs=16, learning_rate=3e-4, verbose=0)

# %%
figure, (axis,) = plots.curves((7, 2.6))
for name in ("32s", "16s", "8s"):
    axis.plot(curve[f"s{name[:-1]}_loss"], color=plots.COLORS[name], label=name)
axis.axhline(np.log(2), color="black", linestyle=":", label="ln 2, untrained")
axis.set(xlabel="step", title="loss of each output, on eight pictures")
axis.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.95))
plots.show(figure, "From nothing, all three losses fall below ln 2")
assert max(curve[f"s{stride}_loss"][-1] for stride in (32, 16, 8)) < np.log(2)

# %% [markdown]
# For two of them the very first step goes a little too far; then all three fall, nearly
# throughout. With eight pictures that is all this run can say; how it
# does on others was not asked.
#
# ## 9. Three seeds, a control, and real photographs
#
# One run proves little. `tools.reproduce` repeats the stages with three seeds and scores
# the test split once, at the very end. It also answers section 4's question: as a
# **control**, the 32s and the 16s of the first seed are trained on for as many epochs as
# the 8s had in all. First on the drawings, the backbone frozen:


# %%
def table(name):
    """Print what `tools.reproduce` wrote to results/: a row a network."""
    found = environment.results(name)
    print(found["command"])
    print(f"{found['data']}, {found['image_size']} px, {found['device']}, ", end="")
    print("epochs of the stages:", *found["epochs"])
    for network, row in found["summary"].items():
        label = network.replace("_control", ", trained on as long as the 8s")
        spread = f"{row['seeds']} seeds within {row['range']:.3f}"
        spread = spread if row["seeds"] > 1 else "1 seed"
        print(f"FCN-{label:34} mean IoU {row['mean_iou']:.3f}, {spread}")
    return found["summary"]


# %%
drawn = table("synthetic_pets_trimap")
skips_buy = drawn["8s"]["mean_iou"] - drawn["32s_control"]["mean_iou"]
print(f"what skips buy: {skips_buy:.3f}")

# %% [markdown]
# The seeds hardly differ; the networks do, by far more. And the control settles it for the
# frozen backbone: trained on as long, the 32s and the 16s gain a little, and nearly all of
# the gap stays. Here it is the skips, not the time.
#
# Photographs now, by page 06's recipe, blocks 3 to 5 learning:

# %%
real = table("oxford-pets-sample_trimap")

# %% [markdown]
# The same order in every seed. But here the control takes a good part of the gap away: a
# 32s trained for 18 epochs instead of 2 comes far closer. What is left is what skips buy:

# %%
for coarse in ("32s", "16s"):
    first_sight = real["8s"]["mean_iou"] - real[coarse]["mean_iou"]
    left = real["8s"]["mean_iou"] - real[f"{coarse}_control"]["mean_iou"]
    print(f"8s above {coarse}: {first_sight:.3f} at first sight, {left:.3f} left")

# %% [markdown]
# About half of the gap, and of the last step, 16s to 8s, less. So never take a stage's
# advantage over the one before it for an effect of the skip alone.
#
# And a task in the paper's manner, *what is it*: cat, dog or background, border **void**.
#
# **Predict**: do skips pay there as well?

# %%
species = table("oxford-pets-sample_species")
plots.picture(
    "oxford-pets-sample_species.jpg",
    alt="A cat's face, and what FCN-32s, 16s and 8s call cat: closer, white fur lost",
)

# %% [markdown]
# (The cat is scikit-image's, new to these networks.) They rise here as well, but without a
# control: part may be longer training again, and the border's pixels, at which skips pay
# most, do not count any more.
#
# ## 10. FCN-8s in one cell
#
# To take away: the whole network in Keras alone, ImageNet weights included, and one
# training step. To stay short, it has a fixed size of photo (any multiple of 32), and it
# measures the scale of the skips on the photos you give it: a few will do.
#
# The cell fetches Keras's VGG16 (59 MB). You have its convolutions already, so save them to
# a file first, and name that file in `VGG16_WEIGHTS`; in your own project, leave this step
# out. (The mean colour of these differs from the one Keras subtracts by up to half a grey
# level, which does not matter here.)

# %%
backbone = keras.applications.VGG16(include_top=False, weights=None)
for layer in backbone.layers:
    if layer.weights:
        kernel, bias = at_once.get_layer(layer.name).get_weights()
        if layer.name == "block1_conv1":
            kernel = kernel[:, :, ::-1]  # (3, 3, 3, 64): RGB -> BGR
        layer.set_weights([kernel, bias])
os.environ["VGG16_WEIGHTS"] = str(environment.CACHE / "keras_vgg16.weights.h5")
backbone.save_weights(os.environ["VGG16_WEIGHTS"])

# %% tags=["one-cell", "whole-model"]
"""FCN-8s on VGG16, in Keras alone. Photos: RGB 0..255, sides a multiple of 32."""
import os

import keras
import numpy as np
from keras import layers, ops

# ImageNet weights from Keras, or from a file where its server is out of reach.
WEIGHTS = os.environ.get("VGG16_WEIGHTS", "imagenet")


def enlarged(scores, factor):
    """(B, H, W, C) -> (B, factor * H, factor * W, C), bilinear, half-pixel centres."""
    return layers.UpSampling2D(factor, interpolation="bilinear", dtype="float32")(
        scores
    )


def score(features, num_classes, name):
    """One score per class and cell, from zero, in float32."""
    return layers.Conv2D(
        num_classes, 1, kernel_initializer="zeros", dtype="float32", name=name
    )(features)


def build_fcn8s(num_classes, photos, units=512):
    """Build FCN-8s for photos of this size; they also set the scale of the skips."""
    assert photos.shape[1] % 32 == photos.shape[2] % 32 == 0, "crop to a multiple of 32"
    vgg = keras.applications.VGG16(
        include_top=False, weights=WEIGHTS, input_shape=photos.shape[1:]
    )
    outputs = [vgg.get_layer(f"block{k}_pool").output for k in (3, 4, 5)]
    backbone = keras.Model(vgg.input, outputs, name="vgg16")
    # To BGR, minus the mean; it changes arrays in place, hence the copy below.
    prepare = keras.applications.vgg16.preprocess_input
    spreads = [float(ops.std(pool)) for pool in backbone(prepare(np.copy(photos)))]

    image = keras.Input(photos.shape[1:], name="image")  # (B, H, W, 3)
    pools = backbone(prepare(image))  # (B, H/8, W/8, 256), (H/16, 512), (H/32, 512)
    pool3, pool4, x = (
        layers.Rescaling(1 / spread)(pool)
        for pool, spread in zip(pools, spreads, strict=True)
    )
    for name in ("fc6", "fc7"):
        x = layers.Conv2D(
            units, 1, activation="relu", kernel_initializer="he_normal", name=name
        )(x)
        x = layers.Dropout(0.5)(x)  # (B, H/32, W/32, units)
    x = enlarged(score(x, num_classes, "score_fc7"), 2)  # (B, H/16, W/16, C)
    x = layers.Add()([x, score(pool4, num_classes, "score_pool4")])
    x = layers.Add()([enlarged(x, 2), score(pool3, num_classes, "score_pool3")])
    return keras.Model(image, enlarged(x, 8), name="fcn_8s")  # (B, H, W, C) logits


# Put your own in place of noise and a square.
photos = np.random.default_rng(0).uniform(0, 255, (2, 224, 224, 3)).astype("float32")
masks = np.zeros((2, 224, 224), "int32")  # (B, H, W): 0, 1, 2, or 255 for void
masks[:, 60:160, 60:160] = 1
masks[:, :5] = 255
model = build_fcn8s(num_classes=3, photos=photos)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
model.compile(keras.optimizers.AdamW(1e-4), loss=loss)
print(f"loss before: {model.evaluate(photos, masks, verbose=0):.4f}")
print(f"first step:  {model.train_on_batch(photos, masks):.4f}")
print(f"loss after:  {model.evaluate(photos, masks, verbose=0):.4f}")

# %% [markdown]
# $\ln 3$ once more, and after one step less than that.

# %% tags=["key-figure"]
print(
    "validation mean IoU "
    + ", ".join(f"{k} {h['val_mean_iou'][-1]:.3f}" for k, h in history.items())
    + f"; wrong at the outline {wrong_by['32s'][0]:.0%} -> {wrong_by['8s'][0]:.0%}"
)

# %% [markdown]
# ## 11. What can go wrong
#
# - **8s is no better than 16s, or than 32s.** The skips are too quiet to learn. Measure the
#   spread of what they see.
#   [See it](09_bug_zoo.ipynb#quiet-skips).
# - **A shape error at the first Add: 2x2 against 14x14.** `fc6` is 'valid'. Take 'same',
#   or a 1x1 kernel.
#   [See it](09_bug_zoo.ipynb#valid-fc6).
# - **The finished 32s got worse while the 16s was trained.** They share layers. Copy the
#   weights into a network of its own.
#   [See it](09_bug_zoo.ipynb#shared-layers).
#
# ## 12. Summary
#
# - `pool3` knows where, `pool5` knows what; a skip scores a finer map and adds it.
# - A new skip starts at zero, so a grown network starts as its parent's scores sent through
#   the finer chain.
# - Skips too quiet do not learn. Features differ in spread between weights of the same
#   network, so measure it and divide.
# - An FCN-8s is the sum of three maps, and you have looked at each.
# - The gain is made near the outline, and part of it by longer training: a control says how
#   much.
#
# ## Questions
#
# <details><summary>1. Why add score maps, and not concatenate features, as a U-Net
# does?</summary>
#
# Concatenating features and then scoring them with one 1x1 layer *is* adding scores. The
# U-Net's gain lies in the layers it puts between, which need photos to learn.
# </details>
#
# <details><summary>2. Why not go on to FCN-4s, with <code>pool2</code>?</summary>
#
# You can. The paper stopped at 8s: 16s to 8s gained half a point (65.0 to
# 65.5), and the next step promised less. With thin borders, try it.
# </details>
#
# <details><summary>3. The new score layers start at zero. Then how can any gradient reach
# them?</summary>
#
# The gradient of a layer's *weights* depends on its inputs and on the error behind it,
# neither of which is zero. What is zero in the first step is the gradient that passes
# *through* it, to the backbone.
# </details>
#
# <details><summary>4. In <code>at_once</code>, the loss of the 32s output also trains the
# 8s. How?</summary>
#
# The 32s output is made from `score_fc7`, which is also the deep one of the three maps
# the 8s adds up. Shared layers, this time on purpose.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/05_skip_connections.ipynb),
# [solutions](solutions/05_skip_connections.ipynb).
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. Section 4.2: combining what and where.
# - E. Shelhamer, J. Long, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. IEEE TPAMI 2017. All at once, and in stages.
# - E. Shelhamer. *fcn.berkeleyvision.org*, the paper's code; `voc-fcn8s-atonce/net.py` has
#   the constants of section 3.
# - S. Ioffe, C. Szegedy. *Batch Normalization: Accelerating Deep Network Training by
#   Reducing Internal Covariate Shift*. ICML 2015.
# - O. Ronneberger, P. Fischer, T. Brox. *U-Net: Convolutional Networks for Biomedical
#   Image Segmentation*. MICCAI 2015.
