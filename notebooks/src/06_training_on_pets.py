# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Training on pets: the whole recipe
#
# The pages before this one trained just enough to make a point. This one trains in earnest,
# on the hardware you have, without losing a night's work when somebody pulls the plug.
#
# **You will be able to**
#
# - choose a precision by what your hardware computes fast, and say what it costs,
# - predict the memory of a training step before it fails,
# - find out who waits for whom, the network or its photos, and see a pause most people
#   never notice,
# - translate a published learning rate to your loss, and find one of your own,
# - stop a run anywhere and end with the weights you would have had.
#
# **You need** notebook 05. Without a GPU this page takes {minutes}, on drawings and with a
# frozen backbone. This page has not been run on a GPU; some sections cite one.
#
# Here is the end: photo, truth, three networks trained in stages, and where the last one
# is wrong.

# %% tags=["setup"]

# %%
import collections
import concurrent.futures
import itertools
import pathlib
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from benchmarks import memory
from utils import environment, fcn, networks, pet_records, pets, plots, training
from utils.metrics import cross_entropy

# %% tags=["preview"]
plots.picture(
    "06_training_on_pets.jpg",
    alt="Four pets, their truth, and masks by FCN-32s, 16s and 8s, ever finer",
)

# %% [markdown]
# Sizes follow the machine. On a GPU everything is trained, at 224 pixels; without one, the
# heads on a frozen backbone, as in notebooks 04 and 05.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224 if ON_GPU else 128  # side of the square photos, in pixels
FC_UNITS = 4096 if ON_GPU else 512  # width of fc6 and fc7; 4096 in the paper
FC_KERNEL = 7 if ON_GPU else 1  # side of fc6's kernel
BATCH_SIZE = 16  # photos in one step
EPOCHS = (4, 4, 12) if ON_GPU else (3, 3, 8)  # passes of the three stages, at most
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
# ## 1. Precision: how many bits does a feature need?
#
# A network can compute with 16 bits a number in place of 32: half the memory for
# features, and on hardware with units for it, up to twice the speed. There are two such
# formats, and they fail differently. `float16` spends its bits on digits, `bfloat16` on
# range.
#
# **Predict**: a third, seventy thousand, a hundred-millionth. Which of them survives which
# format?

# %%
numbers = tf.constant([1 / 3, 70_000.0, 1e-8])  # a probability, a sum, a gradient
for dtype in (tf.float32, tf.float16, tf.bfloat16):
    kept = tf.cast(tf.cast(numbers, dtype), tf.float32)
    print(f"{dtype.name:9}", *(f"{value:12.6g}" for value in kept))

# %% [markdown]
# `float16` loses both ends: a large feature becomes infinity, a small gradient zero.
# `bfloat16` keeps the ends and only two or three digits. So
#
# - the **weights** stay in float32 in either case: a step changes them by a ten-thousandth,
#   which neither format would notice,
# - the **logits and the loss** stay in float32, as everywhere in this series,
# - `float16` needs its loss multiplied by a large number and the gradients divided by it,
#   so that small ones survive. Keras does that by itself; `bfloat16` does not need it.
#
# The choice follows the GPU's compute capability: `bfloat16` from 8.0, `float16`
# from 7.0, else float32. (Keras calls the mixtures `mixed_bfloat16` and `mixed_float16`.)

# %%
policy = environment.precision_policy()
print(f"{environment.device_name()}: {policy}")
for example in dict.fromkeys(("mixed_bfloat16", policy)):
    keras.config.set_dtype_policy(example)
    model = fcn.build("8s", len(NAMES), **OPTIONS)
    for name in ("block4_conv1", "fc7", "score_fc7"):
        layer = model.get_layer(name)
        print(f"{example}: {name} computes in {layer.compute_dtype}, ", end="")
        print(f"keeps {layer.variable_dtype}")

# %% [markdown]
# What is it worth? `benchmarks/train_step.py` has asked one machine, two cores of an AMD
# EPYC, with a training step of the whole FCN-8s:

# %%
step = environment.results("train_step")
settings = step["settings"]
print(f"{step['device']}, {settings['size']} px, {settings['batch']} photos a step")
for name, speed in step["photos_per_second"].items():
    print(f"{name:15} {speed['median']:5.2f} photos a second", end="")
    print(f" ({speed['min']:.2f} to {speed['max']:.2f})")

# %% [markdown]
# That processor has instructions for `bfloat16`, and gains by them. It has none for
# `float16`, and loses most of its speed. Without such instructions `bfloat16` is slow too,
# hence float32 above on a CPU. (The last row is section 4's.)
#
# ## 2. Memory: will it fit?
#
# Four things stay in memory during a step: the weights, a gradient for each of them, two
# numbers for each that Adam remembers, and every feature that the way back needs again.
# The first three do not depend on the photos. The fourth grows with their number and size.
# All are sums you can write down. For the paper's head, in float32:

# %%
keras.config.set_dtype_policy("float32")
large = fcn.build("8s", 3, fc_units=4096, weights=None)
trained = sum(np.prod(w.shape) for w in large.trainable_weights)
fixed = 4 * large.count_params() + (4 + 8) * trained  # bytes
features = keras.Model(large.input, [layer.output for layer in large.layers])
shapes = features.compute_output_shape((1, 224, 224, 3))  # of every layer's output
per_photo = 4 * sum(np.prod(shape[1:]) for shape in shapes)
print(f"{fixed / 1e9:.2f} GB fixed, and {per_photo / 1e9:.2f} GB a photo of 224 px")
del large, features  # half a gigabyte

# %% [markdown]
# **Predict**: in a step of 16 photos, which is larger, the fixed part or the features?
#
# `memory.training_memory` does these sums for any network, and adds what exists for a
# moment only, where that is largest. Here for both heads, in 32 and in 16 bits, with 1, 4,
# 16 and 32 photos of 224 pixels:

# %%
for precision in ("float32", "mixed_bfloat16"):
    keras.config.set_dtype_policy(precision)
    for units, kernel in ((4096, 7), (512, 1)):
        network = fcn.build("8s", 3, fc_units=units, fc_kernel=kernel, weights=None)
        sizes = [
            memory.training_memory(network, 224, batch)["total"]
            for batch in (1, 4, 16, 32)
        ]
        print(
            f"{precision:15}{units:5} units", *(f"{size:5.2f}" for size in sizes), "GB"
        )
keras.config.set_dtype_policy(policy)

# %% [markdown]
# With the paper's head the weights take most of it, and 16 bits add a copy of them. With the
# slim head the features do, and 16 bits save about 40 %. So when a card
# is too small, know which you are short of:
#
# - **the weights' memory**: take the slim head, `fc_units=512, fc_kernel=1`,
# - **the features' memory**: take fewer photos a step, 16 bits, or freeze `block1` and
#   `block2`. Their maps are the largest of all, and below the first trained layer nothing
#   has to be kept:

# %%
slim = fcn.build("8s", 3, fc_units=512, fc_kernel=1, weights=None)
before = memory.training_memory(slim, 224, 16)["activations"]
training.freeze(slim, (1, 2))
after = memory.training_memory(slim, 224, 16)["activations"]
print(f"features of 16 photos: {before:.2f} GB, with blocks 1 and 2 frozen {after:.2f}")
del network, slim

# %% [markdown]
# A prediction is worth what a measurement says of it. `benchmarks/memory.py` trains three
# steps in a process of its own and asks the system for the most it held:

# %%
for row in environment.results("memory")["rows"]:
    predicted, found = row["predicted_gb"]["total"], row["measured_gb"]
    print(f"{row['fc_units']:4} units, frozen {row['frozen_blocks']!s:6} ", end="")
    print(f"{row['image_size']} px, {row['batch_size']:2} photos, ", end="")
    print(f"{row['precision']:14} ", end="")
    print(f"predicted {predicted:4.1f} GB, measured {found:4.1f}")

# %% [markdown]
# The measured peak is up to half as large again: the libraries' work space is left out. On a
# GPU it was far off. An H100 with JAX, float32, 16 photos: 4.1 GB with the slim head (predicted
# 1.7) and 41 with the paper's (4.9), compiling included (`results/gpu.json`).
#
# ## 3. Who waits for whom?
#
# Time the photos alone:

# %%
train = pets.load(
    DATASET,
    "train",
    image_size=IMAGE_SIZE,
    batch_size=BATCH_SIZE,
    augment=True,
    shuffle=True,
    seed=SEED,
)
validation = pets.load(DATASET, "validation", image_size=IMAGE_SIZE, batch_size=16)
images, masks = next(iter(validation))  # (B, H, W, 3), (B, H, W)

# %%
started = time.perf_counter()
count = sum(len(batch) for batch, _ in train)
speed = count / (time.perf_counter() - started)
print(f"the pipeline makes {speed:.0f} photos a second, augmented and shuffled")

# %% [markdown]
# And how many the network takes, everything trained:

# %%
batch = next(iter(train))
model.compile(training.AdamW(1e-4), loss=cross_entropy, jit_compile=ON_GPU)
model.train_on_batch(*batch)  # the first one traces
started = time.perf_counter()
model.train_on_batch(*batch)
appetite = len(batch[0]) / (time.perf_counter() - started)
print(f"the network takes {appetite:.1f} photos a second: ", end="")
print(f"its photos come {speed / appetite:.0f} times as fast")
assert ON_GPU or speed > 2 * appetite

# %% [markdown]
# On a CPU the photos are not the bottleneck. For a GPU, `pets.load` keeps them decoded in memory,
# and makes the next batch while this one is trained on.
#
# ### A pause at an epoch's end
#
# But a fast pipeline can still waste time. TensorFlow's `tf.data` tunes itself while it
# runs, in a thread of its own. Let a data set of four batches stand for an epoch, and a
# tenth of a second of sleep for a step.
#
# We run 200 such passes in parallel threads; a sleeping thread uses no core.
#
# **Predict**: how long does each of them take?


# %%
def seconds_of_a_pass(dataset):
    """Time a pass as Keras makes it: as many batches as there are, then it is over."""
    started = time.perf_counter()
    batches = iter(dataset)
    for _ in range(len(dataset)):
        next(batches)
        time.sleep(0.1)  # the step
    del batches
    return time.perf_counter() - started


# %%
four = tf.data.Dataset.range(4).prefetch(2)
for name, data in (("with", four), ("without", pet_records.untuned(four))):
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        seconds = list(pool.map(seconds_of_a_pass, [data] * 200))
    counted = collections.Counter(f"{value:.1f} s" for value in seconds)
    print(f"{name} the tuner:", dict(sorted(counted.items())))

# %% [markdown]
# Most take 0.4 seconds, some, by chance, half as long again. The
# tuner's thread sleeps for 10 ms, then 20, 40, 80, each time twice as long, up to a minute.
# When a pass is over, TensorFlow (2.21, here) waits for that thread, and now and then fails
# to wake it. Then the pass ends at 0.01 s times 1, 3, 7, 15, 31 or, here, 63.
#
# The cure is one option, `options.autotune.enabled = False`, and numbers of your own for
# `num_parallel_calls` and `prefetch`. `pets.load` has both.
#
# ## 4. What fit costs
#
# Does `keras.Model.fit` cost time? The benchmark of section 1 ran the same step in a bare
# compiled loop as well, and compared both with a product of two large matrices:

# %%
for name, share in step["of_the_product"].items():
    print(f"{name:13} {share['median']:4.0%} of a matrix product's rate")
ratio = step["fit_over_bare"]
print(f"fit against the bare loop: {ratio['median']:.3f}", end="")
print(f" ({ratio['min']:.3f} to {ratio['max']:.3f})")
if (environment.ROOT / "results" / "gpu.json").is_file():
    gpu = environment.results("gpu")
    print(f"FCN-8s, 224 px, {gpu['device']}, {gpu['backend']}:")
    for name, task in gpu["tasks"].items():
        for row in task.get("rows", [])[-1:]:  # the larger of two batches
            rate, share = row["train_photos_per_s"], row["share_of_product"]
            print(f"{name.removeprefix('speed '):22} {rate:5,.0f} photos/s {share:.0%}")
else:
    print("on a GPU: not measured yet; python -m benchmarks.gpu does it")

# %% [markdown]
# `convolutions` is VGG16's backbone forward and back; `bare` is a step of FCN-8s; `fit` the
# same through Keras, fed from memory; `whole` with photos augmented on the way. On these
# cores nearly all time is spent multiplying. The last lines are from a GPU, with 64 photos a
# step, in its memory, not augmented. They reach a third of a large product's rate there.
#
# **XLA** is a compiler that fuses layers into one program. Keras uses it where there is a
# GPU. On section 1's CPU it was slower (the last row of its table), so this page sets
# `jit_compile=ON_GPU`.
#
# ## 5. Which learning rate?
#
# The paper's code says `1e-10`. That is no misprint: its loss is a *sum* over the pixels
# of one photo, where ours is a mean. And momentum, a running sum of gradients, at 0.99
# makes each count for a hundred steps, at the usual 0.9 for ten. Translate:

# %%
pixels = 500 * 375  # of a typical photo
on_a_mean = 1e-10 * pixels
in_all = on_a_mean / (1 - 0.99)  # what a gradient moves, over all steps it counts for
translated = in_all * (1 - 0.9)
print(f"1e-10 on a sum is {on_a_mean:.1e} on a mean, and with momentum 0.9", end=" ")
print(f"a rate of {translated:.1e} moves as far")

# %% [markdown]
# Do not trust a translation either: try. Below, one epoch at each of several rates, always
# from the same start. First, without a GPU, the features of the frozen backbone, once:

# %%
held_out, examples = validation, train
if not ON_GPU:
    plain = pets.load(DATASET, "train", image_size=IMAGE_SIZE, batch_size=16)
    examples, held_out = (
        networks.backbone_features(model, batches) for batches in (plain, validation)
    )
    examples = examples.shuffle(len(examples), seed=SEED).batch(BATCH_SIZE)
    held_out = held_out.batch(BATCH_SIZE)


def trainable(network):
    """Return what is trained: all of it, or on a CPU what stands on the backbone."""
    if ON_GPU:
        return network
    training.freeze(network, (1, 2, 3, 4, 5))
    return networks.heads(network)


# %% [markdown]
# **Predict**: which optimiser learns more in one epoch at its best rate, and at its worst?

# %%
OPTIMIZERS = {
    "SGD 0.9": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "AdamW": lambda rate: training.AdamW(rate, backbone_factor=0.1),
}
RATES = (1e-4, 1e-3, 3e-3, 1e-2, 1e-1)
start = fcn.build("8s", len(NAMES), **OPTIONS)
after_one_epoch = {name: [] for name in OPTIMIZERS}
for name, rate in itertools.product(OPTIMIZERS, RATES):
    network = trainable(fcn.clone(start))
    optimizer = OPTIMIZERS[name](rate)
    network.compile(optimizer, loss=cross_entropy, jit_compile=ON_GPU)
    network.fit(examples, epochs=1, shuffle=False, verbose=0)
    after_one_epoch[name].append(network.evaluate(held_out, verbose=0))

# %%
figure, (axis,) = plots.curves((7, 3))
for name, values in after_one_epoch.items():
    axis.semilogx(RATES, np.minimum(values, 2.5), "o-", label=name)
    print(
        f"{name:8}", *(f"{r:g}: {v:.2f} " for r, v in zip(RATES, values, strict=True))
    )
axis.axvline(translated, color="grey", linestyle="--", label="the paper's, for SGD 0.9")
axis.axhline(np.log(3), color="black", linestyle=":", label="ln 3, untrained")
axis.set(xlabel="learning rate", ylim=(0.2, 2.5), title="validation loss, one epoch")
axis.legend(frameon=False, fontsize=8)
plots.show(figure, "Loss by rate: two valleys, and far too large a rate in either")

# %% [markdown]
# At their best they are level; at its worst AdamW is far above an untrained network. A
# rate from somebody else's paper need not lie in the valley: the paper's ran for 100,000
# steps and could afford to be small. Take a rate near the bottom, on the side of the
# smaller ones (beyond it the loss climbs fast), and give a pretrained backbone a tenth of
# it: it has less to learn and more to lose.
#
# ## 6. A loss that counts classes
#
# Cross-entropy counts pixels. The border is a class with few of them, so ignoring it
# costs little. The **Dice loss** counts classes, as mean IoU does: for each, 1 minus twice
# the overlap of truth and predicted probability over their sum.


# %%
def dice(mask, logits, ignore_class=255):
    """Measure how little predicted probabilities and truth overlap, class by class."""
    mask = ops.cast(mask, "int32")
    valid = ops.cast(mask != ignore_class, logits.dtype)[..., None]  # (B, H, W, 1)
    # Void becomes class 0 only so that it has a row, which is then set to zero.
    ids = ops.where(mask != ignore_class, mask, 0)
    truth = ops.one_hot(ids, logits.shape[-1], dtype=logits.dtype) * valid
    predicted = ops.softmax(logits) * valid  # (B, H, W, C)
    both = ops.sum(truth * predicted, axis=(0, 1, 2))  # (C,)
    either = ops.sum(truth, axis=(0, 1, 2)) + ops.sum(predicted, axis=(0, 1, 2))
    # One pixel more on both sides: a class that is nowhere counts as met.
    return ops.mean(1 - (2 * both + 1) / (either + 1))


# %% [markdown]
# **Predict**: a mask of a hundred rows, one of them border. One network gives the border no
# chance, another finds it. By how much do their losses differ, under each of the two?

# %%
strip = np.zeros((1, 100, 8), "int32")  # (B, H, W), all background
strip[:, 50] = 1  # but for one row
blind = np.float32(np.where(strip[..., None] >= 0, [3, -3], 0))  # (B, H, W, 2)
seeing = np.float32(np.where(strip[..., None] == 1, [-3, 3], [3, -3]))
for name, loss in (("cross-entropy", cross_entropy), ("Dice", dice)):
    values = float(loss(strip, blind)), float(loss(strip, seeing))
    print(f"{name:13} blind {values[0]:.3f}, seeing {values[1]:.3f}")

# %% [markdown]
# In cross-entropy the blind one is 0.06 worse, in Dice 0.40. Add the
# two: cross-entropy gives every pixel a steady gradient, Dice gives rare classes weight.
# Does it help?

# %%
found = {}
for weight in (0.0, 1.0):
    keras.utils.set_random_seed(SEED)
    network = fcn.clone(start)
    training.fit(trainable(network), examples, epochs=3, dice_weight=weight, verbose=0)
    found[weight] = training.evaluate(network, validation)
    ious = zip(NAMES, found[weight]["iou"], strict=True)
    print(f"Dice x {weight:.0f}: mean IoU {found[weight]['mean_iou']:.3f}, ", end="")
    print(", ".join(f"{name} {iou:.3f}" for name, iou in ious))

# %% [markdown]
# The border gains, as it should, and the pet pays a little for it.
# This is one short run on drawings. In one on photographs (an H100, `results/recipe.json`)
# the border gained .006: too little for one run.
#
# ## 7. Schedule, best weights, and something to watch
#
# The rate rises over the first twentieth of the steps, while Adam's averages are not worth
# much, and falls along a cosine to nearly nothing, so that the last steps settle.

# %%
schedule = keras.optimizers.schedules.CosineDecay(
    1e-3 / 21, 380, alpha=0.02, warmup_target=1e-3, warmup_steps=20
)
figure, (axis,) = plots.curves((7, 2.2))
axis.plot([float(schedule(number)) for number in range(400)])
axis.set(xlabel="step", title="learning rate")
plots.show(figure, "The rate climbs for 20 steps, then falls along half a cosine wave")

# %% [markdown]
# Validation may stop a run, and choose among its epochs: **early stopping**, on mean IoU
# and not on the loss (a network can grow more certain of its errors while its masks get
# better). Afterwards the *best* epoch's weights come back, not the last one's.
#
# Keras's callback for TensorBoard draws the curves. One of our own adds a picture each
# epoch: photo, truth and prediction side by side. (See both with
# `tensorboard --logdir FOLDER`.)


# %%
class Pictures(keras.callbacks.Callback):
    """Writes photo, truth and prediction of four photos for TensorBoard."""

    def __init__(self, folder, network):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder / "pictures"))
        self.network = network

    def on_epoch_end(self, epoch, logs=None):
        predicted = self.network.predict_on_batch(images[:4]).argmax(-1)  # (4, H, W)
        colored = [plots.colored(ids, NAMES) for ids in (masks[:4], predicted)]
        panels = np.concatenate([plots.photo(images[:4]), *colored], axis=2)
        with self.writer.as_default(epoch):  # panels: (4, H, 3 W, 3)
            tf.summary.image("photo, truth, prediction", panels, max_outputs=4)


# %%
logs = pathlib.Path(tempfile.mkdtemp())


def watchers(stage, network):
    """Return what watches a stage: early stopping, curves and masks."""
    return [
        keras.callbacks.EarlyStopping(
            "val_mean_iou", mode="max", patience=4, restore_best_weights=True
        ),
        keras.callbacks.TensorBoard(logs / stage, write_graph=False),
        Pictures(logs / stage, network),
    ]


# %% [markdown]
# ## 8. The staged run
#
# All of it together: 32s first, then the 16s from it, then the 8s.


# %%
history, by_variant = {}, {}
keras.utils.set_random_seed(SEED)
network = fcn.build("32s", len(NAMES), **OPTIONS)
for stage, epochs in zip(("32s", "16s", "8s"), EPOCHS, strict=True):
    network = fcn.grow(network) if by_variant else network
    history[stage] = training.fit(
        trainable(network),
        examples,
        epochs=epochs,
        dice_weight=1.0,
        validation=held_out,
        callbacks=watchers(stage, network),
        verbose=0,
    )
    by_variant[stage] = fcn.clone(network)
    best = max(history[stage]["val_mean_iou"])
    print(f"{stage:3} best validation mean IoU {best:.3f}")

# %%
figure, axes = plots.curves((8, 2.8), columns=2)
done = 0
for stage, curve in history.items():
    epochs = np.arange(1, len(curve["loss"]) + 1) + done
    done = epochs[-1]
    for axis, key in zip(axes, ("loss", "val_mean_iou"), strict=True):
        axis.plot(epochs, curve[key], "o-", color=plots.COLORS[stage], label=stage)
for axis, title in zip(axes, ("training loss", "validation mean IoU"), strict=True):
    axis.set(xlabel="epoch", title=title)
axes[1].legend(frameon=False)
plots.show(figure, "Loss falls and mean IoU rises by a step with each of three stages")

# %% [markdown]
# Curves first, then pictures, wrong pixels in red:

# %% tags=["result"]
predicted = {
    f"FCN-{stage}": network.predict(images[:4], verbose=0).argmax(-1)
    for stage, network in by_variant.items()
}  # (B, H, W) each
figure = plots.compare(images[:4], masks[:4], predicted, NAMES)
plots.show(
    figure, "Photo, truth, 32s, 16s, 8s and the 8s's errors, of four pets", photo=True
)

# %% [markdown]
# ## 9. Stop it. Start it again.
#
# A run of a night ends at three in the morning, when Colab takes the machine away. What
# must be known to go on *as if nothing had happened*? The weights, of course. Also Adam's
# two numbers for each, the step the schedule has reached, and the random numbers: which
# photo comes next, how it is augmented, which units are dropped.
#
# `training.fit` writes the first three down after every epoch (`checkpoints=`), and needs
# no note of the rest: it draws all random numbers of an epoch from (seed, epoch). Try it
# small: one run to the end, and one that dies in the middle of its third epoch.

# %%
few = pets.load(
    DATASET,
    "validation",
    image_size=32,
    batch_size=8,
    augment=True,
    shuffle=True,
    seed=SEED,
)


def small_run(folder, *watching):
    """Train a small network for four epochs, from wherever the folder's run stands."""
    network = fcn.build("32s", len(NAMES), fc_units=16, fc_kernel=1, weights=None)
    training.fit(
        network, few, epochs=4, checkpoints=folder, callbacks=watching, verbose=0
    )
    return network


# %%
class Dies(keras.callbacks.Callback):
    """Stops the program after a number of steps, as a power cut would."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.steps:
            raise KeyboardInterrupt


keras.utils.set_random_seed(SEED)
whole = small_run(logs / "whole")
keras.utils.set_random_seed(SEED)
try:
    small_run(logs / "broken", Dies(steps=2 * len(few) + 2))
except KeyboardInterrupt:
    print("died in epoch 3; on disk:", *sorted(p.name for p in logs.glob("broken/*")))

# %% [markdown]
# **Predict**: start it again, as a new program would. How far from the uninterrupted run
# will it end?

# %%
keras.utils.set_random_seed(SEED)
resumed = small_run(logs / "broken")
difference = max(
    np.abs(one - other).max()
    for one, other in zip(whole.get_weights(), resumed.get_weights(), strict=True)
)
print(f"largest difference of any weight: {difference:g}")
assert difference <= (1e-3 if ON_GPU else 0)

# %% [markdown]
# They are equal. (A GPU adds in an order of its own; equality to the bit needs
# TensorFlow's deterministic operations there, which `tools.reproduce` switches on.) Each
# checkpoint is written beside the one before and counts once complete, so a death while
# writing loses nothing. Only early stopping's memory is not kept.
#
# ## 10. More than one GPU
#
# A scope around what makes a network spreads each batch over all GPUs of the machine:

# %%
several = len(tf.config.list_physical_devices("GPU")) > 1
strategy = tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
with strategy.scope():
    spread_out = fcn.build("8s", len(NAMES), **OPTIONS)
print(type(strategy).__name__, spread_out.name)

# %% [markdown]
# `training.fit` stays as it is; `fcn.grow` makes a network, so it belongs under such a scope
# too. With n GPUs make the batch n times as large, else each of
# them has too little to do. **Several machines** take more: see
# [tools/train_distributed.py](../tools/train_distributed.py), which starts the same command
# on each, agrees with one process to 1e-4 of the loss, and goes on from its checkpoint when
# a machine dies.
#
# ## 11. On real photographs
#
# `python -m tools.reproduce` is this page's method as a program, without early stopping: stages,
# checkpoints, three seeds, and the official test list scored once. On the photographs at
# hand, with blocks 3 to 5 of the backbone trained:


# %%
def table(name):
    """Print what `tools.reproduce` wrote to results/."""
    run = environment.results(name)
    print(run["command"])
    print(f"{run['data']}, {run['image_size']} px, {run['device']}, {run['precision']}")
    seconds = run["seeds"]["0"]["seconds"]
    for network, row in run["summary"].items():
        label = network.replace("_control", ", trained on as long as the 8s")
        print(f"FCN-{label:34} mean IoU {row['mean_iou']:.3f}", end="")
        spread = f"{row['seeds']} seeds within {row['range']:.3f}"
        print(f", {spread if row['seeds'] > 1 else '1 seed'}", end="")
        print(f", {seconds[network] / 60:.0f} min")


# %%
table("oxford-pets-sample_trimap")
plots.picture(
    "oxford-pets-sample_trimap.jpg",
    alt="A cat's face, and its masks by FCN-32s, 16s and 8s, each finer than the last",
)

# %% [markdown]
# The picture is scikit-image's cat, whom none of them has seen, by the first seed's three
# networks. And the paper's kind of task, cat, dog or background with the border void:

# %%
table("oxford-pets-sample_species")

# %% [markdown]
# Minutes are those of the first seed's stage alone. These are 300 photographs of three
# breeds to learn from, on two cores. On all 3,680 and a GPU, with the paper's head, the
# command is `python -m tools.reproduce --dataset oxford_iiit_pet`. What it reaches there
# **we do not know**. On 592 photographs of 37 breeds, with the slim head,
# an H100 reached 0.768 (`results/gpu.json`).

# %% tags=["key-figure"]
print(
    "best validation mean IoU "
    + ", ".join(f"{k} {max(h['val_mean_iou']):.3f}" for k, h in history.items())
    + f"; resumed run differs by {difference:g}"
)

# %% [markdown]
# ## 12. What can go wrong
#
# - **NaN after a few steps.** In float16, a softmax or a loss in 16 bits; in float32, a
#   rate too large, or a mask with an id that is no class. `training.fit` stops at the batch
#   and names its files.
#   [See it](09_bug_zoo.ipynb#softmax-in-float16).
# - **It runs out of memory after hours.** The last batch of an epoch, or validation, has
#   another size and needs another plan. Predict with the largest batch there is.
# - **Epochs take longer than their steps.** Section 3's pause: time an epoch, count its
#   steps, compare.
#
# ## 13. Summary
#
# - Precision follows the hardware; weights, logits and loss stay in float32.
# - Memory is a fixed part by the weights and a part per photo by the features; know which
#   one you are short of.
# - Measure whether the network waits for photos, and whether epochs end late.
# - A learning rate belongs to a loss, a batch and an optimiser. Sweep it.
# - All random numbers from (seed, epoch), and a checkpoint written whole: then a run that
#   died ends like one that did not.
#
# ## Questions
#
# <details><summary>1. Why not keep the weights in <code>bfloat16</code> too, and save half
# of their memory?</summary>
#
# It has 8 bits of digits, so near 1 its steps are 1/128. A training step changes a weight
# by a thousandth of it or less: rounded to the nearest step, most updates are nothing.
# </details>
#
# <details><summary>2. You halve the batch. What becomes of the learning rate, and of the
# memory?</summary>
#
# The gradient gets noisier, so a smaller rate is safer (for SGD half of it is the rule of
# thumb). The features' memory halves, the fixed part stays.
# </details>
#
# <details><summary>3. Early stopping chose the epoch with the best validation mean IoU. May
# you report that value?</summary>
#
# No: it is the luckiest of several, chosen by the photos it was measured on. Report the
# test photos, once.
# </details>
#
# <details><summary>4. A run with seed 3 was killed in epoch 5. Would it do to start it again
# with another seed and the last weights?</summary>
#
# It would train, from good weights. But Adam starts cold, the schedule from the top, and
# the result is no longer that of any seed: nobody can run it again.
# </details>
#
# ## Exercises
#
# Two, with checks: [exercises](exercises/06_training_on_pets.ipynb),
# [solutions](solutions/06_training_on_pets.ipynb).
#
# ## References
#
# - J. Long, E. Shelhamer, T. Darrell. *Fully Convolutional Networks for Semantic
#   Segmentation*. CVPR 2015. Section 4.3: optimisation.
# - P. Micikevicius and others. *Mixed Precision Training*. ICLR 2018. Loss scaling.
# - F. Milletari, N. Navab, S. Ahmadi. *V-Net: Fully Convolutional Neural Networks for
#   Volumetric Medical Image Segmentation*. 3DV 2016. The Dice loss.
# - I. Loshchilov, F. Hutter. *SGDR: Stochastic Gradient Descent with Warm Restarts*. ICLR
#   2017. The cosine.
# - I. Loshchilov, F. Hutter. *Decoupled Weight Decay Regularization*. ICLR 2019.
#
# Next: is a network good, or does it only look good?
