"""Helpers the notebooks share."""

import contextlib
import os
import sys
from collections.abc import Iterator

COMMAND = sys.argv[0] == "-m"  # while `python -m utils.predict` looks for its module

if COMMAND:
    sys.stdout.reconfigure(errors="backslashreplace")  # it may print any file's name


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep from stderr what libraries in C++ write there, whatever their settings."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


try:
    with silence() if COMMAND else contextlib.nullcontext():
        import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name == "keras":
        raise
    sentence = (
        f"Keras is set to a backend that is not installed here ({error.name}); choose "
        "one that is with the environment variable KERAS_BACKEND, for the notebooks "
        "tensorflow."
    )
    if COMMAND:
        sys.exit(f"error: {sentence}")
    raise ImportError(sentence) from error
