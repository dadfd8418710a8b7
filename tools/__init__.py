"""The maintainers' commands; all of them compute with TensorFlow."""

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever keras.json says
if sys.argv[0] == "-m":  # a command, while Python looks for its module
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stdout.reconfigure(errors="backslashreplace")  # it may print any file's name
    light = ("pages", "run_exported", "run_notebooks", "site", "try_")
    light = tuple(f"tools.{name}" for name in light)  # these may not need TensorFlow
    if not any(word.startswith(light) for word in sys.orig_argv):
        import utils  # noqa: F401  it imports Keras in silence
