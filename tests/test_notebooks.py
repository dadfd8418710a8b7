"""Every page: fresh, in the house style, equal to what it teaches, and it runs."""

import ast
import importlib
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jupytext
import keras
import numpy as np
import official_folder
import pytest
from conftest import ROOT, SAMPLE
from PIL import Image

from tools import run_notebooks
from tools.pages import build, check
from utils import fcn, pet_records, pets, vgg16

STEMS = list(build.titles())

# What a page writes out in full, and the helper that later pages import in its place.
TAUGHT = {
    "00_oxford_pets": {"in_validation": "utils.pet_records"},
    "01_vgg16_classification": dict.fromkeys(
        ["random_patch", "labelled_images"], "tools.results.cross_validate"
    ),
    "02_dense_to_convolution": {"convolution_weights": "utils.surgery"},
    "03_upsampling": {"bilinear_kernel": "utils.surgery"},
    "04_fcn32s": {"cross_entropy": "utils.metrics", "check_mask": "utils.batching"},
    "06_training_on_pets": {"dice": "utils.metrics"},
    "07_evaluation": {
        "confusion_matrix": "utils.metrics",
        "bootstrap": "tools.evaluate",
        "reduced": "tools.results.ceilings",
        "fitted": "tools.results.ceilings",
    },
    "08_export_and_predict": {"to_square": "utils.predict"},
}


@pytest.mark.parametrize("stem", STEMS)
def test_is_fresh(stem):
    assert build.stale(stem, build.compose(stem)) is None


@pytest.mark.parametrize("stem", STEMS)
def test_keeps_the_house_style(stem):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert check.problems(path) == []


# What `make test` shortens; a page and the one that goes on with it get the same.
CLASSIFIER = {
    "TRAIN_PHOTOS": 24,
    "VALIDATION_PHOTOS": 8,
    "EPOCHS": 2,
    "SLIDE_HEIGHT": 384,
}
CLASSIFIER["FC_UNITS"] = 512
SHORT = {
    "01_vgg16_classification": CLASSIFIER,
    "02_dense_to_convolution": CLASSIFIER | {"SIZES": [256]},
    "04_fcn32s": {"EPOCHS": 3},
    "05_skip_connections": {"IMAGE_SIZE": 96, "EPOCHS": 4},
    "06_training_on_pets": {"IMAGE_SIZE": 96, "EPOCHS": [1, 1, 2]},
    "07_evaluation": {},
    "08_export_and_predict": {"PHOTOS": 12},
}


@pytest.mark.slow
@pytest.mark.parametrize("stem", STEMS)
def test_runs(stem, few_drawings, tmp_path):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    parameters = SHORT.get(stem, {})
    if "04" <= stem[:2] < "09":
        parameters = parameters | {"DATASET": str(few_drawings)}
    outcome = run_notebooks.run_one(path, parameters, tmp_path)
    assert outcome.error == ""
    assert outcome.figure, "the cell tagged key-figure printed nothing"


@pytest.mark.long
@pytest.mark.parametrize("stem", SHORT)
def test_runs_at_full_length(stem, tmp_path):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert run_notebooks.run_one(path, {}, tmp_path).error == ""


@pytest.mark.long
@pytest.mark.parametrize("stem", [stem for stem in STEMS if stem[:2] < "03"])
def test_runs_on_a_few_dogs(stem, tmp_path):
    """No cat, one photo to validate on, and a mask that holds no class."""
    folder = official_folder.make(tmp_path / "pets", trainval=40, test=4)
    for file in (folder / "annotations").glob("*.txt"):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if line.startswith("dog")))
    mask = folder / "annotations" / "trimaps" / "dog_3.png"
    Image.fromarray(np.full((40, 50), 3, np.uint8)).save(mask)
    parameters = SHORT.get(stem, {}) | {"DATASET": str(folder)}
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert run_notebooks.run_one(path, parameters, tmp_path).error == ""


@pytest.mark.long
@pytest.mark.xfail(strict=True, reason="the page ends, with 3.14 GB; asked are 3")
def test_page_00_at_the_official_size(tmp_path):
    """3,680 and 3,669 photos of 500 x 375: 64 drawings, linked; under 3 GB."""
    from data.synthetic_pets import synthetic_pets_dataset_builder as drawn

    folder, made = tmp_path / "pets", tmp_path / "made"
    for part in (made, folder / "images", folder / "annotations" / "trimaps"):
        part.mkdir(parents=True)
    for index in range(64):
        drawing = drawn.draw_example(index)
        image, mask = (drawing[key] for key in ("image", "segmentation_mask"))
        Image.open(image).resize((500, 375)).save(made / f"{index}.jpg", quality=95)
        resized = Image.open(mask).resize((500, 375), Image.Resampling.NEAREST)
        resized.save(made / f"{index}.png")
    for name, numbers in (("trainval", range(3680)), ("test", range(3680, 7349))):
        lines = []
        for number in numbers:
            of, index = ("cat", "dog")[number % 2], number % 64
            stem = f"{of}_{number}"
            (folder / "images" / f"{stem}.jpg").hardlink_to(made / f"{index}.jpg")
            trimap = folder / "annotations" / "trimaps" / f"{stem}.png"
            trimap.hardlink_to(made / f"{index}.png")
            lines.append(f"{stem} {1 + number % 2} {1 + number % 2} {number}\n")
        (folder / "annotations" / f"{name}.txt").write_text("".join(lines))
    command = [sys.executable, "-m", "tools.run_notebooks", "--only", "00"]
    command += ["-p", "DATASET", str(folder)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(run.pid, 0)  # the largest process below it counts
    run.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(pet_records.prepared_path(folder, None, "stop"))
    assert run.returncode == 0
    assert usage.ru_maxrss * 1024 < 3e9


@pytest.mark.long
@pytest.mark.parametrize("stem", STEMS)
def test_runs_on_real_photographs(stem, sample, tmp_path):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert run_notebooks.run_one(path, {"DATASET": str(sample)}, tmp_path).error == ""


@pytest.mark.long
@pytest.mark.parametrize(
    ("stem", "image_size", "epochs"),
    [
        ("04_fcn32s", 128, 2),
        ("05_skip_connections", 64, 2),
        ("06_training_on_pets", 64, [1, 1, 1]),
    ],
)
def test_the_gpu_branch_runs(stem, image_size, epochs, tmp_path):
    """As on a GPU: everything trained, augmented, compiled by XLA; only smaller."""
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    parameters = {
        "ON_GPU": True,
        "DATASET": "synthetic_pets",
        "IMAGE_SIZE": image_size,
        "FC_UNITS": 64,
        "FC_KERNEL": 1,
        "EPOCHS": epochs,
    }
    assert run_notebooks.run_one(path, parameters, tmp_path).error == ""


def functions(source: str) -> dict[str, ast.FunctionDef]:
    """Return the functions defined at the top of a source, by name."""
    nodes = ast.parse(source).body
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def page(stem: str) -> str:
    """Return all code of a page's source as one text."""
    read = jupytext.read(ROOT / "notebooks" / "src" / f"{stem}.py")
    return "\n\n".join(c.source for c in read.cells if c.cell_type == "code")


def bare(function: ast.FunctionDef) -> str:
    """Reduce a function to its logic: no docstring, annotations, argument checks."""
    body = list(function.body)
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    body = [
        node
        for node in body
        if not (isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise))
    ]
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    names = ast.dump(function.args)
    return names + "".join(ast.dump(node) for node in body)


@pytest.mark.parametrize(
    ("stem", "name"), [(stem, name) for stem in TAUGHT for name in TAUGHT[stem]]
)
def test_what_a_page_teaches_is_what_utils_holds(stem, name):
    module = importlib.import_module(TAUGHT[stem][name])
    helper = functions(pathlib.Path(module.__file__).read_text(encoding="utf-8"))[name]
    assert bare(functions(page(stem))[name]) == bare(helper)


# Rooms that hold no idea of a page: data, plotting, the device.
SUPPORT = {"batching", "environment", "pet_records", "pets", "photos", "plots"}
FETCHED = {"vgg16.load_imagenet_weights"}
# Helper -> the page that writes it out, and under which name.
WRITTEN_OUT = {
    "vgg16.build": ("01_vgg16_classification", "build_vgg16"),
    "surgery.multiply_adds": ("01_vgg16_classification", "multiply_adds"),
    "surgery.convolutionize": ("02_dense_to_convolution", "as_convolution"),
    "surgery.bilinear_kernel": ("03_upsampling", "bilinear_kernel"),
    "fcn.upsample": ("03_upsampling", "upsample"),
}
SECOND_EDITION = [stem for stem in STEMS if stem[:2] <= "03"]


@pytest.mark.parametrize("stem", SECOND_EDITION)
def test_a_page_imports_what_was_written_out_before(stem):
    tree = ast.parse(page(stem))
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    rooms = {a.name for n in imports if n.module == "utils" for a in n.names}
    used = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in rooms - SUPPORT
    }
    for helper in used - FETCHED:
        where, name = WRITTEN_OUT[helper]
        assert where <= stem and name in functions(page(where)), helper


@pytest.mark.parametrize("name", ["PadToStride", "CropToImage"])
def test_the_page_writes_the_same_layers_as_utils(name):
    def call(source):
        classes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)]
        (found,) = [c for c in classes if c.name == name]
        (method,) = [n for n in found.body if getattr(n, "name", "") == "call"]
        return bare(method)

    helper = (ROOT / "utils" / "fcn.py").read_text(encoding="utf-8")
    assert call(page("04_fcn32s")) == call(helper)


def test_two_functions_that_differ_are_told_apart():
    one, other = (functions(f"def f(x):\n    return x {op} 1")["f"] for op in "+-")
    assert bare(one) != bare(other)


def executed(stem: str, *names: str, **parameters) -> dict:
    """Return a page's functions by name, with what its imports and parameters give."""
    namespace = {"keras": keras, "layers": keras.layers, "np": np, "vgg16": vgg16}
    namespace |= {"pets": pets, **parameters}
    nodes = ast.parse(page(stem)).body
    found = {node.name: node for node in nodes if hasattr(node, "name")}
    for name in names:
        exec(ast.unparse(found[name]), namespace)
    return namespace


@pytest.mark.parametrize("name", ["slide", "paint"])
def test_page_02_repeats_functions_of_page_01(name):
    first, second = (functions(page(s))[name] for s in STEMS[1:3])
    assert bare(first) == bare(second)


def test_sliding_is_classifying_each_window_on_its_own():
    image = keras.Input((224, 224, 3))
    pooled = keras.layers.AveragePooling2D(112)(image)
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(pooled))
    model = keras.Model(image, logits)
    photo = np.random.default_rng(0).uniform(0, 255, (289, 320, 3)).astype("float32")
    scores = executed("01_vgg16_classification", "slide")["slide"](model, photo)
    assert scores.shape == (3, 4, 3)
    for row, column in np.ndindex(3, 4):
        top, left = 32 * row, 32 * column
        window = photo[top : top + 224, left : left + 224]
        np.testing.assert_allclose(
            scores[row, column], model(window[None])[0], rtol=1e-4, atol=1e-4
        )


def test_a_label_is_painted_around_its_window_s_centre():
    paint = executed("01_vgg16_classification", "paint")["paint"]
    mask = paint(np.array([[1, 2]]), (224, 256))
    assert mask[112, 112] == 1 and mask[112, 112 + 32] == 2
    assert (mask >= 0).sum() == 2 * 32 * 32
    assert mask[0, 0] == -1


@pytest.mark.slow
def test_page_02_trains_its_own_classifier_where_page_01_has_not_run(
    monkeypatch, thin, capsys
):
    monkeypatch.setattr(vgg16, "load_imagenet_weights", lambda model: "a test")
    keras.utils.set_random_seed(0)
    model = vgg16.build(3, fc_units=64)
    pool5 = model.get_layer("block5_pool").output
    convolutions, dense = (
        keras.Model(model.input, pool5),
        keras.Model(pool5, model.output),
    )
    before = [weight.numpy() for weight in model.weights]
    names = "02_dense_to_convolution", "train_dense_layers"
    given = {"DATASET": "synthetic_pets", "TRAIN_PHOTOS": 32, "EPOCHS": 8}
    train = executed(*names, **given)[names[1]]
    train(model, convolutions, dense)
    losses = [float(n) for n in re.findall(r"loss: ([\d.]+)", capsys.readouterr().out)]
    assert len(losses) == 8 and losses[-1] < losses[0]
    for weight, old in zip(model.weights, before, strict=True):
        trained = weight.path.split("/")[0] in ("fc1", "fc2", "predictions")
        assert np.array_equal(weight, old) != trained


@pytest.mark.slow
def test_the_page_builds_the_same_vgg16_as_utils():
    names = "01_vgg16_classification", "MeanSubtraction", "vgg_block", "build_vgg16"
    ours = vgg16.build(3, fc_units=16)
    built = executed(*names)["build_vgg16"](3, fc_units=16)
    assert [one.name for one in built.layers] == [one.name for one in ours.layers]
    built.set_weights(ours.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    np.testing.assert_array_equal(built(image), ours(image))


def one_cell() -> str:
    """Return the cell of page 05 that holds FCN-8s whole."""
    read = jupytext.read(ROOT / "notebooks" / "src" / "05_skip_connections.py")
    (cell,) = [c for c in read.cells if "one-cell" in c.metadata.get("tags", [])]
    return cell.source


@pytest.fixture(scope="module")
def keras_weights(tmp_path_factory):
    """Return a file of VGG16's convolutions as `keras.applications` reads them."""
    path = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None).save_weights(path)
    return path


@pytest.mark.slow
def test_fcn_8s_in_one_cell_runs_alone_in_an_empty_folder(tmp_path, keras_weights):
    known = {"keras", "numpy", "os"}
    imports = [n for n in ast.walk(ast.parse(one_cell())) if isinstance(n, ast.Import)]
    assert {alias.name for node in imports for alias in node.names} == known
    (tmp_path / "cell.py").write_text(one_cell())
    done = subprocess.run(
        [sys.executable, "-I", "cell.py"],
        cwd=tmp_path,
        env={**os.environ, "VGG16_WEIGHTS": str(keras_weights)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, _, after = (float(n) for n in re.findall(r"\d\.\d{4}", done.stdout))
    assert before == pytest.approx(math.log(3), abs=1e-3)
    assert after < before


@pytest.mark.slow
def test_fcn_8s_in_one_cell_is_the_network_of_utils(monkeypatch, keras_weights):
    """Equal under equal weights; ours pads by its own colour, so nothing to pad."""
    monkeypatch.setenv("VGG16_WEIGHTS", str(keras_weights))
    namespace = {}
    head = one_cell().split("photos = np.random")[0]
    exec(head, namespace)
    photos = np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    theirs = namespace["build_fcn8s"](3, photos, units=16)
    ours = fcn.build("8s", 3, fc_units=16, fc_kernel=1, weights=None)
    backbone = theirs.get_layer("vgg16")
    random = np.random.default_rng(0)
    for layer in ours.layers:
        names = [one.name for one in theirs.layers]
        if layer.name.startswith("block") and layer.weights:
            kernel, bias = backbone.get_layer(layer.name).get_weights()
            if layer.name == "block1_conv1":
                kernel = kernel[:, :, ::-1]
            layer.set_weights([kernel, bias])
        elif layer.name in names and layer.weights:
            shapes = [w.shape for w in layer.weights]
            weights = [random.normal(0, 0.1, shape) for shape in shapes]
            layer.set_weights(weights)
            theirs.get_layer(layer.name).set_weights(weights)
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Rescaling):
            pool = {8: 3, 4: 4, 2: 5}[layer.output.shape[1]]  # of 64 px
            ours.get_layer(f"pool{pool}_rescaled").scale = layer.scale
    expected = ours(photos).numpy()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(theirs(photos), expected, atol=1e-4 * np.ptp(expected))


def test_no_photograph_of_the_real_set_is_in_the_project():
    if not SAMPLE.is_dir():
        pytest.skip("no sample of real photographs beside the checkout (shared/)")
    known = {p.stat().st_size for p in (SAMPLE / "images").glob("*.jpg")}
    pictures = [p for p in (ROOT / "notebooks").rglob("*.jpg")]
    assert not [p for p in pictures if p.stat().st_size in known]
