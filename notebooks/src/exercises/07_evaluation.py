# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Evaluation worth trusting
#
# Two exercises on squares. Nothing is downloaded, and nothing is trained.

# %% tags=["setup"]

# %%
import numpy as np

from utils import environment, metrics, plots

DATASET, SEED = "squares drawn by the cells", 0
print(environment.prepare(SEED))

# %% [markdown]
# ## 1. A square, slightly off ★☆☆
#
# *Predict.* The truth is a square of 40x40 pixels in a photo of 100x100. The prediction
# is the same square, 10 pixels further down and 10 further right. How good is that?
#
# Three answers, as numbers from 0 to 1, to two digits or better: the share of all
# pixels that are right; the IoU of the square; and its F1 (also called Dice: twice the
# pixels in both, over the pixels of the one plus the pixels of the other).

# %% tags=["stub"]
pixel_accuracy = None
iou = None
f1 = None

# %% tags=["solution"]
both = 30 * 30
pixel_accuracy = 1 - 2 * (40 * 40 - both) / 100**2
iou = both / (2 * 40 * 40 - both)
f1 = 2 * both / (2 * 40 * 40)

# %% tags=["also"]
pixel_accuracy, iou, f1 = 0.86, 0.39, 0.56

# %% tags=["wrong"]
pixel_accuracy = 0.86
iou = 30 * 30 / (40 * 40)
f1 = 30 * 30 / (40 * 40)

# %% tags=["wrong"]
pixel_accuracy = 1 - (40 * 40 - 30 * 30) / 100**2
iou = 900 / 2300
f1 = 900 / 1600

# %% tags=["wrong"]
pixel_accuracy = 0.86
iou = 900 / 2300
f1 = 900 / 2300

# %% tags=["wrong"]
pixel_accuracy = 0.88
iou = 30 * 40 / (40 * 50)
f1 = 0.75

# %% tags=["check"]
given = {"pixel_accuracy": pixel_accuracy, "iou": iou, "f1": f1}
assert None not in given.values(), (
    "Write a number for each of the three, then run again."
)
truth, prediction = np.zeros((2, 100, 100), int)  # (H, W) each
truth[20:60, 20:60] = 1
prediction[30:70, 30:70] = 1
confusion = metrics.confusion_matrix(truth, prediction, num_classes=2).numpy()
scores = metrics.scores(confusion)
accuracy, missed = float(scores["pixel_accuracy"]), confusion[1, 0] / truth.size
measured_iou, measured_f1 = float(scores["iou"][1]), float(scores["f1"][1])
assert abs(pixel_accuracy - accuracy - missed) > 0.005, (
    "You have counted the pixels of the square that were missed. What of those that "
    "were called square and are none?"
)
assert abs(pixel_accuracy - accuracy) < 0.005, (
    f"Pixel accuracy is not {pixel_accuracy:.3f}. Draw both squares: how large is the "
    "part that they share, when the shift goes down *and* right?"
)
assert abs(iou - measured_f1) > 0.005, (
    f"You divide the shared pixels by {confusion[1, 1] / iou:.0f}. IoU's U is "
    "everything that either square covers: is it that many?"
)
assert abs(iou - measured_iou) < 0.005, (
    f"The square's IoU is not {iou:.3f}. Shared pixels over all that either covers: "
    "count the shared ones only once below."
)
assert abs(f1 - measured_iou) > 0.005, (
    "IoU is right, and F1 is another number: it counts the shared pixels twice, above "
    "and below. Which of the two can be larger?"
)
assert abs(f1 - measured_f1) < 0.005, (
    f"F1 is not {f1:.3f}. Below stand the areas of both squares, shared pixels "
    "included."
)
print(f"Right: {accuracy:.0%} of the pixels, and an IoU of {measured_iou:.2f}.")

# %% [markdown] tags=["why"]
# The shared part is 30x30, since the shift takes 10 off both sides. 700 pixels are
# missed and 700 invented, 14 % of the photo, so 86 % are right: most of that is
# background that nobody could miss. The IoU sees the square alone, 900 / 2,300, and F1
# is $2i/(1 + i)$ with $i$ the IoU, so it is always the larger one. A shift by a quarter
# of the side is a good deal worse than it looks.

# %% [markdown]
# ## 2. Raise the score, leave the network alone ★★☆
#
# *Explore.* Eight photos, their masks (1 is the pet), and what some network made of
# them. A program scores them in two batches of four. It computes each batch's mean IoU,
# leaving out a class that neither its masks nor its predictions hold, as is the custom,
# and averages both numbers.
#
# You may choose one thing only: the **order** of the photos. Raise the average by 0.05
# or more above the mean IoU of all eight together, without touching a single pixel.

# %%
masks, predictions = np.zeros((2, 8, 32, 32), int)  # (N, H, W) each
SIDES = {0: 14, 2: 8, 3: 20, 6: 12}  # photo -> side of its pet; the others have none
for number, side in SIDES.items():
    masks[number, 6 : 6 + side, 6 : 6 + side] = 1
    predictions[number, 9 : 9 + side, 8 : 8 + side] = 1


def mean_iou(chosen):
    """Return the mean IoU over these photos together."""
    chosen = list(chosen)
    confusion = metrics.confusion_matrix(masks[chosen], predictions[chosen], 2)
    return float(metrics.scores(confusion)["mean_iou"])


def averaged(order):
    """Return the average of two batches' mean IoU, as the program does."""
    return (mean_iou(order[:4]) + mean_iou(order[4:])) / 2


print(f"all together {mean_iou(range(8)):.3f}, averaged {averaged(range(8)):.3f}")

# %% [markdown]
# Above the masks, below what the network made of them; four photos hold no pet:

# %% tags=["look"]
figure, axes = plots.grid(2, 8, size=1.1)
for row, drawn in zip(axes, (masks, predictions), strict=True):
    for number, axis in enumerate(row):
        axis.imshow(drawn[number], cmap="Blues", vmin=0, vmax=1.5)
        axis.set_title(number if drawn is masks else "", fontsize=9)
plots.show(figure, "Masks above, predictions below: four squares, shifted, four empty")

# %% tags=["stub"]
order = [0, 1, 2, 3, 4, 5, 6, 7]

# %% tags=["solution"]
order = [1, 4, 5, 7, 0, 2, 3, 6]

# %% tags=["also"]
order = np.array([6, 3, 2, 0, 7, 5, 4, 1])

# %% tags=["wrong"]
order = [3, 6, 1, 5, 0, 2, 4, 7]

# %% tags=["wrong"]
order = [1, 1, 4, 4, 5, 5, 7, 7]

# %% tags=["wrong"]
order = [3, 1, 4, 5, 7, 0, 2, 6]

# %% tags=["check"]
assert sorted(order) == list(range(8)), (
    "Each of the photos 0 to 7 must be scored exactly once. Leaving some out would be "
    "cheating of the ordinary kind."
)
gain = averaged(order) - mean_iou(range(8))
assert list(order) != list(range(8)), (
    f"That is the order in which they come, for {gain:+.3f}. Now choose your own."
)
assert gain > 0, (
    f"That makes {gain:+.3f}. In both batches the pet counts for half of the mean. "
    "Could there be a batch in which it does not count at all?"
)
assert gain >= 0.05, (
    f"{gain:+.3f}: the right direction. What would a batch have to look like for its "
    "mean IoU to be perfect?"
)
print(
    f"Right: {gain:+.3f} for the same predictions, from {averaged(order):.3f} averaged."
)

# %% [markdown] tags=["why"]
# Put the four photos without a pet into one batch. Nothing is wrong there, and the
# class pet is nowhere, so it is left out: a perfect 1. In the other batch the pet is as
# bad as before. The average is above the truth, and not a pixel has changed.
#
# A score that depends on the order of the photos is no property of the network. One
# confusion matrix, summed over all photos, has no order: that is what
# `SegmentationMetrics` keeps.
