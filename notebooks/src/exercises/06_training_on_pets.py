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
# Two exercises on what a step of training adds up. Nothing is downloaded, and no
# network worth the name is trained.

# %% tags=["setup"]

# %%
import keras
import numpy as np
import tensorflow as tf
from keras import layers

from utils import environment
from utils.metrics import cross_entropy

DATASET, SEED = "numbers made by the cells", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. The same walk, in other units ★★☆
#
# *Predict.* You train with SGD, momentum 0.9, a rate of 0.01, on batches of 8 photos of
# 160x160 pixels, and your loss is the **mean** over their pixels. It works well. A
# colleague has another program: momentum 0.95, and a loss that is the **sum** over all
# pixels of a batch, of the same 8 photos.
#
# Which rate belongs there, so that in the long run the weights walk as far as yours?

# %% tags=["stub"]
their_rate = None

# %% tags=["solution"]
their_rate = 0.01 / (1 - 0.9) * (1 - 0.95) / (8 * 160 * 160)  # about 2.4e-8

# %% tags=["also"]
their_rate = 2.4e-8

# %% tags=["wrong"]
their_rate = 0.01 / (8 * 160 * 160)

# %% tags=["wrong"]
their_rate = 0.01 / (1 - 0.9) * (1 - 0.95) / (160 * 160)

# %% tags=["wrong"]
their_rate = 0.01 * (1 - 0.9) / (1 - 0.95) / (8 * 160 * 160)

# %% tags=["wrong"]
their_rate = 0.01 * (1 - 0.95) / (1 - 0.9) * (8 * 160 * 160)

# %% tags=["check"]
assert their_rate is not None, "Write a number, then run this again."


def pace(rate, momentum, gradient):
    """Return how far a weight moves in a step, once SGD has found its pace."""
    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(rate, momentum=momentum)
    for step in range(150):
        if step == 130:
            before = float(weight.value)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    return (before - float(weight.value)) / 20


yours = pace(0.01, 0.9, gradient=1.0)  # a slope of 1 for a mean ...
theirs = pace(their_rate, 0.95, gradient=8.0 * 160 * 160)  # ... is this much for a sum
ratio = theirs / yours
hint = "What differs between the two programs that you have not translated yet?"
if 1.05 < ratio < 100:
    hint = "The size is about right. Is it all of the sum, and is it the momentum too?"
if 7.6 < ratio < 8.4:
    hint = "Over how many photos does the sum go?"
if 1.95 < ratio < 2.05:
    hint = "You have dealt with the sum. For how many steps does a gradient count?"
if 3.9 < ratio < 4.1:
    hint = "You have seen to the momentum, but in which direction?"
assert abs(ratio - 1) < 0.05, f"They walk {ratio:.3g} times as far as yours. {hint}"
print(f"Right: both walk the same, {yours:.2f} a step at a slope of 1.")

# %% [markdown] tags=["why"]
# A sum over 8 x 160 x 160 pixels has a slope 204,800 times as steep as the mean's, so
# the rate is divided by that. And a gradient counts, all later steps together, for
# $1/(1 - m)$ steps with momentum $m$: for 10 with 0.9, for 20 with 0.95. At the same
# rate it moves a weight twice as far, so halve it. The result looks like a misprint, as
# the paper's 1e-10 does, and is neither more nor less careful than 0.01.
#
# (A weight in the wild does not see the same slope forever, so take it as a first
# guess.)

# %% [markdown]
# ## 2. Half a batch at a time ★★★
#
# *Complete.* A batch does not fit into memory, half of it does. So compute the
# gradients of both halves, one after the other, and put them together; then make one
# step. Nobody should be able to tell the difference.
#
# There is a catch. The loss is a mean over the pixels that are **known**, and void
# (255) does not come in equal shares.

# %%
model = keras.Sequential(
    [keras.Input((None, None, 3)), layers.Conv2D(3, 3, padding="same")]
)


def gradients_of(model, images, masks):
    """Return the gradients of the mean loss over the known pixels, one per weight."""
    with tf.GradientTape() as tape:
        loss = cross_entropy(masks, model(images))
    return tape.gradient(loss, model.trainable_variables)


# %% tags=["stub"]
def gradients_in_halves(model, images, masks):
    """Return what gradients_of returns for the whole batch, from two halves."""
    return None  # your lines: call gradients_of twice, return one array per weight


# %% tags=["solution"]
def gradients_in_halves(model, images, masks):
    """Return what gradients_of returns for the whole batch, from two halves."""
    half = len(images) // 2
    first = gradients_of(model, images[:half], masks[:half])
    second = gradients_of(model, images[half:], masks[half:])
    known = np.sum(masks != 255)
    share = np.sum(masks[:half] != 255) / max(known, 1)  # the first half's
    return [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]


# %% tags=["also"]
def gradients_in_halves(model, images, masks):
    total, known = 0, 0
    for part in (slice(0, 3), slice(3, None)):  # not quite halves, and equal in the end
        count = np.count_nonzero(masks[part] != 255)
        gradients = gradients_of(model, images[part], masks[part])
        weighted = [count * np.array(gradient) for gradient in gradients]
        total = (
            weighted
            if known == 0
            else [a + b for a, b in zip(total, weighted, strict=True)]
        )
        known += count
    return tuple(array / known for array in total)


# %% tags=["wrong"]
def gradients_in_halves(model, images, masks):
    half = len(images) // 2
    first = gradients_of(model, images[:half], masks[:half])
    second = gradients_of(model, images[half:], masks[half:])
    return [(a + b) / 2 for a, b in zip(first, second, strict=True)]


# %% tags=["wrong"]
def gradients_in_halves(model, images, masks):
    half = len(images) // 2
    first = gradients_of(model, images[:half], masks[:half])
    second = gradients_of(model, images[half:], masks[half:])
    return [a + b for a, b in zip(first, second, strict=True)]


# %% tags=["wrong"]
def gradients_in_halves(model, images, masks):
    half = len(images) // 2
    first = gradients_of(model, images[:half], masks[:half])
    second = gradients_of(model, images[half:], masks[half:])
    share = half / len(images)
    return [share * a + (1 - share) * b for a, b in zip(first, second, strict=True)]


# %% tags=["check"]
generator = np.random.default_rng(SEED)
cases = (  # photos, void rows in the masks of the last two, what is new about it
    (4, 0, "Two halves of equal size, no void: what do their two means say together?"),
    (5, 0, "Now the halves are two and three photos: whose word counts more?"),
    (4, 8, "Now half of two masks is void: what is each mean a mean of?"),
    (4, 16, "Now two masks are void altogether: what do they have to say?"),
)
for count, void_rows, hint in cases:
    images = generator.normal(size=(count, 16, 16, 3)).astype("float32")
    masks = generator.integers(0, 3, (count, 16, 16))
    masks[-2:, :void_rows] = 255
    answer = gradients_in_halves(model, images, masks)
    assert answer is not None, "Your function returns nothing yet: write its lines."
    truth = gradients_of(model, images, masks)
    length = np.sum(truth[0] * answer[0]) / np.sum(truth[0] ** 2)
    close = [np.allclose(a, b, atol=1e-5) for a, b in zip(answer, truth, strict=True)]
    long = (
        f" Yours are {length:.1f} times as long as the truth." if length > 1.5 else ""
    )
    assert all(close), hint + long
print("Right: no one could tell, not even where half of the photos are void.")

# %% [markdown] tags=["why"]
# Two means make the mean of all only when each is weighted by what it is a mean *of*:
# the known pixels, not the photos. The average of averages is right for full masks and
# halves of equal size, which is how the bug survives its first test. The same
# arithmetic waits wherever a batch is cut up: gradient accumulation, several GPUs, an
# epoch's mean loss over batches.
