"""The tool behind the tables: killed, out of disk, resumed; and what it refuses."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import official_folder
import pytest
from conftest import ROOT, THIN

from tools import reproduce
from tools.results import probe, recipe
from utils import environment, networks, pets, predict

# The whole tool on a VGG16 of few channels, at home in a folder of the test's. A photo
# of 32 px takes a moment; sleeping makes a run long enough to be hit anywhere.
PROGRAM = """
import pathlib, resource, signal, sys, time
from tools import reproduce
from tools.results import probe, recipe
from utils import environment, pet_records, training, vgg16
vgg16.BLOCKS = {thin}
environment.ROOT = pathlib.Path.cwd()
environment.CACHE = pet_records.CACHE = environment.ROOT / "cache"
(environment.ROOT / "notebooks" / "figures").mkdir(parents=True, exist_ok=True)
recipe.SLIM = {{"fc_units": 8, "fc_kernel": 1, "weights": None}}
probe.of = lambda name, table: {{}}
largest = {largest}
if largest:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
saved = training.Checkpoints.on_epoch_end
def slowly(*arguments, **options):
    saved(*arguments, **options)
    time.sleep({pause})
training.Checkpoints.on_epoch_end = slowly
sys.exit(reproduce.main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("official") / "pets")


def start(home, folder, *words, pause=0.0, largest=0):
    """Start the tool as a process; stdout and stderr go to files in its home."""
    home.mkdir(exist_ok=True)
    options = f"""--dataset {folder} --image-size 32 --epochs 2 2 2 --seeds 3 4
        --precision mixed_bfloat16 --batch-size 4 --out tiny"""
    program = PROGRAM.format(pause=pause, largest=largest, thin=THIN)
    command = [sys.executable, "-c", program, *options.split(), *words]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with open(home / "out", "a") as out, open(home / "error", "w") as error:
        return subprocess.Popen(command, cwd=home, env=env, stdout=out, stderr=error)


def errors(home):
    """Return what the tool itself said on stderr; TensorFlow logs there too."""
    lines = (home / "error").read_text().splitlines()
    assert not any("Traceback" in line for line in lines), "\n".join(lines)
    return [line for line in lines if line.startswith(("error:", "stopped"))]


MODELS = [f"seed3/{name}" for name in recipe.ORDER] + [
    f"seed4/{name}" for name in recipe.STAGES
]


def weights(home):
    """Hash the weights of every model of a run that is finished."""
    folder = home / "build" / "models" / "tiny"
    left = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    expected = {f"{name}{end}" for name in MODELS for end in (".keras", ".json")}
    expected |= {f"{stage}.keras" for stage in recipe.STAGES}
    assert left == expected | {
        "settings.json",
        "seed3/result.json",
        "seed4/result.json",
    }
    found = {}
    for name in MODELS:
        model = networks.load_model(folder / f"{name}.keras")
        assert model.get_layer("fc6").compute_dtype == "bfloat16", name
        arrays = b"".join(array.tobytes() for array in model.get_weights())
        found[name] = hashlib.sha256(arrays).hexdigest()
    return found


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The home of a run that nothing has disturbed."""
    home = tmp_path_factory.mktemp("whole")
    assert start(home, folder).wait(timeout=300) in (0, 1)  # 1: 8s not above 16s
    return home


@pytest.mark.slow
def test_everything_is_written(whole):
    table = json.loads((whole / "results" / "tiny.json").read_text())
    assert sorted(table["seeds"]["3"]["test"]) == sorted(recipe.ORDER)
    assert sorted(table["seeds"]["4"]["test"]) == sorted(recipe.STAGES)
    assert table["summary"] == reproduce.summary(table["seeds"])
    assert (whole / "notebooks" / "figures" / "tiny.jpg").stat().st_size > 1000
    hashes = weights(whole)
    assert len(set(hashes.values())) == len(MODELS)
    said = (whole / "out").read_text()
    for name in recipe.ORDER:
        seed = table["seeds"]["3"]
        assert seed["seconds"][name] >= 0
        assert 0.1 < seed["peak_memory_gb"][name] < 20
        assert said.count(f"seed 3: {name} test mean IoU") == 1


@pytest.mark.slow
def test_the_first_seeds_networks_leave_with_what_they_were_trained_on(whole):
    folder = whole / "build" / "models" / "tiny"
    for stage in recipe.STAGES:
        leaves = predict.load_network(folder / f"{stage}.keras")
        known = networks.trained_on(leaves)
        assert (known.image_size, known.class_names) == (32, pets.CLASS_NAMES["trimap"])
        kept = networks.load_model(folder / "seed3" / f"{stage}.keras")
        for ours, theirs in zip(leaves.weights, kept.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def settled(home):
    """Return when a run last began, or 0."""
    path = home / "build" / "models" / "tiny" / "settings.json"
    return path.stat().st_mtime if path.is_file() else 0


def run_with_kills(home, folder, times, seed):
    """Kill the run this often at random moments, then let it end."""
    generator = random.Random(seed)
    for _ in range(times):
        before = settled(home)
        process = start(home, folder, "--resume", pause=0.5)
        while settled(home) == before and process.poll() is None:
            time.sleep(0.1)
        time.sleep(generator.uniform(0, 8))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(home, folder, "--resume").wait(timeout=300) in (0, 1)


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(whole, folder, tmp_path):
    seed = random.randrange(10**6)
    run_with_kills(tmp_path, folder, 2, seed)
    assert weights(tmp_path) == weights(whole), f"killed by the random seed {seed}"
    tables = [
        json.loads((home / "results" / "tiny.json").read_text())["seeds"]
        for home in (tmp_path, whole)
    ]
    for one, other in zip(*map(dict.values, tables), strict=True):
        assert one["test"] == other["test"]


@pytest.mark.long
@pytest.mark.parametrize("number", range(3))
def test_killed_many_times(whole, folder, tmp_path, number):
    seed = random.randrange(10**6)
    run_with_kills(tmp_path, folder, 6, seed)
    assert weights(tmp_path) == weights(whole), f"killed by the random seed {seed}"


@pytest.mark.slow
def test_a_full_disk_is_said_and_costs_no_checkpoint(whole, folder, tmp_path):
    models = tmp_path / "build" / "models" / "tiny"
    process = start(tmp_path, folder)
    while not (models / "seed3" / "32s.keras").is_file() and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = (models / "seed3" / "32s.keras").read_bytes()
    # No file may grow beyond this: enough for settings, not for a checkpoint.
    assert start(tmp_path, folder, "--resume", largest=20_000).wait(timeout=300) == 2
    (sentence,) = errors(tmp_path)
    assert "cannot be written" in sentence and "make room" in sentence
    assert (models / "seed3" / "32s.keras").read_bytes() == before
    assert start(tmp_path, folder, "--resume").wait(timeout=300) in (0, 1)
    assert weights(tmp_path) == weights(whole)


def refused(monkeypatch, capsys, tmp_path, folder, *words):
    """Run the tool in this process up to its refusal; return the sentence."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "prepare", lambda *_, **__: "")
    monkeypatch.setattr(probe, "of", lambda name, table: {})
    monkeypatch.setattr(pets.records, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(
        sys, "argv", ["reproduce", "--dataset", str(folder), "--out", "tiny", *words]
    )
    code = reproduce.main()
    (sentence,) = capsys.readouterr().err.splitlines()
    return code, sentence


@pytest.mark.parametrize("content", ["{}", '{"task": ', None])
def test_what_is_not_this_run_is_not_resumed(
    monkeypatch, capsys, tmp_path, folder, content
):
    models = tmp_path / "build" / "models" / "tiny"
    (models / "seed0").mkdir(parents=True)
    if content is not None:
        (models / "settings.json").write_text(content)
    code, sentence = refused(monkeypatch, capsys, tmp_path, folder, "--resume")
    assert code == 2 and "without --resume" in sentence
    assert (models / "seed0").is_dir()
    kept = models / "settings.json"
    assert (kept.read_text() if kept.is_file() else None) == content


def test_an_earlier_run_is_put_aside(tmp_path):
    folder = tmp_path / "build" / "models" / "tiny"
    for number in range(3):
        reproduce.prepared(folder, {"number": number}, resume=False)
        (folder / "model").write_text(str(number))
    assert (folder.with_name("tiny.before") / "model").read_text() == "1"
    reproduce.prepared(folder, {"number": 2}, resume=True)
    assert (folder / "model").read_text() == "2"


def test_a_run_goes_on_with_code_that_does_the_same_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    folder = tmp_path / "build" / "models" / "tiny"
    wanted = {"task": "trimap", "probe": {"32s loss": "1", "32s order": "3 1 2"}}
    reproduce.prepared(folder, wanted, resume=False)
    near = wanted | {"probe": wanted["probe"] | {"32s loss": "1.000001"}}
    reproduce.prepared(folder, near, resume=True)
    far = wanted | {"probe": wanted["probe"] | {"32s order": "1 3 2"}}
    for other in (far, wanted | {"task": "species"}, {"task": "trimap"}):
        with pytest.raises(ValueError, match="run without --resume"):
            reproduce.prepared(folder, other, resume=True)


def test_a_folder_that_cannot_be_made_is_named(monkeypatch, capsys, tmp_path, folder):
    (tmp_path / "build").write_text("a file in the way")
    code, sentence = refused(monkeypatch, capsys, tmp_path, folder)
    assert code == 2 and "build" in sentence


def test_unknown_data_is_refused(monkeypatch, capsys, tmp_path):
    code, sentence = refused(monkeypatch, capsys, tmp_path, "nowhere")
    assert code == 2 and "unknown data set 'nowhere'" in sentence


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "0", "1", "1"],
        ["--seeds", "-1"],
        ["--out", "a/b"],
        ["--out", ".."],
        ["--out", "memory"],  # a benchmark's
        ["--image-size", "0"],
        ["--batch-size", "0"],
        ["--seeds", "50000000"],
        ["--task", "nonsense"],
        ["--freeze", "6"],
        ["--precision", "float8"],
    ],
)
def test_wrong_usage_is_refused(monkeypatch, capsys, words):
    monkeypatch.setattr(sys, "argv", ["reproduce", *words])
    with pytest.raises(SystemExit, match="2"):
        reproduce.main()
    assert words[0] in capsys.readouterr().err


# Its tables


def seeds(*rows):
    return {
        str(number): {"test": {k: {"mean_iou": v} for k, v in row.items()}}
        for number, row in enumerate(rows)
    }


def test_order_is_wanted_seed_by_seed_and_beyond_their_range():
    good = {"32s": 0.5, "16s": 0.6, "8s": 0.7}
    assert reproduce.out_of_order(seeds(good, good)) == []
    worse = {"32s": 0.5, "16s": 0.6, "8s": 0.59}
    (one, two) = reproduce.out_of_order(seeds(good, worse))
    assert one == "seed 1: 8s is not above 16s"
    assert two.startswith("8s is above 16s by 0.0450, no more than")


TABLES = {
    "oxford-pets-sample_trimap": ([0, 1, 2], 3),
    "oxford-pets-sample_species": ([0], 3),
    "synthetic_pets_trimap": ([0, 1, 2], 3),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole(name):
    wanted_seeds, num_classes = TABLES[name]
    table = environment.results(name)
    assert sorted(map(int, table["seeds"])) == wanted_seeds
    for seed in table["seeds"].values():
        assert set(recipe.STAGES) <= set(seed["test"])
        for figures in seed["test"].values():
            assert len(figures["iou"]) == num_classes
            assert figures["mean_iou"] == pytest.approx(np.mean(figures["iou"]))
    assert table["summary"] == reproduce.summary(table["seeds"])
    if table["task"] == "trimap":
        assert {"32s_control", "16s_control"} <= set(table["summary"])
        assert reproduce.out_of_order(table["seeds"]) == []


def test_precision_is_the_hardware_s_unless_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reproduce"])
    assert reproduce.parsed().precision == environment.precision_policy()
