"""Fixtures for all tests; which of them run, and where."""

import gc
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# On by itself only where there is AVX512; with AVX2 it saves up to 40 % too.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# oneDNN's own allocator gives nothing back to the system: 1.3 GB for a whole FCN.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "oxford-pets-sample"
# VGG16's blocks with one convolution each and few channels: a fifth of the time.
THIN = ((1, 4), (1, 8), (1, 8), (1, 16), (1, 16))
TIERS = {"slow": "make test", "long": "make test-long"}


def pytest_addoption(parser):
    for tier, command in TIERS.items():
        parser.addoption(f"--{tier}", action="store_true", help=f"as {command}")


def pytest_collection_modifyitems(config, items):
    """Leave out what was not asked for; begin with the longest file."""

    def wanted(item):
        return all(config.getoption(t) or t not in item.keywords for t in TIERS)

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    # One of two processes has the pages, the other all else.
    items[:] = sorted(
        filter(wanted, items), key=lambda i: "notebooks" not in i.path.stem
    )


def pytest_collection_finish():
    """Leave what has been imported out of every later search for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def memory_of_a_module():
    """Let go of the networks and pictures of a module when its last test is over."""
    yield
    import keras

    from utils import pet_records

    keras.utils.clear_session()
    for kept in (pet_records.stored, pet_records.split_of):
        kept.cache_clear()
    gc.collect()


@pytest.fixture
def thin(monkeypatch):
    """Let networks of one test be thin."""
    from utils import vgg16

    monkeypatch.setattr(vgg16, "BLOCKS", THIN)


@pytest.fixture(autouse=True)
def memory_of_a_slow_test(request):
    """Let go of its networks: one with dense layers has 0.5 GB."""
    yield
    if "slow" in request.keywords:
        gc.collect()


@pytest.fixture(scope="session")
def sample():
    """The 500 real photographs in the official layout; skips where they are absent."""
    if not (SAMPLE / "annotations" / "test.txt").is_file():
        pytest.skip("no sample of real photographs beside the checkout (shared/)")
    return SAMPLE


@pytest.fixture(scope="session")
def few_drawings(tmp_path_factory):
    """The first 80 and 24 pictures of `synthetic_pets` in a folder as the photos'."""
    from data.synthetic_pets import synthetic_pets_dataset_builder as drawn

    folder = tmp_path_factory.mktemp("drawings")
    annotations = folder / "annotations"
    for part in (folder / "images", annotations / "trimaps"):
        part.mkdir(parents=True)
    for name, first, count in (("trainval", 0, 80), ("test", 480, 24)):
        lines = []
        for index in range(first, first + count):
            drawing = drawn.draw_example(index)
            image = folder / "images" / drawing["file_name"]
            image.write_bytes(drawing["image"].read())
            mask = (annotations / "trimaps" / image.name).with_suffix(".png")
            mask.write_bytes(drawing["segmentation_mask"].read())
            breed = drawn.drawing.BREEDS.index(drawing["label"]) + 1
            species = 1 + (drawing["species"] == "Dog")
            lines.append(f"{image.stem} {breed} {species} {index}\n")
        (annotations / f"{name}.txt").write_text("".join(lines))
    return folder
