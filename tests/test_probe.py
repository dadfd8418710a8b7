"""Results carry what their code did: a change of a number is seen, no other change."""

import ast
import json
import random
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT

from tools.results import made, probe, recipe
from utils import (
    batching,
    environment,
    fcn,
    pet_records,
    pets,
    surgery,
    training,
    vgg16,
)

TABLE = "oxford-pets-sample_trimap"


# Two draw pictures before anything else; the third differs from the trimaps' in little.
SLOW = ("synthetic_pets_trimap", "judge_synthetic", "oxford-pets-sample_species")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in probe.PROBES],
)
def test_the_code_does_what_the_result_was_made_with(name):
    assert probe.stale(name) == []


def test_every_result_keeps_a_probe_or_is_a_measured_time():
    assert probe.without_probe() == []


@pytest.mark.parametrize("name", probe.PROBES)
def test_a_probe_that_is_removed_is_missed(name, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "results", tmp_path / "results")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    table = environment.results(name)
    (gone := {**table}).pop("probe")
    environment.write_json(tmp_path / "results" / f"{name}.json", gone)
    assert probe.without_probe() == [name]
    (tmp_path / "results" / f"{name}.json").unlink()
    assert probe.without_probe() == [name]


# What each mutation changes, at the smallest size, and the part that must see it.
RECIPE = recipe.RECIPE


def scaled(key, factor):
    return lambda patch: patch.setitem(RECIPE, key, RECIPE[key] * factor)


def answering(owner, name, change):
    """Let `change` answer for a function; it gets the function and its arguments."""

    def mutate(patch):
        original = getattr(owner, name)
        patch.setattr(owner, name, lambda *a, **k: change(original, *a, **k))

    return mutate


def adam(**settings):
    return answering(training, "AdamW", lambda kind, *a, **k: kind(*a, **settings, **k))


def two_swapped(places, *arguments):
    found = places(*arguments)
    found[:2] = found[1::-1]
    return found


def wider_skip(spread, model):
    found = spread(model)
    return found | {"pool4": found["pool4"] * 1.1}


def kernel_moved(kernel, factor, channels):
    """Shift the tent by a tenth of a pixel of the output."""
    found = kernel(factor, channels)
    return np.float32(0.9 * found + 0.1 * np.roll(found, 1, axis=1))


def padded_with_zeros(self, scores):
    return keras.ops.pad(scores, [[0, 0], [1, 1], [1, 1], [0, 0]])


def same_every_epoch(generator, seed=None):
    if isinstance(seed, list) and seed[2:] == [1]:
        seed = [seed[0], 0, 1]
    return generator(seed)


def score_of_policy(score, features, num_classes, source):
    options = {"kernel_initializer": "zeros", "name": f"score_{source}"}
    return keras.layers.Conv2D(num_classes, 1, **options)(features)


def smaller_start(connected, x, *arguments):
    features = connected(x, *arguments)
    fc6 = keras.Model(x, features).get_layer("fc6")
    fc6.kernel.assign(fc6.kernel / 1.1)
    return features


PIXEL = np.float32([0, 1, 0, 1]) / made.SIZE
MUTATIONS = {
    "rate x 1.1": (scaled("learning_rate", 1.1), "32s rates"),
    "backbone's rate x 1.1": (scaled("backbone_factor", 1.1), "32s variables"),
    "decay x 1.1": (scaled("weight_decay", 1.1), "32s variables"),
    "schedule's end x 1.1": (
        answering(
            keras.optimizers.schedules,
            "CosineDecay",
            lambda kind, *a, alpha, **k: kind(*a, alpha=alpha * 1.1, **k),
        ),
        "32s rates",
    ),
    "order, two photos": (answering(batching.Plan, "places", two_swapped), "32s order"),
    "crop, one pixel": (
        answering(batching, "windows", lambda windows, draws: windows(draws) + PIXEL),
        "32s inputs",
    ),
    "crop, zoom x 1.1": (
        lambda patch: patch.setattr(batching, "MAX_ZOOM", batching.MAX_ZOOM * 1.1),
        "32s inputs",
    ),
    "Dice's weight x 1.1": (scaled("dice_weight", 1.1), "32s loss"),
    "skip scale x 1.1": (
        answering(vgg16, "feature_spread", wider_skip),
        "at_once s16 logits",
    ),
    "a frozen block": (
        answering(training, "freeze", lambda freeze, m, blocks: freeze(m, blocks[:1])),
        "32s variables",
    ),
    "upsampling, a tenth of a pixel": (
        answering(surgery, "bilinear_kernel", kernel_moved),
        "at_once s32 logits",
    ),
    "upsampling, edges": (
        lambda patch: patch.setattr(fcn.PadEdges, "call", padded_with_zeros),
        "at_once s32 logits",
    ),
    "dropout x 1.1": (
        answering(fcn, "build", lambda build, *a, **k: build(*a, dropout=0.55, **k)),
        "32s dropout",
    ),
    "Adam's memory": (adam(beta_1=0.8), "32s steps"),
    "Adam's long memory": (adam(beta_2=0.99), "32s optimizer"),
    "augmentation, the same every epoch": (
        answering(pets.np.random, "default_rng", same_every_epoch),
        "32s inputs",
    ),
    "seeds": (
        answering(pets, "load", lambda f, *a, seed=0, **k: f(*a, seed=seed // 3, **k)),
        "32s order",
    ),
    "resizing": (
        answering(
            pet_records.tf.image,
            "resize",
            lambda resize, image, size, *_, **__: resize(image, size, "nearest"),
        ),
        "32s inputs",
    ),
    "scores in 16 bits": (answering(fcn, "_score", score_of_policy), "types"),
    "start of fc6 / 1.1": (
        answering(fcn, "_fully_connected", smaller_start),
        "32s start",
    ),
}


def differing(table):
    """Return the parts of the first stage, and of the networks, that differ."""
    now = probe.of(TABLE, table | {"epochs": table["epochs"][:1]})
    kept = {part: table["probe"][part] for part in now}
    return [sentence.partition(":")[0] for sentence in probe.differences(kept, now)]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.setattr(recipe, "STAGES", recipe.STAGES[:1])
    return environment.results(TABLE)


def test_the_first_stage_alone_is_looked_at_rightly(table):
    assert differing(table) == []


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.slow
def test_a_mutation_is_seen(name, table, monkeypatch):
    mutate, part = MUTATIONS[name]
    mutate(monkeypatch)
    found = differing(table)
    assert part in found
    # And it is that mutation which is seen: the rest of the recipe ran as before.
    assert ("32s order" in found) == (part == "32s order")


# What changes no number


class Renamed(ast.NodeTransformer):
    """Gives every local variable of a function another name; arguments keep theirs."""

    def visit_FunctionDef(self, node):
        arguments = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        names = {
            n.id
            for n in ast.walk(node)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        } - arguments
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and inner.id in names:
                inner.id = f"renamed_{inner.id}"
        self.count = getattr(self, "count", 0) + len(names)
        return node


def rewritten(source):
    """Rename all local variables of a module; put its functions in another order."""
    tree, renamed = ast.parse(source), Renamed()
    renamed.visit(tree)
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    others = [n for n in tree.body if not isinstance(n, ast.FunctionDef)]
    random.Random(0).shuffle(functions)
    tree.body = others + functions
    assert renamed.count > 20 and len(functions) > 10
    return ast.unparse(tree)


@pytest.mark.slow
def test_other_names_and_another_order_are_not_seen(tmp_path):
    for part in ("benchmarks", "data", "results", "tools", "utils"):
        ignored = shutil.ignore_patterns("cache", "__pycache__")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=ignored)
    path = tmp_path / "utils" / "fcn.py"
    source = rewritten(path.read_text())
    path.write_text(f"{source}\nprint(clone.__code__.co_varnames)\n")
    command = [sys.executable, "-m", "tools.results.probe", TABLE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said, *last = done.stdout.splitlines()
    assert said == "('model', 'renamed_bare', 'renamed_copy')", "the copy did not run"
    assert last == [f"{TABLE}: holds"], done.stderr


# The tool


def test_a_recorded_part_is_never_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(probe, "of", lambda name, table: {"a": "1 2", "b loss": "3"})
    path = tmp_path / "results" / "scale.json"
    environment.write_json(path, {"kept": 1, "probe": {"a": "1 2"}})
    monkeypatch.setattr(sys, "argv", ["probe", "--record", "scale"])
    assert probe.main() == 0
    recorded = {"kept": 1, "probe": {"a": "1 2", "b loss": "3"}}
    assert json.loads(path.read_text()) == recorded
    near = recorded["probe"] | {"b loss": "3.000001"}
    monkeypatch.setattr(probe, "of", lambda name, table: near)
    assert probe.main() == 0
    assert json.loads(path.read_text()) == recorded
    changed = {"a": "1 4", "b loss": "3", "c": "5"}
    monkeypatch.setattr(probe, "of", lambda name, table: changed)
    assert probe.main() == 1
    assert json.loads(path.read_text()) == recorded
    said = capsys.readouterr().out.splitlines()
    assert said[2:] == [
        "scale: differs",
        "  a: value 2 is 4, recorded is 2",
    ]


def test_parts_are_compared_each_with_its_own_tolerance():
    old = {"x loss": "1.0", "x order": "1 2", "x names": "a b", "x steps": "1 1"}
    near = {"x loss": "1.000001", "x order": "1 2", "x names": "a b", "x steps": "1 1"}
    assert probe.differences(old, near) == []
    far = {"x loss": "1.001", "x order": "1 3", "x names": "a c", "x steps": "1"}
    assert [said.partition(":")[0] for said in probe.differences(old, far)] == list(far)
    assert probe.differences(old, {}) == [f"{part} is gone" for part in old]
    nan = {"x loss": "nan", "x order": "1 2", "x names": "a b", "x steps": "1 1"}
    assert len(probe.differences(old, nan)) == 1


def test_an_unknown_result_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["probe", "fresh_clone"])
    with pytest.raises(SystemExit, match="2"):
        probe.main()
    assert "fresh_clone has no probe" in capsys.readouterr().err


# The inputs


def test_light_and_window_do_not_hide_which_photo_it_is():
    draws = np.random.default_rng(0).random((made.PHOTOS, batching.NUM_DRAWS))
    images = np.stack([made.photo(number) for number in range(made.PHOTOS)])
    masks = np.zeros(images.shape[:3], np.uint8)
    changed, _ = batching.augment(images, masks, np.float32(draws))
    assert [made.number_of(image) for image in changed] == list(range(made.PHOTOS))


def test_made_numbers_look_random_and_stay_the_same():
    found = made.numbers((1000, 100), "x")
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() < 1
    assert np.histogram(found, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.05)
    assert abs(np.corrcoef(found[:-1].ravel(), found[1:].ravel())[0, 1]) < 0.02
    assert made.numbers((3,), "x").tolist() == found.ravel()[:3].tolist()
    assert made.numbers((3,), "y").tolist() != found.ravel()[:3].tolist()
