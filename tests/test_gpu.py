"""The run for a GPU, rehearsed on a CPU: whole, killed half-way, with damaged files."""

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import official_folder
import pytest
from conftest import ROOT
from PIL import Image

from benchmarks import gpu, train_step, trials
from tools.results import pack as packing
from tools.results import recipe
from utils import batching, environment, fcn, networks, pet_records

# As on a machine that has no TensorFlow.
PROGRAM = """
import runpy, sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] == "tensorflow" else find(name, *rest)
)
sys.argv[0] = "benchmarks/gpu.py"
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=False)
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Return a folder with packed photos of 64 px, and the weights of a tiny VGG16."""
    home = tmp_path_factory.mktemp("gpu")
    folder, target = official_folder.make(home / "pets", 11, 6), home / "pack"
    target.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pet_records, "CACHE", home / "cache")
        patch.setattr(packing, "FEW", 9)  # dogs are 9 of 17, cats 8
        np.savez(target / gpu.PHOTOS, **packing.packed(str(folder), 64, 90))
    random, channels, arrays = np.random.default_rng(0), 3, {}
    arrays["mean_subtraction/0"] = np.float16([124, 117, 104])
    for block, (depth, filters) in enumerate(gpu.TINY, start=1):
        for number in range(1, depth + 1):
            name = f"block{block}_conv{number}"
            kernel = random.normal(0, 0.2, (3, 3, channels, filters + 2))
            arrays[f"{name}/0"] = np.float16(kernel)
            arrays[f"{name}/1"] = np.zeros(filters + 2, np.float16)
            channels = filters + 2
    np.savez(target / gpu.WEIGHTS, **arrays)
    return target


def start(backend, pack, out):
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "--rehearse",
        "--pack",
        pack,
        "--out",
        out,
    ]
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": backend},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def leaves(value):
    """Return all numbers of a nested result."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for one in inner for number in leaves(one)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "done"),  # tasks that have ended at the kill
    [("jax", 1), *(pytest.param("jax", n, marks=pytest.mark.long) for n in (0, 2, 3))]
    + [pytest.param("torch", n, marks=pytest.mark.long) for n in (0, 1, 2, 3)],
)
def test_killed_and_started_again_the_rehearsal_ends(backend, done, pack, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    file, run = tmp_path / "gpu.json", start(backend, pack, tmp_path)
    while (len(json.loads(file.read_text())["tasks"]) if file.is_file() else 0) < done:
        assert run.poll() is None, run.communicate()[0]
        time.sleep(0.05)
    time.sleep(8 if done == 0 else 1)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    before = json.loads(file.read_text())["tasks"] if file.is_file() else {}
    assert len(before) < len(gpu.REHEARSED)
    again = start(backend, pack, tmp_path)
    said = again.communicate()[0]
    assert again.returncode == 0, said
    found = json.loads(file.read_text())
    tasks = found["tasks"]
    assert list(tasks) == list(gpu.REHEARSED) and found["rehearsal"] is True
    assert {name: tasks[name] for name in before} == before
    assert not any(f"{name}: predicted" in said for name in before)
    assert set(found["not_run"]) == set(gpu.TASKS) - set(tasks)
    assert found["backend"] == backend and found["device"].startswith("CPU")
    assert np.isfinite(leaves(tasks)).all()
    stages = tasks["recipe seed 0"]["stages"]
    assert all(0 < stages[stage]["test"] <= 1 for stage in gpu.STAGES)
    long = tasks["long"]
    assert set(long["scores"]["test"]) == {"s32", "s16", "s8"}
    for name, score in long["scores"]["test"].items():
        assert long["int8_scores"]["test"][name] == pytest.approx(score, abs=0.05)
    assert long["bytes"] == (tmp_path / "fcn_at_once_int8.npz").stat().st_size


# What is wrong is said in a sentence


def changed(folder, pack, name, **arrays):
    """Copy a pack; replace arrays of one of its files, or take out those of None."""
    for file in (gpu.PHOTOS, gpu.WEIGHTS):
        (folder / file).write_bytes((pack / file).read_bytes())
    known = gpu.read(folder / name) | arrays
    np.savez(folder / name, **{k: v for k, v in known.items() if v is not None})
    return folder


def run_main(monkeypatch, capsys, pack, out, side=64):
    words = ["gpu.py", "--pack", str(pack), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(gpu.vgg16, "BLOCKS", gpu.TINY)
    monkeypatch.setattr(gpu, "SIDE", side)
    monkeypatch.setattr(gpu, "TASKS", {"recipe seed 0": {"seed": 0}})
    monkeypatch.setattr(environment, "on_gpu", lambda: True)
    status, said = gpu.main(), capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return status, said


def test_without_a_gpu_it_says_so_and_ends_with_2(monkeypatch, capsys, pack, tmp_path):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--pack", str(pack)])
    assert gpu.main() == 2
    assert "sees no GPU; --rehearse" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "arrays", "sentence"),
    [
        (gpu.PHOTOS, {"masks": None}, "pets.npz has no masks"),
        (gpu.PHOTOS, {"classes": np.array(["cat", "dog"])}, "holds other classes than"),
        (gpu.WEIGHTS, {"block3_conv1/1": None}, "no weights for block3_conv1"),
        (gpu.WEIGHTS, {"block1_conv1/0": np.ones((3, 3, 3, 2))}, "for block1_conv1"),
    ],
)
def test_a_pack_of_something_else(
    monkeypatch, capsys, pack, tmp_path, file, arrays, sentence
):
    folder = changed(tmp_path, pack, file, **arrays)
    status, said = run_main(monkeypatch, capsys, folder, tmp_path / "out")
    assert status == 2 and sentence in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", [gpu.PHOTOS, gpu.WEIGHTS])
@pytest.mark.parametrize("end", [None, 0, 1000, -1000])
def test_a_damaged_or_missing_file(monkeypatch, capsys, pack, tmp_path, file, end):
    folder = changed(tmp_path, pack, file)
    content = (folder / file).read_bytes()
    (folder / file).unlink() if end is None else (folder / file).write_bytes(
        content[:end]
    )
    status, said = run_main(monkeypatch, capsys, folder, tmp_path / "out")
    assert status == 2
    assert f"{file} {'does not exist' if end is None else 'is damaged'}" in said


def test_a_pack_of_smaller_photos_is_refused(monkeypatch, capsys, pack, tmp_path):
    status, said = run_main(monkeypatch, capsys, pack, tmp_path / "out", side=448)
    assert status == 2 and "pictures of 64 px and 448 are needed" in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "is damaged"), ("[1]", "is damaged"), ('{"tasks": {}}', "is damaged")],
)
def test_results_that_cannot_be_gone_on_with(
    monkeypatch, capsys, pack, tmp_path, content, sentence
):
    (tmp_path / "gpu.json").write_text(content)
    status, said = run_main(monkeypatch, capsys, pack, tmp_path)
    assert status == 2 and f"gpu.json {sentence}" in said
    assert (tmp_path / "gpu.json").read_text() == content


def test_results_of_another_machine_are_kept(monkeypatch, capsys, pack, tmp_path):
    about = {"device": "NVIDIA Other", "backend": "jax", "rehearsal": False}
    (tmp_path / "gpu.json").write_text(json.dumps(about | {"tasks": {}}))
    status, said = run_main(monkeypatch, capsys, pack, tmp_path)
    assert status == 2 and "another machine or version; give another --out" in said


def test_a_full_disk_is_said(monkeypatch, capsys, pack, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(gpu, "alone", lambda *_: {"some": "result"})
    status, said = run_main(monkeypatch, capsys, pack, tmp_path / "file" / "out")
    assert status == 2 and "gpu.json cannot be written" in said


# The numbers


def test_the_pack_holds_the_photos_and_masks(pack):
    data = gpu.photographs(pack, 64)
    assert [len(images) for images, _ in data.values()] == [11, 6, 3]
    assert set(np.unique(data["train"][1])) == {0, 1, 2}
    small = gpu.photographs(pack, 32)["test"][1]
    # Half-pixel centres: of two by two pixels the lower right one.
    np.testing.assert_array_equal(small, data["test"][1][:, 1::2, 1::2])
    files = [Image.fromarray(official_folder.photo(n)) for n in range(1, 12)]
    files = [one.resize((64, 64), Image.Resampling.BILINEAR) for one in files]
    far = [np.abs(np.float32(one) - data["train"][0]).mean((1, 2, 3)) for one in files]
    assert max(map(min, far)) < 8 and sorted(map(np.argmin, far)) == list(range(11))


def test_int8_keeps_each_weight_within_half_a_step(pack):
    model = fcn.build("at_once", 3, fc_units=8, fc_kernel=1, weights=None)
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.1, w.shape) for w in model.get_weights()]
    model.set_weights(weights)
    arrays = gpu.as_int8(model)
    networks.restore(model, arrays)
    for number, (one, two) in enumerate(zip(weights, model.get_weights(), strict=True)):
        step = arrays.get(f"{number} scale", np.float32(1e-6))
        assert (np.abs(one - two) <= 0.501 * step + 1e-7).all()
    assert sum(array.dtype == np.int8 for array in arrays.values()) == 15


@pytest.mark.parametrize("head", gpu.HEADS)
def test_operations_are_those_of_the_network(head):
    photo, (units, kernel) = np.ones((1, 224, 224, 3)), gpu.HEADS[head]
    slim = fcn.build("32s", 3, fc_units=512, fc_kernel=1, weights=None)
    counted = train_step.multiply_adds(slim, photo)
    # Only fc6 and fc7 differ: 7x7 cells, each with all weights of both.
    counted += 49 * (512 * units * kernel**2 + units**2 - 2 * 512**2)
    assert gpu.operations(head, 224) == pytest.approx(6 * counted, rel=0.02)


def test_the_recipe_is_that_of_the_tables():
    assert gpu.RECIPE == recipe.RECIPE
    table = environment.results("oxford-pets-sample_trimap")
    assert list(gpu.STAGES.values()) == table["epochs"]
    assert tuple(gpu.STAGES) == recipe.STAGES
    slim = recipe.SLIM["fc_units"], recipe.SLIM["fc_kernel"]
    assert {"slim": slim, "paper": (4096, 7)} == gpu.HEADS


@pytest.mark.parametrize("side", [32, 33])
def test_photos_on_the_device_change_as_the_recipe_s_do(pack, side):
    options = {"shuffle": True, "augment": True, "seed": 4}
    pair = gpu.photographs(pack, side)["train"]
    there, plain = (
        kind(*pair, batch_size=4, **options) for kind in (gpu.OnDevice, gpu.Batches)
    )
    for epoch in (0, 1, 3):
        there.plan.epoch = plain.plan.epoch = epoch
        for batch in range(len(plain)):
            (images, masks), (right, right_masks) = there[batch], plain[batch]
            # Grey levels: the two average a photo in another order.
            np.testing.assert_allclose(images, right, atol=1e-3)
            np.testing.assert_array_equal(masks, right_masks)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo noise; echo '{\"a\": 1}'", {"a": 1}),
        ("echo '{\"a\": 1}'; exit 3", None),
        ("sleep 9", None),
        ("echo noise", None),
        ("true", None),
    ],
)
def test_a_task_alone_is_read_or_given_up(monkeypatch, tmp_path, script, found):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(gpu.sys, "executable", str(program))
    assert gpu.alone("long", argparse.Namespace(slowest=1)) == found


def test_an_int8_network_needs_nothing_of_the_one_it_comes_from(pack, monkeypatch):
    monkeypatch.setattr(gpu.vgg16, "BLOCKS", gpu.TINY)
    monkeypatch.setattr(gpu.vgg16, "imagenet_weights", gpu.vgg16.imagenet_weights)
    photo, logits = np.float32(gpu.photographs(pack, 64)["test"][0][:1]), []
    trained = gpu.build("at_once", "slim", pack)
    # Scores begin at zero: random ones, so that the features count.
    trained.set_weights(
        [
            np.random.default_rng(n).normal(0, 0.1, value.shape) + value
            for n, value in enumerate(trained.get_weights())
        ]
    )
    stored = gpu.as_int8(trained)
    fresh = fcn.build("at_once", 3, fc_units=8, fc_kernel=1, weights=None)
    for model in (trained, fresh):
        networks.restore(model, stored)
        logits.append(np.stack(list(model(photo, training=False).values())))
    assert np.abs(logits[0]).max() > 1
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-5, atol=1e-5)


# The trials of recipes


@pytest.mark.slow
def test_a_trial_scores_what_it_did_not_train_on(pack):
    program = PROGRAM.replace("gpu", "trials")
    words = ["--rehearse", "--trial", "320 px, gentle", "--fold", "1", "--pack", pack]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["trial"], row["fold"]) == ("320 px, gentle", 1)
    assert row["changes"] == trials.TRIALS["320 px, gentle"] | {
        "sides": [[18, 320]],
        "backbone": list(trials.GENTLE["backbone"]),
    }
    assert list(row["scores"]) == ["32", "48"] and len(row["loss"]) == 2
    assert np.isfinite(leaves(row)).all()


def test_folds_share_out_the_trainval_photos(pack):
    images, _ = gpu.photographs(pack, 32)["train"]
    held = [trials.folded(pack, 32, fold) for fold in range(4)]
    for part in held:
        parts = [part["train"][0], part["validation"][0]]
        assert sorted(map(bytes, np.concatenate(parts))) == sorted(map(bytes, images))
    apart = np.concatenate([part["validation"][0] for part in held])
    assert sorted(map(bytes, apart)) == sorted(map(bytes, images))


def test_sizes_grow_with_the_epochs(pack):
    sides, options = (32, 48), {"batch_size": 4, "seed": 3, "augment": True}
    pairs = {side: gpu.photographs(pack, side)["train"] for side in sides}
    photos = trials.Growing([(2, *pairs[32]), (1, *pairs[48])], **options)
    for epoch, side in ((0, 32), (1, 32), (2, 48), (3, 48)):  # one is asked for ahead
        expected = batching.Batches(*pairs[side], **options).made(epoch, 1)
        for one, other in zip(photos.made(epoch, 1), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=0.01)


def test_each_block_has_its_own_rate(thin):
    factors = trials.GENTLE["backbone"]
    model = fcn.build("32s", 3, weights=None)
    optimizer = trials.AdamW(backbone_factor=factors)
    optimizer.build(model.trainable_variables)
    found = {
        v.path: f
        for v, f in zip(model.trainable_variables, optimizer._factors, strict=True)
    }
    for path, factor in found.items():
        block = path.partition("block")[2][:1]
        assert factor == (factors[int(block) - 1] if block else 1.0)
    assert set(found.values()) == {*factors, 1.0}
