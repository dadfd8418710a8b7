"""Fixtures for all tests."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / "shared" / "oxford-pets-sample"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the full forms too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="full form: make test-long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def sample():
    """The 500 real photographs in the official layout; skips where they are absent."""
    if not (SAMPLE / "annotations" / "test.txt").is_file():
        pytest.skip("no sample of real photographs beside the checkout (shared/)")
    return SAMPLE
