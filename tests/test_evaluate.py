"""The evaluation tool against scikit-learn and plain loops, and what it refuses."""

import argparse
import itertools
import json
import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import official_folder
import pytest
import sklearn.metrics
import tensorflow as tf
from conftest import ROOT
from PIL import Image

from tools import evaluate, reproduce
from utils import environment, fcn, networks, pets, predict

TABLES = {"trimap": 5, "species": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return official_folder.make(tmp_path_factory.mktemp("official") / "pets", test=11)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that answers with all three classes: random scores, no training."""
    keras.utils.set_random_seed(1)
    network = fcn.build("8s", 3, fc_units=8, fc_kernel=1, weights=None)
    random = np.random.default_rng(0)
    for name in ("score_fc7", "score_pool4", "score_pool3"):
        layer = network.get_layer(name)
        layer.set_weights([random.normal(0, 1, w.shape) for w in layer.get_weights()])
    photo = official_folder.photo(1, 64, 64)[None].astype("float32")
    # No class ahead of the others on the whole, so that all of them are answered.
    score = network.get_layer("score_fc7")
    kernel, bias = score.get_weights()
    score.set_weights([kernel, bias - np.mean(network(photo), axis=(0, 1, 2))])
    known = networks.remember(network, 64, pets.CLASS_NAMES["trimap"])
    path = tmp_path_factory.mktemp("models") / "tiny.keras"
    networks.save_model(known, path)
    return path


def run(monkeypatch, home, *words):
    """Run the tool as from the shell, its results at home; return the exit status."""
    monkeypatch.setattr(environment, "ROOT", home)
    monkeypatch.setattr(environment, "command", lambda: "tested")
    monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, words)])
    return evaluate.main()


@pytest.fixture(scope="module")
def found(folder, model, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        words = ("--model", model, "--dataset", folder, "--out", "x")
        assert run(patch, home, *words) == 0
    return json.loads((home / "results" / "x.json").read_text())


def answers(folder, model, size=64):
    """Masks and logits at the network's size, as a user would compute them."""
    network = predict.load_network(model)
    batches = pets.load(folder, "test", image_size=size, batch_size=3)
    pairs = [(m.numpy(), network(x, training=False).numpy()) for x, m in batches]
    masks, logits = zip(*pairs, strict=True)
    return np.concatenate(masks), np.concatenate(logits)


def iou_of(mask, guess, average=None):
    """Return scikit-learn's IoU per class, or their "macro" mean."""
    return sklearn.metrics.jaccard_score(mask.ravel(), guess.ravel(), average=average)


def test_the_network_really_answers_with_every_class(folder, model):
    _, logits = answers(folder, model)
    assert set(np.unique(logits.argmax(-1))) == {0, 1, 2}


@pytest.mark.slow
def test_figures_at_the_networks_size(found, folder, model):
    masks, logits = answers(folder, model)
    guess = logits.argmax(-1)
    row = found["networks"]["tiny"]
    np.testing.assert_allclose(row["network_size"]["iou"], iou_of(masks, guess))
    each = [iou_of(m, g, "macro") for m, g in zip(masks, guess, strict=True)]
    assert row["per_photo_mean_iou"] == pytest.approx(np.mean(each))
    assert row["worst"][0]["mean_iou"] == pytest.approx(min(each))
    low, high = row["interval"]
    assert low < row["network_size"]["mean_iou"] < high
    background = np.mean(masks == 1)
    assert row["floor"]["pixel_accuracy"] == pytest.approx(background)
    assert row["floor"]["mean_iou"] == pytest.approx(background / 3)


def test_figures_at_the_photos_own_size(found, folder, model):
    network = predict.load_network(model)
    masks, guess = [], []
    for one in pets.load_examples(folder, "test"):
        masks.append(one["mask"].numpy().ravel())
        guess.append(predict.predict(network, one["image"]).argmax(-1).ravel())
    ious = iou_of(np.concatenate(masks), np.concatenate(guess))
    np.testing.assert_allclose(found["networks"]["tiny"]["photo_size"]["iou"], ious)


@pytest.mark.slow
def test_bands_and_distances_pixel_by_pixel(found, folder, model):
    masks, logits = answers(folder, model)
    guess = logits.argmax(-1)
    distance = np.full(masks.shape, np.inf)
    places = np.argwhere(np.ones(masks.shape[1:]))
    for mask, own in zip(masks, distance, strict=True):
        classes = mask.ravel()
        for place, class_id in zip(places, classes, strict=True):
            gaps = np.hypot(*(places[classes != class_id] - place).T)
            own[tuple(place)] = gaps.min()
    row = found["networks"]["tiny"]
    for width in (1, 4, 16):
        band = distance <= width + 1e-6
        expected = iou_of(masks[band], guess[band], "macro")
        assert row["bands"][str(width)] == pytest.approx(expected)
    rates = row["wrong_by_distance"]
    for (low, high), rate in zip(found["ranges"], rates, strict=True):
        near = (distance >= low - 1e-6) & (distance < high - 1e-6)
        expected = np.mean(masks[near] != guess[near]) if near.any() else 0
        assert rate == pytest.approx(expected)


def test_the_border_s_treatments(found, folder, model):
    masks, logits = answers(folder, model)
    row = found["networks"]["tiny"]["treatments"]
    inside = masks != 2
    void = iou_of(masks[inside] == 0, logits[inside][:, 0] > logits[inside][:, 1])
    assert row["border_void"]["pet_iou"] == pytest.approx(void[1])
    as_pet = iou_of(masks != 1, logits.argmax(-1) != 1)
    assert row["border_as_pet"]["pet_iou"] == pytest.approx(as_pet[1])


@pytest.mark.slow
def test_groups_are_all_photos_sorted(found):
    row = found["networks"]["tiny"]
    for members in row["groups"].values():
        assert sum(group["photos"] for group in members.values()) == 11
    # The pets of tests/official_folder.py end before the frame.
    assert row["groups"]["frame"].keys() == {"does not"}
    assert set(row["groups"]["breed"]) == set(pets.LABEL_NAMES["breed"][:2])
    assert sum(row["errors"].values()) == 11


def test_a_breed_is_scored_on_the_classes_it_has():
    """All cats; a few pixels called dog must not cost a third of the mean."""
    cats = np.array([[90, 0, 1], [0, 50, 2], [0, 0, 0]])
    expected = (90 / 91 + 50 / 52) / 2
    assert evaluate.of_true_classes(cats) == pytest.approx(expected)
    both = np.array([[90, 0, 1], [0, 50, 2], [3, 0, 30]])
    whole = float(evaluate.metrics.scores(both)["mean_iou"])
    assert evaluate.of_true_classes(both) == pytest.approx(whole)


def test_kinds_of_error():
    names = pets.CLASS_NAMES["species"]
    mask = np.zeros((80, 80), int)
    mask[20:60, 20:60] = 1
    distance = evaluate.metrics.outline_distance(mask)
    grown, elsewhere = np.zeros_like(mask), mask.copy()
    grown[18:62, 18:62] = 1
    elsewhere[:4] = 1
    cases = {
        "outline": grown,
        "pet missed": np.zeros_like(mask),
        "taken for another class": 2 * mask,
        "pet imagined": elsewhere,
        "none": mask,
    }
    for kind, guess in cases.items():
        assert evaluate.kind_of_error(names, mask, guess, distance) == kind


def broken(path, kind, model):
    """Make a file that is no network one may load."""
    if kind == "damaged":
        path.write_bytes(model.read_bytes()[:2000])
    elif kind == "code":
        inputs = keras.Input((None, None, 3))
        outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
        keras.Model(inputs, outputs).save(path)
    elif kind == "foreign":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", '{"module": "os", "class_name": "system"}')
            archive.writestr("metadata.json", "{}")
            archive.writestr("model.weights.h5", b"")
    elif kind == "classifier":
        inputs = keras.Input((8, 8, 3))
        keras.Model(inputs, keras.layers.Flatten()(inputs)).save(path)
    elif kind in ("two classes", "no size"):
        classes = 2 if kind == "two classes" else 3
        bare = fcn.build("32s", classes, fc_units=4, fc_kernel=1, weights=None)
        networks.save_model(bare, path)
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "is not a .keras file"),
        ("damaged", "cannot be read as a Keras network, in safe mode"),
        ("code", "cannot be read as a Keras network, in safe mode"),
        ("foreign", "cannot be read as a Keras network, in safe mode"),
        ("classifier", "does not turn photos"),
        ("two classes", "tells apart 2 classes, but the task trimap is pet, b"),
        ("no size", "do not know their size; give --image-size"),
    ],
)
def test_models_that_do_not_fit(
    kind, sentence, folder, model, tmp_path, monkeypatch, capsys
):
    path = broken(tmp_path / "m.keras", kind, model)
    words = ("--model", path, "--dataset", folder, "--out", "x")
    assert run(monkeypatch, tmp_path, *words) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert sentence in line
    assert not (tmp_path / "results").exists()


def test_the_task_it_was_trained_for(folder, model, tmp_path, monkeypatch, capsys):
    words = ("--model", model, "--dataset", folder, "--task", "species")
    assert run(monkeypatch, tmp_path, *words) == 2
    assert "tells apart pet, background, border" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--out", "../x"], ["--image-size", "0"], ["--task", "y"]]
)
def test_wrong_usage(words, model, tmp_path, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, "--model", model, *words)
    assert stopped.value.code == 2


@pytest.mark.slow
def test_drawn_pets_are_not_called_by_oxford_s_breeds():
    arguments = argparse.Namespace(
        dataset="synthetic_pets", split="test", task="trimap"
    )
    for one in itertools.islice(evaluate.photographs(arguments, 32), 16):
        assert one["photo"].startswith(one["breed"])


def test_results_of_another_kind_are_kept(model, tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    table = tmp_path / "results" / "table.json"
    table.write_text('{"seeds": {}}')
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, tmp_path, "--model", model, "--out", "table")
    assert stopped.value.code == 2
    assert "table.json holds something else" in capsys.readouterr().err
    assert table.read_text() == '{"seeds": {}}'


@pytest.mark.slow
def test_nothing_but_the_sentence_is_on_stderr(model, tmp_path):
    words = ["--model", model, "--dataset", tmp_path / os.fsdecode(b"gr\xfcn")]
    done = subprocess.run(
        [sys.executable, "-m", "tools.evaluate", *words],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown data set")


def test_data_that_is_not_there(model, tmp_path, monkeypatch, capsys):
    words = ("--model", model, "--dataset", tmp_path / "nowhere")
    assert run(monkeypatch, tmp_path, *words) == 2
    assert "unknown data set" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2])
def test_a_test_list_of_one_or_two_photos_is_enough(
    model, tmp_path, monkeypatch, capsys, count
):
    folder = official_folder.make(tmp_path / "pets", test=count)
    monkeypatch.setattr(pets.records, "CACHE", tmp_path / "cache")
    (folder / "annotations" / "trainval.txt").unlink()
    assert run(monkeypatch, tmp_path, "--model", model, "--dataset", folder) == 0
    assert f"{count} photos" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of means of nothing
def test_scores_that_are_not_defined_are_written_as_such(model, tmp_path, monkeypatch):
    """Of photos that are border from side to side, all is void to this task."""
    folder = official_folder.make(tmp_path / "pets", test=2)
    for path in (folder / "annotations" / "trimaps").iterdir():
        Image.fromarray(np.full((40, 50), 3, np.uint8)).save(path)
    monkeypatch.setattr(pets.records, "CACHE", tmp_path / "cache")
    known = predict.load_network(model)
    known = keras.Model(known.input, known.layers[-1].input)
    known = networks.remember(known, 64, pets.CLASS_NAMES["species"])
    networks.save_model(known, tmp_path / "species.keras")
    words = ["--model", tmp_path / "species.keras", "--dataset", folder, "--out", "x"]
    assert run(monkeypatch, tmp_path, *words, "--task", "species") == 0
    text = (tmp_path / "results" / "x.json").read_text()
    row = json.loads(text)["networks"]["species"]
    assert row["network_size"]["mean_iou"] is None


@pytest.mark.parametrize("task", TABLES)
def test_committed_figures_are_of_the_networks_in_the_tables(task):
    found = environment.results(f"evaluation_{task}")
    table = environment.results(f"oxford-pets-sample_{task}")
    assert len(found["networks"]) == TABLES[task]
    assert found["photos"] == 200
    for name, row in found["networks"].items():
        # The same network on the same photos: tools.reproduce scored it too.
        expected = table["seeds"]["0"]["test"][name]["iou"]
        np.testing.assert_allclose(row["network_size"]["iou"], expected, atol=1e-6)
    assert set(reproduce.recipe.STAGES) <= set(found["networks"])


def test_committed_ceilings_are_whole():
    found = environment.results("ceilings")
    assert [tuple(pair) for pair in found["ranges"]] == list(evaluate.RANGES)
    for rows in found["tasks"].values():
        assert rows["photos"] == 200
        for name in ("reduced", "fitted"):
            values = [rows[name][stride]["mean_iou"] for stride in ("32", "16", "8")]
            assert values == sorted(values)


@pytest.mark.slow
def test_same_photo_same_matrix_whatever_the_batch(folder, model):
    network = predict.load_network(model)
    image = next(iter(pets.load(folder, "test", image_size=64, batch_size=1)))[0]
    many = network(tf.repeat(image, 3, 0), training=False)
    np.testing.assert_array_equal(
        many[0].numpy().argmax(-1), network(image)[0].numpy().argmax(-1)
    )
