"""Every page: fresh, in the house style, equal to what it teaches, and it runs."""

import ast
import importlib
import pathlib

import jupytext
import keras
import numpy as np
import pytest
from conftest import ROOT, SAMPLE

from tools import build_notebooks, check_notebooks, run_notebooks

STEMS = list(build_notebooks.titles())

# What a page writes out in full, and the helper that later pages import in its place.
TAUGHT = {
    "00_oxford_pets": {"in_validation": "utils.pet_records"},
    "01_vgg16_classification": dict.fromkeys(
        ["centre_patch", "enlarged", "paint"], "utils.classifier"
    ),
    "02_dense_to_convolution": {"convolution_weights": "utils.surgery"},
    "03_upsampling": {"bilinear_kernel": "utils.surgery"},
}


@pytest.mark.parametrize("stem", STEMS)
def test_is_fresh(stem):
    assert build_notebooks.stale(stem) is None


@pytest.mark.parametrize("stem", STEMS)
def test_keeps_the_house_style(stem):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert check_notebooks.problems(path) == []


@pytest.mark.parametrize("stem", STEMS)
def test_runs(stem, tmp_path):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    outcome = run_notebooks.run_one(path, {}, tmp_path)
    assert outcome.error == ""
    assert outcome.figure, "the cell tagged key-figure printed nothing"


@pytest.mark.long
@pytest.mark.parametrize("stem", STEMS)
def test_runs_on_real_photographs(stem, sample, tmp_path):
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    assert run_notebooks.run_one(path, {"DATASET": str(sample)}, tmp_path).error == ""


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
    helper = functions(pathlib.Path(module.__file__).read_text())[name]
    assert bare(functions(page(stem))[name]) == bare(helper)


def test_two_functions_that_differ_are_told_apart():
    one, other = (functions(f"def f(x):\n    return x {op} 1")["f"] for op in "+-")
    assert bare(one) != bare(other)


def test_the_page_builds_the_same_vgg16_as_utils():
    from utils import vgg16

    namespace = {"keras": keras, "layers": keras.layers, "vgg16": vgg16}
    found = functions(page("01_vgg16_classification"))
    for name in ("vgg_block", "build_vgg16"):
        exec(ast.unparse(found[name]), namespace)
    ours = vgg16.build(3, fc_units=16)
    built = namespace["build_vgg16"](3, fc_units=16)
    assert [one.name for one in built.layers] == [one.name for one in ours.layers]
    built.set_weights(ours.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3))
    np.testing.assert_array_equal(built(image), ours(image))


def test_no_photograph_of_the_real_set_is_in_the_project():
    if not SAMPLE.is_dir():
        pytest.skip("no sample of real photographs beside the checkout (shared/)")
    known = {p.stat().st_size for p in (SAMPLE / "images").glob("*.jpg")}
    pictures = [p for p in (ROOT / "notebooks").rglob("*.jpg")]
    assert not [p for p in pictures if p.stat().st_size in known]
