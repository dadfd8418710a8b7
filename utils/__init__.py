"""Helpers the notebooks share."""

import sys

try:
    import keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name == "keras":
        raise
    sentence = (
        f"Keras is set to a backend that is not installed here ({error.name}); choose "
        "one that is with the environment variable KERAS_BACKEND, for the notebooks "
        "tensorflow."
    )
    if sys.argv[0] == "-m":  # the command line: `python -m utils.predict`
        sys.exit(f"error: {sentence}")
    raise ImportError(sentence) from error
