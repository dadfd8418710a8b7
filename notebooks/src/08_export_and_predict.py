# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Any photo, anywhere: export and predict
#
# A trained network that lives in a notebook is of use to nobody else. Here it leaves: for
# photos nobody prepared, for a shell, for runtimes that have never heard of Keras.
#
# **You will be able to**
#
# - read a photo as people see it, whichever way the camera was held,
# - bring it to the size the network knows, and the answer back to the photo,
# - say what becomes of the score when a photo's scale leaves the training range,
# - save a network so that it remembers how to be used, and load it without running
#   anybody's code,
# - export it, prove that the exported form is the same network, and read what the smaller
#   forms cost.
#
# **You need** notebook 05. Without a GPU this page takes {minutes}, on drawings. The
# figures on photographs come from `results/`. No package beyond requirements.txt is used.
#
# Here is the end: a photo as it lies in the file, what a careless program makes of it, and
# what a careful one does.

# %% tags=["setup"]

# %%
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import keras
import numpy as np
import skimage.data
import tensorflow as tf
from keras import layers, ops
from PIL import Image, ImageOps

from utils import environment, metrics, networks, pets, photos, plots, predict

# %% tags=["preview"]
plots.picture(
    "08_export_and_predict.jpg",
    alt="A cat stored on its side, the mask of it lying so, and the mask of it upright",
)

# %% [markdown]
# The network of this page is an FCN-8s, trained on the spot where it is not in the cache.

# %% tags=["parameters"]
ON_GPU = environment.on_gpu()
DATASET = "oxford_iiit_pet" if ON_GPU else "synthetic_pets"  # or a folder's path
IMAGE_SIZE = 224 if ON_GPU else 96  # side of the square photos, in pixels
PHOTOS = 24  # validation photos that are scored, at their own size
SEED = 0  # the one seed

# %%
print(environment.prepare(SEED))
NAMES = pets.CLASS_NAMES["trimap"]
model = networks.trained_fcn("8s", DATASET, image_size=IMAGE_SIZE, seed=SEED)
examples = pets.load_examples(DATASET, "validation").take(PHOTOS)
examples = list(examples.as_numpy_iterator())
print(
    f"{model.name}, trained at {IMAGE_SIZE} px; a photo: {examples[0]['image'].shape}"
)

# %% [markdown]
# ## 1. A photo is not an array
#
# Photos come from cameras. A camera held upright does not turn its picture: it stores it
# lying on its side, and notes in the file which way is up (the *orientation*, one number in
# what is called EXIF). Programs that show photos obey the note. Programs that read arrays
# often do not.
#
# Make such a file, of the cat that comes with scikit-image:

# %%
folder = pathlib.Path(tempfile.mkdtemp())
cat = skimage.data.chelsea()  # (300, 451, 3), uint8
note = Image.Exif()
note[0x0112] = 6  # orientation 6: turn it a quarter clockwise to see it upright
lying = Image.fromarray(np.rot90(cat).copy())
lying.save(folder / "cat.jpg", exif=note, quality=95)

# %% [markdown]
# **Predict**: what shape does NumPy see, and what does the network think of a cat on its
# side?


# %%
def read_upright(path):
    """Read a photo as people see it: upright, RGB, 8 bits."""
    image = ImageOps.exif_transpose(Image.open(path))
    return np.asarray(image.convert("RGB"))  # (H, W, 3)


careless = np.asarray(Image.open(folder / "cat.jpg"))
careful = read_upright(folder / "cat.jpg")
print("careless", careless.shape, " careful", careful.shape)
assert careful.shape == cat.shape

# %% [markdown]
# The careless one has height and width exchanged. No error, no warning: you only find out
# when you look. Orientation is the trap most people meet first; the kind of pixels is the
# second. Write the cat in the ways photos come in:

# %%
grey = Image.fromarray(cat).convert("L")
deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)  # 0..65535
kinds = {
    "grey.png": grey,
    "16_bit.png": deep,
    "cmyk.jpg": Image.fromarray(cat).convert("CMYK"),
    "palette.png": Image.fromarray(cat).quantize(64),
    "see_through.png": Image.fromarray(cat).convert("RGBA"),
}
for name, image in kinds.items():
    image.save(folder / name)
    array = np.asarray(Image.open(folder / name))
    read = photos.read(folder / name)
    print(f"{name:16} as an array {array.shape!s:14} {array.dtype!s:7}", end="")
    print(f" up to {array.max():5}; photos.read {read.shape}, up to {read.max()}")

# %% [markdown]
# Only some of these fail where you would notice. A palette's numbers are names of colours,
# four channels may be inks, and 65,535 is a very white white to a network that expects 255.
# `photos.read` brings them all to `(H, W, 3)`, 0..255, and refuses in one sentence what it
# cannot read, or should not:

# %%
(folder / "text.jpg").write_text("no photo at all")
(folder / "cut.jpg").write_bytes((folder / "cat.jpg").read_bytes()[:9000])
grey.save(folder / "moves.gif", save_all=True, append_images=[grey.rotate(9)])
for name in ("text.jpg", "cut.jpg", "moves.gif", "nothing.jpg"):
    try:
        photos.read(folder / name)
    except ValueError as error:
        print(str(error).replace(f"{folder}/", ""))

# %% [markdown]
# It also refuses more than 80 million pixels. A file of a few kilobytes can claim a picture
# of gigabytes; such files are called *decompression bombs*.
#
# ## 2. To the network's size, and back
#
# The network takes any size, but it *knows* one: the square that training squashed every
# photo to. So squash this one too, by the same averaging, to the same whole numbers.


# %%
def to_square(image, image_size):
    """Bring a photo (H, W, 3) to float32 (S, S, 3), as in training."""
    size = (image_size, image_size)
    small = ops.image.resize(np.float32(image), size, antialias=True)
    return np.clip(np.round(ops.convert_to_numpy(small)), 0, 255)


# %%
image, mask = examples[0]["image"], examples[0]["mask"]  # (H, W, 3), (H, W)
logits = model(to_square(image, IMAGE_SIZE)[None])[0]  # (S, S, C)
print(image.shape, "->", logits.shape)
assert logits.shape == (IMAGE_SIZE, IMAGE_SIZE, len(NAMES))

# %% [markdown]
# Now back. What do you enlarge, the class ids or the logits?
#
# **Predict**: between a pixel of *pet* (0) and a pixel of *border* (2), what does
# interpolation put?

# %%
pair = tf.constant([[0.0, 2.0]])[..., None]  # (1, 2, 1): ids of two pixels
enlarged = tf.image.resize(pair, (1, 7))[0, :, 0].numpy()  # (7,)
print([NAMES[round(float(value))] for value in enlarged])

# %% [markdown]
# Background, between pet and border, where nobody saw any. An id is a name, and there is
# nothing between two names. Ids can be repeated (*nearest*), which leaves stairs. Logits
# are quantities: enlarge them, and choose the best class last. Over all photos, at their
# own size:


# %%
def ids_repeated(logits, size):
    """Choose the class first, then repeat ids."""
    ids = tf.argmax(logits, -1)[..., None]  # (S, S, 1)
    return tf.image.resize(ids, size, "nearest")[..., 0]  # (H, W)


def logits_enlarged(logits, size):
    """Enlarge first, then choose."""
    return tf.argmax(tf.image.resize(logits, size), -1)  # (H, W)


# %%
for way in (ids_repeated, logits_enlarged):
    score = metrics.SegmentationMetrics(len(NAMES))
    for example in examples:
        logits = model(to_square(example["image"], IMAGE_SIZE)[None])[0]
        score.update_state(example["mask"], way(logits, example["mask"].shape))
    print(f"{way.__name__:15} mean IoU {score.result()['mean_iou']:.4f}")

# %% [markdown]
# A small gain, on drawings hardly larger than the square. On the 4,000 pixels of a phone
# each id would be repeated dozens of times a side, and the stairs would be as wide.
#
# `predict.predict` is these two steps: down to the square, logits back up. By it, the cat
# of section 1, lying and upright:

# %% tags=["result"]
figure, axes = plots.grid(1, 3, size=2.9, aspect=0.95)
views = {"in the file": (careless, False), "careless": (careless, True)}
views["careful"] = (careful, True)
for axis, (title, (view, tinted)) in zip(axes[0], views.items(), strict=True):
    ids = predict.predict(model, view, IMAGE_SIZE).argmax(-1)  # (H, W)
    axis.imshow(plots.overlay(view, ids, names=NAMES) if tinted else view)
    axis.set_title(title)
plots.show(figure, "A cat on its side, and masks of it so and upright", photo=True)

# %% [markdown]
# Orange is pet, black border. (This network has seen nothing but drawings; section 7 has
# masks by one that learned from photographs.) For the cat there is no truth. For the photos
# of this page there is one, so turn them all, their masks with them:

# %%
for title, turns in (("upright", 0), ("lying", 1)):
    score = metrics.SegmentationMetrics(len(NAMES))
    for example in examples:
        view, truth = (
            np.rot90(example["image"], turns),
            np.rot90(example["mask"], turns),
        )
        ids = predict.predict(model, view, IMAGE_SIZE).argmax(-1)  # (H, W)
        score.update_state(truth.copy(), ids)
    print(f"{title:7} mean IoU {score.result()['mean_iou']:.3f}")

# %% [markdown]
# That is the price of one number nobody read.
#
# ## 3. When the scale leaves the training range
#
# The network accepts any size, so why not feed the photo as large as it is? Try it: the
# same photos, at sizes from a third of the training size to nearly three times.
#
# **Predict**: where is the peak, and which side falls faster?


# %%
def score_at(size):
    """Feed all photos at size x size; return mean IoU at their own size."""
    score = metrics.SegmentationMetrics(len(NAMES))
    for example in examples:
        logits = model(to_square(example["image"], size)[None])[0]
        score.update_state(
            example["mask"], logits_enlarged(logits, example["mask"].shape)
        )
    return float(score.result()["mean_iou"])


# %% [markdown]
# On the right, the same for photographs, by `benchmarks/scale.py` with a network trained on
# photographs: squashed to a square, as in training, and with the photo's own ratio of sides
# at as many pixels.

# %%
FACTORS = (1 / 3, 1 / 2, 3 / 4, 1, 4 / 3, 2, 8 / 3)  # of the size of training
SIZES = [round(IMAGE_SIZE * factor) for factor in FACTORS]
by_size = {size: score_at(size) for size in SIZES}
real = environment.results("scale")
figure, axes = plots.curves((8, 2.8), columns=2)
axes[0].plot(by_size.keys(), by_size.values(), "o-")
axes[0].axvline(IMAGE_SIZE, color="grey", linestyle="--")
axes[0].set_title("drawings" if DATASET == "synthetic_pets" else "this page's photos")
for name, row in real["mean_iou"].items():
    axes[1].plot([int(size) for size in row], row.values(), "o-", label=name)
axes[1].axvline(real["trained_at"], color="grey", linestyle="--")
axes[1].set_title("photographs, from results/")
axes[1].legend(frameon=False)
for axis in axes:
    axis.set(xlabel="side in pixels", ylabel="mean IoU", ylim=(0.3, 0.8))
plots.show(figure, "Mean IoU by size, drawings and photographs: peaks near training's")

# %%
for size, value in by_size.items():
    print(f"{size:4} px: mean IoU {value:.3f}")
print(real["command"])
print(f"{real['data']}, trained at {real['trained_at']} px, {real['device']}")
for name, row in real["mean_iou"].items():
    print(f"{name:10}", *(f"{size} px {value:.3f} " for size, value in row.items()))

# %% [markdown]
# The dashed line is the size of training. A convolution knows patterns of one size, in
# pixels: an eye twice as large is another pattern, and what surrounds a cell (its receptive
# field, notebook 02) then holds half an animal. So *any size* means that the network runs,
# not that it works.
#
# Too small costs more than too large, in either chart: half the size costs about as much as
# three times. (An enlarged photo holds no more detail, it is only larger.) And keeping the
# ratio of the sides, which looks like the right thing to do, gains nothing at the size of
# training: this network has learned from squashed pets.
#
# So feed a photo at the size of training. If pets are small in yours, cut them out first,
# or train at several scales.
#
# ## 4. What must travel with the network
#
# Somebody gets your file. Which size? Which class is 2? If that is in a mail, it gets lost.
# Put it into the network: a last layer that changes nothing and *knows*.

# %%
complete = networks.remember(model, IMAGE_SIZE, NAMES)
networks.save_model(complete, folder / "pets.keras")
loaded = predict.load_network(folder / "pets.keras")
known = networks.trained_on(loaded)
print(known.image_size, known.class_names)
same = np.abs(predict.predict(loaded, cat) - predict.predict(complete, cat)).max()
print(f"largest difference after saving and loading: {same:g}")
assert same == 0

# %% [markdown]
# Weights, layers and knowledge are in one `.keras` file, without the optimiser, which is
# for training and twice as large.
#
# A file from a stranger is another matter. A `Lambda` layer carries Python code, and
# loading it runs that code. `predict.load_network` reads in Keras's *safe mode*, which refuses:

# %%
image = keras.Input((None, None, 3))
trap = keras.Model(image, layers.Lambda(lambda x: x)(image))  # or anything else
trap.save(folder / "trap.keras")
try:
    predict.load_network(folder / "trap.keras")
except ValueError as error:
    print(str(error).replace(f"{folder}/", "")[:150], "...")

# %% [markdown]
# That is why this series writes its own layers (`PadToStride` and its like) as registered
# classes and has no `Lambda` anywhere: their names are in the file, their code is in
# `utils`.
#
# ## 5. SavedModel: the network without its program
#
# A `.keras` file needs Keras and `utils`. A **SavedModel** needs neither: it is a folder
# with TensorFlow's graph of operations and the weights. Servers (TensorFlow Serving),
# Java, C++ and Go read it.

# %%
tf.get_logger().setLevel("ERROR")  # else it reports each file it writes
complete(np.zeros((1, 64, 64, 3), "float32"))  # Keras exports what was called once
complete.export(folder / "served", format="tf_saved_model", verbose=False)
files = [file for file in (folder / "served").rglob("*") if file.is_file()]
for file in [*sorted(files), folder / "pets.keras"]:
    print(f"{file.stat().st_size / 1e6:7.2f} MB  {file.relative_to(folder)}")
variables = tf.train.list_variables(str(folder / "served" / "variables" / "variables"))
stored = sum(np.prod(shape) for _, shape in variables if shape)
print(f"{stored / complete.count_params():.2f} numbers stored for each weight")

# %% [markdown]
# Twice as large as the `.keras` file: the Keras at hand writes every weight twice. That
# costs disk; section 6 shows whether it costs memory.
#
# Now read it back, as a program would that has only TensorFlow.
#
# **Predict**: close to the Keras model, or equal? And for a photo of another size?

# %%
served = tf.saved_model.load(str(folder / "served"))  # no Keras, no utils
generator = np.random.default_rng(SEED)
for size in ((IMAGE_SIZE, IMAGE_SIZE), (77, 131)):
    photo = generator.uniform(0, 255, (1, *size, 3)).astype("float32")  # (1, H, W, 3)
    expected = complete(photo).numpy()  # (1, H, W, C)
    found = served.serve(photo).numpy()
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    print(f"{size}: {difference:.1g} relative")
    assert found.shape == expected.shape and difference < 1e-5

# %% [markdown]
# The same numbers, or as good as: the graph holds the same operations, any size included.
# That is what padding *inside* the network (notebook 04) was for. What stays outside is
# section 2, to the square and back; whoever serves the network has to write that.
#
# ## 6. Smaller forms, and what eight bits can hold
#
# **ONNX** is a format many runtimes read. **LiteRT** (once TensorFlow Lite) is the one of
# phones. Their files can be smaller than the weights: in *float16* each weight has 16
# bits, in *int8* weights and features have 8. An 8-bit number has 256 values. So choose a
# range, and divide it into 255 steps:


# %%
def to_int8(values, low, high):
    """Round to 256 levels from low to high; return what they stand for."""
    step = (high - low) / 255
    levels = np.clip(np.round((values - low) / step), 0, 255)  # what is stored
    return levels * step + low


# %% [markdown]
# For weights the range is known. For features it depends on the photo, so some photos
# have to go through first: **calibration**. Take the features of `fc7`, for one photo,
# with ranges from three different sources.
#
# **Predict**: how bad is a range taken from a photo of the night?

# %%
fc7 = keras.Model(model.input, model.get_layer("fc7").output)
features = fc7(
    to_square(image=cat, image_size=IMAGE_SIZE)[None]
).numpy()  # (1, h, w, 512)
day = fc7(np.stack([to_square(e["image"], IMAGE_SIZE) for e in examples])).numpy()
night = fc7(0.05 * to_square(cat, IMAGE_SIZE)[None]).numpy()
for name, seen in {"itself": features, "other photos": day, "a night": night}.items():
    kept = to_int8(features, seen.min(), seen.max())
    error = np.abs(kept - features) / features.std()  # in spreads
    print(f"range of {name:13} 0 to {seen.max():4.1f}: error ", end="")
    print(f"{error.mean():.2%} of the spread on average, {error.max():.0%} at most")

# %% [markdown]
# A range too wide wastes levels: the other photos reach twice as far as this one needs, so
# the steps are twice as coarse, and still fine. A range too short cuts off. On average
# that looks harmless, but what it cuts are the largest features, and these say most. So
# calibrate with photos like those that will come.
#
# The rest is bookkeeping that exporters do. `tools.export` writes all forms and runs each
# in a process of its own. The network is the FCN-8s trained on photographs:

# %%
exported = environment.results("export")
print(exported["command"])
print(f"{exported['data']}, int8 calibrated on {exported['calibration']}")
print(f"{exported['image_size']} px, {exported['device']}, ", end="")
print(f"load average {exported['load_average']:.1f}\n")
print(
    f"{'form':15} {'MB':>6} {'ms a photo':>16} {'GB':>5} {'equal':>8} {'IoU lost':>9}"
)
for form, row in exported["forms"].items():
    ms = row["milliseconds"]
    print(f"{form:15} {row['megabytes']:6.1f} {ms['median']:5.0f} ", end="")
    print(f"({ms['quartile_1']:3.0f}-{ms['quartile_3']:3.0f}) ", end="")
    print(f"{row['peak_memory_gb']:5.2f} {row['equal_pixels']:8.2%} ", end="")
    print(f"{row['mean_iou_lost']:+9.4f}")
print(f"\ntrained in {exported['trained_in'][-1]}; computing so, ", end="")
print(f"it agrees with float32 on {exported['as_trained_equal_pixels']:.2%} of pixels")

# %% [markdown]
# Times are the median over the photos, with the middle half in brackets; memory is the most
# the process held, runtime included; *equal* is the share of pixels of the same class as in
# Keras with float32.
#
# Every float form is the same network, and their times are of one order: all do the same
# multiplications. (Two runs of the tool here differed by up to a third; read no ranking out
# of less.) SavedModel's double weights cost no memory, and the runtimes without TensorFlow
# need far less of it. `float16` halves the file; this processor multiplies in float32 all
# the same. `int8` takes a quarter of the disk and well under a third of the time, and its
# mean IoU hardly moves, though some pixels have changed their class.
#
# (A load average above the number of cores would say that other programs were at work
# beside. On your machine, run the tool again.)
#
# The packages for it are not in requirements.txt: `make export` installs them. And
# [tools/run_exported.py](../tools/run_exported.py) shows the few lines each runtime needs.
#
# ## 7. From the shell
#
# All of this in one command, for photos and whole folders. Three files, one of them no
# photo:

# %%
Image.fromarray(cat).save(folder / "upright.png")
words = ["cat.jpg", "upright.png", "text.jpg"]
words += ["--model", "pets.keras", "--out", "found"]
done = subprocess.run(
    [sys.executable, "-m", "utils.predict", *words],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(environment.ROOT)},
    capture_output=True,
    text=True,
)
print("python -m utils.predict", *words)
print(*(line for line in done.stderr.splitlines() if line.startswith("refused")))
print("exit status", done.returncode)
print(*sorted(path.name for path in (folder / "found").iterdir()), sep="\n")
assert done.returncode == 1

# %% [markdown]
# Status 0 says that all were written, 1 that some were refused (the others are there), 2
# that nothing could begin. `--max-side` limits the size of what is written. Each file is
# written aside and then put in place, so a run that is stopped leaves no half ones, and
# none is overwritten without `--force`.
#
# The mask is an *indexed* picture: its pixels are the class ids, and a palette says how to
# draw them. So people see colours and programs read ids:

# %%
mask = Image.open(folder / "found" / "cat_mask.png")
print(mask.mode, mask.size, "ids", np.unique(mask))
print((folder / "found" / "cat.json").read_text())
shares = json.loads((folder / "found" / "cat.json").read_text())["share"]
assert abs(sum(shares.values()) - 1) < 1e-9

# %% [markdown]
# What does a phone's photo cost? `benchmarks/large_photo.py` has run the command on one of
# 4,000 x 3,000 pixels, from the start of the process to its end:

# %%
large = environment.results("large_photo")
print(large["command"], "on", large["device"])
for one in large["runs"]:
    print(
        f"{one['seconds']:.1f} s by the clock, {one['cpu_seconds']:.1f} s of CPU; ",
        end="",
    )
    print(f"{one['peak_memory_gb']:.2f} GB at most; ", end="")
    print(f"load average {one['load_average_before']:.1f}")

# %% [markdown]
# TensorFlow's start is in it; a folder of photos pays that once.
#
# The same cat by the networks that learned from photographs, drawn when they were trained:

# %%
plots.picture(
    "oxford-pets-sample_trimap.jpg",
    alt="A cat's face, and its masks by FCN-32s, 16s and 8s, each finer than the last",
)

# %% [markdown]
# `tools.reproduce` leaves its networks as such files, `build/models/NAME/8s.keras` say. One
# that you trained in another way has to be told once what it was trained on
# (`networks.remember`, as in section 4).

# %% tags=["key-figure"]
print(
    f"mean IoU {by_size[IMAGE_SIZE]:.3f} at {IMAGE_SIZE} px, "
    f"{by_size[SIZES[0]]:.3f} at {SIZES[0]}, {by_size[SIZES[-1]]:.3f} at {SIZES[-1]}; "
    f"SavedModel differs by {difference:.0e}"
)

# %% [markdown]
# ## 8. What can go wrong
#
# - **Masks are good on the test set and bad on phone photos.** Look at one: it lies on its
#   side. Or it is twelve million pixels, fed as it is: shrink it to what the network knows.
#   (It was [scaled to 0..1](09_bug_zoo.ipynb#photos-in-0-to-1)? Then it is one colour.)
# - **A thin line of a third class runs between two others.** Ids were interpolated. Enlarge
#   logits, or repeat ids. [See it](09_bug_zoo.ipynb#bilinear-masks).
# - **The int8 form is far off, float16 is fine.** Calibration has not seen photos like
#   yours, or not prepared as yours are. Give it some of the training photos.
#
# ## 9. Summary
#
# - A photo is upright, RGB and 8 bits only after somebody has made it so.
# - Down to the square of training, logits back up, class last.
# - The network runs at any size and works near one: that of its training.
# - Size and class names travel in the file; a file with code in it is refused.
# - An exported form is the same network only when you have compared them, pixel by pixel.
# - int8 is a range and 256 levels; calibration chooses the range.
#
# ## Questions
#
# <details><summary>1. Half of the photos at hand lie on their side, and you cannot tell which,
# for somebody has removed the notes. What can you do?</summary>
#
# Train with photos turned by quarters, so that the network does not care; or train a small
# classifier for "which way is up", and turn them first. Nothing in the pixels is lost.
# </details>
#
# <details><summary>2. Why is the antialiasing in <code>to_square</code> important when a
# photo of 4,000 pixels goes to 160?</summary>
#
# Without it each output pixel is made of a few of some 600 input pixels, chosen by
# position. Fur becomes noise, and the network was trained on photos that were averaged.
# </details>
#
# <details><summary>3. May you calibrate int8 on the test photos? They are only looked
# at.</summary>
#
# No. The ranges become part of the network, fitted to these photos, and its test score
# would no longer say how it does on others.
# </details>
#
# <details><summary>4. The logits of two forms differ by a ten-thousandth. How can a pixel
# change its class?</summary>
#
# Where two classes are nearly tied, any difference decides. That happens along outlines, so
# count such pixels instead of demanding none.
# </details>
#
# ## References
#
# - CIPA DC-008. *Exchangeable image file format for digital still cameras: Exif*. The
#   orientation tag.
# - B. Jacob and others. *Quantization and Training of Neural Networks for Efficient
#   Integer-Arithmetic-Only Inference*. CVPR 2018. Ranges, steps, zero points.
# - H. Touvron, A. Vedaldi, M. Douze, H. Jégou. *Fixing the train-test resolution
#   discrepancy*. NeurIPS 2019. What scale does to a network.
# - Keras documentation, *Whole model saving and loading* and *Export*.
