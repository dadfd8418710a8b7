"""Exported forms are the network they came from; the committed table is this code's."""

import sys

import keras
import numpy as np
import official_folder
import pytest

from tools import export
from utils import environment, fcn, networks, pets, training

NAMES = pets.CLASS_NAMES["trimap"]
LITERT = [form for form in export.NEEDS if form.startswith("litert")]


@pytest.fixture(scope="module")
def trained():
    """Return the FCN-8s of page 08: trained on the drawings at 96 px, and cached."""
    model = networks.trained_fcn("8s", "synthetic_pets", image_size=96)
    return networks.remember(model, 96, NAMES)


@pytest.fixture(scope="module")
def network():
    """Return an FCN-8s that answers with all classes: random scores, no training."""
    keras.utils.set_random_seed(0)
    model = fcn.build("8s", 3, fc_units=16, fc_kernel=1, weights=None)
    random = np.random.default_rng(0)
    for name in ("score_fc7", "score_pool4", "score_pool3"):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([random.normal(size=kernel.shape), bias])
    bias = model.get_layer("score_fc7").bias
    bias.assign(-np.mean(model(pictures("validation", 8)[0]), axis=(0, 1, 2)))
    return networks.remember(model, 96, NAMES)


def pictures(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return drawings (N, 96, 96, 3) and masks (N, 96, 96)."""
    batch = pets.load("synthetic_pets", split, image_size=96, batch_size=count)
    images, masks = next(iter(batch))
    return images.numpy(), masks.numpy()


def need(form: str) -> None:
    for package in export.NEEDS[form]:
        pytest.importorskip(package, reason=f"{form} needs {package}: make export")


@pytest.mark.parametrize("form", export.NEEDS)
@pytest.mark.slow
def test_every_form_is_the_same_network(form, network, tmp_path, request):
    need(form)
    if form == "litert-int8":  # scored, so there must be something to lose
        network = request.getfixturevalue("trained")
    images, masks = pictures("validation", 32)
    calibration, _ = pictures("train", 32)
    path = export.export(network, form, tmp_path, calibration)
    costs, ids = export.run(form, path, images)
    expected = np.argmax(network.predict(images, verbose=0), -1)
    if form == "litert-int8":
        scores = [export.mean_iou(masks, found, 3) for found in (ids, expected)]
        assert abs(scores[0] - scores[1]) <= 0.01
        assert (ids != expected).any(), "this is no form of 8 bits"
    else:
        assert (ids == expected).mean() >= 0.999
    assert costs["milliseconds"]["median"] > 0
    if sys.platform == "linux":
        assert 0.01 < costs["peak_memory_gb"] < 4


@pytest.mark.parametrize("form", ["savedmodel", "onnx"])
@pytest.mark.slow
def test_forms_of_free_size_take_any(form, network, tmp_path):
    need(form)
    path = export.export(network, form, tmp_path, calibration=None)
    images = pictures("validation", 4)[0][:, :45, :77]
    _, ids = export.run(form, path, images)
    assert (ids == np.argmax(network(images), -1)).mean() >= 0.999


@pytest.mark.slow
def test_the_smaller_forms_are_smaller(network, tmp_path):
    for form in LITERT:
        need(form)
    images, _ = pictures("train", 2)
    sizes = [
        export.size_on_disk(export.export(network, form, tmp_path, images)) / 1e6
        for form in LITERT
    ]
    weights = network.count_params() / 1e6
    assert sizes == pytest.approx([4 * weights, 2 * weights, weights], rel=0.02)


@pytest.mark.slow
def test_a_network_of_16_bits_is_exported_in_float32(network):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        image = keras.Input((None, None, 3))
        features = keras.layers.Conv2D(3, 3, padding="same", name="half")(image)
        half = networks.remember(keras.Model(image, features), 64, NAMES)
    finally:
        keras.config.set_dtype_policy("float32")
    assert half.get_layer("half").compute_dtype == "bfloat16"
    whole = export.in_float32(half)
    assert {layer.compute_dtype for layer in whole.layers} == {"float32"}
    assert networks.trained_on(whole).class_names == tuple(NAMES)
    kernel, bias = half.get_layer("half").get_weights()
    photos = pictures("train", 1)[0]
    expected = keras.ops.conv(photos, kernel, padding="same") + bias
    np.testing.assert_allclose(whole(photos), expected, rtol=1e-4, atol=1e-3)


def test_what_does_not_fit_is_named():
    good = {"equal_pixels": 1.0, "mean_iou_lost": 0.0}
    rows = {"keras": good, "onnx": good, "litert-int8": good | {"equal_pixels": 0.9}}
    assert export.problems(rows) == []
    rows["onnx"] = good | {"equal_pixels": 0.99}
    rows["litert-int8"] = good | {"mean_iou_lost": -0.02}
    found = export.problems(rows)
    assert len(found) == 2 and "onnx agrees on 99.00%" in found[0]


def use(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["export", *(str(word) for word in words)])


def test_a_missing_package_is_named_with_its_cure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    use(monkeypatch, "--model", "x", "--out", tmp_path, "--dataset", "synthetic_pets")
    assert export.main() == 2
    told = capsys.readouterr().err
    assert "onnx needs the package tf2onnx" in told and "make export" in told


def test_a_network_that_knows_no_task_is_refused(monkeypatch, capsys, tmp_path):
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(3, 1)(image)).save(tmp_path / "x.keras")
    words = ["--model", tmp_path / "x.keras", "--out", tmp_path, "--formats"]
    use(monkeypatch, *words, "savedmodel", "--dataset", "synthetic_pets")
    assert export.main() == 2
    assert "does not say for which task" in capsys.readouterr().err


@pytest.mark.slow
def test_the_tool_from_file_to_table(network, monkeypatch, tmp_path):
    networks.save_model(network, tmp_path / "m.keras")
    written = {}
    monkeypatch.setattr(
        environment,
        "write_results",
        lambda name, figures: written.update(figures) or tmp_path / name,
    )
    out = tmp_path / "[1] a*b?"  # patterns, to some
    words = ["--model", tmp_path / "m.keras", "--out", out, "--photos", 3]
    use(monkeypatch, *words, "--dataset", "synthetic_pets", "--formats", "savedmodel")
    assert export.main() == 0
    assert list(written["forms"]) == ["keras", "savedmodel"]
    row = written["forms"]["savedmodel"]
    assert row["equal_pixels"] == 1 and row["mean_iou_lost"] == 0
    weights = 4 * network.count_params() / 1e6
    assert row["megabytes"] > weights
    test = pets.load("synthetic_pets", "test", image_size=96, batch_size=1)
    first, middle, last = (test.skip(place).take(1) for place in (0, 60, 119))
    three = first.concatenate(middle).concatenate(last)
    expected = training.evaluate(network, three)["mean_iou"]
    assert written["forms"]["keras"]["mean_iou"] == pytest.approx(expected, abs=1e-3)
    assert written["as_trained_equal_pixels"] == 1 and written["trained_in"] == [
        "float32"
    ]
    assert written["data"] == "3 test photos of synthetic_pets"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photos", "test"), [(1, 2), (2, 1), pytest.param(2, 2, marks=pytest.mark.long)]
)
def test_one_or_two_photos_are_enough(monkeypatch, tmp_path, photos, test):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    networks.save_model(networks.remember(model, 32, NAMES), tmp_path / "m.keras")
    written = {}
    monkeypatch.setattr(pets.records, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(
        environment,
        "write_results",
        lambda name, figures: written.update(figures) or tmp_path,
    )
    folder = official_folder.make(tmp_path / "pets", test=test)
    (folder / "annotations" / "trainval.txt").unlink()  # this form needs no more
    words = ["--model", tmp_path / "m.keras", "--out", tmp_path / "out"]
    words += ["--dataset", folder, "--photos", photos, "--formats", "savedmodel"]
    use(monkeypatch, *words)
    assert export.main() == 0
    assert written["data"] == f"{min(photos, test)} test photos of pets"


def test_photos_come_from_all_over_a_split(tmp_path, monkeypatch):
    monkeypatch.setattr(pets.records, "CACHE", tmp_path / "cache")
    folder = official_folder.make(tmp_path / "pets", test=10)
    batches = pets.load(folder, "test", image_size=32, batch_size=10)
    ((everything, all_masks),) = batches.as_numpy_iterator()
    images, masks = export.spread(folder, "test", "trimap", 32, 4)
    np.testing.assert_array_equal(images, everything[[0, 3, 6, 9]])
    np.testing.assert_array_equal(masks, all_masks[[0, 3, 6, 9]])
    assert len(export.spread(folder, "test", "trimap", 32, 99)[0]) == 10


@pytest.mark.slow
def test_calibration_is_by_training_photos(network, monkeypatch, capsys, tmp_path):
    def look(model, form, folder, calibration):
        given.append(calibration)
        raise ValueError("seen")

    given = []
    monkeypatch.setattr(export, "check_packages", lambda forms: None)
    monkeypatch.setattr(export, "export", look)
    networks.save_model(network, tmp_path / "m.keras")
    words = ["--model", tmp_path / "m.keras", "--out", tmp_path, "--formats"]
    use(monkeypatch, *words, "litert-int8", "--dataset", "synthetic_pets")
    assert export.main() == 2 and "error: seen" in capsys.readouterr().err
    train = pets.load("synthetic_pets", "train", image_size=96, batch_size=1000)
    everything = next(iter(train))[0].numpy()
    (images,) = given
    assert len(images) == 100 < len(everything)
    for place, image in ((0, images[0]), (-1, images[-1])):
        np.testing.assert_array_equal(image, everything[place])
    assert {image.tobytes() for image in images} <= {x.tobytes() for x in everything}


def test_the_committed_table_is_as_good_as_asked():
    table = environment.results("export")
    assert list(table["forms"]) == ["keras", *export.NEEDS]
    assert export.problems(table["forms"]) == []
    assert table["as_trained_equal_pixels"] >= 0.999
    assert int(table["data"].split()[0]) >= 32
    assert table["calibration"].endswith("training photos")
    for row in table["forms"].values():
        ms = row["milliseconds"]
        assert ms["quartile_1"] <= ms["median"] <= ms["quartile_3"]
        lost = table["forms"]["keras"]["mean_iou"] - row["mean_iou"]
        assert row["mean_iou_lost"] == pytest.approx(lost)


def test_the_committed_scores_are_best_at_the_size_of_training():
    table = environment.results("scale")
    for row in table["mean_iou"].values():
        values = {int(size): value for size, value in row.items()}
        assert max(values, key=values.get) == table["trained_at"]
        assert all(0 < value < 1 for value in values.values())
