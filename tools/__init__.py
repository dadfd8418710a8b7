"""The maintainers' commands; all of them compute with TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever keras.json says
