"""Run one exported network on prepared photos, with its own runtime and nothing else.

    python -m tools.run_exported FORM FILE PHOTOS.npy CLASSES.npy

Photos are (N, S, S, 3) float32, RGB 0..255; class ids are written as (N, S, S) uint8.
Prints JSON: milliseconds a photo, and the most memory the process held. `tools.export`
starts this in a process for each form, so a form's memory is its own.
"""

import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable

import numpy as np

WARM_UP = 3  # runs that are not timed: the first ones plan and allocate


def keras(path: str) -> Callable:
    import tensorflow as tf

    from utils import predict

    model = predict.load_network(path)
    return tf.function(lambda photo: model(photo, training=False))


def savedmodel(path: str) -> Callable:
    import tensorflow as tf

    os.chdir(path)  # TensorFlow takes [ ] * ? in the path for a pattern
    served = tf.saved_model.load(".")  # no Keras, none of our code
    return lambda photo: served.serve(tf.constant(photo))


def onnx(path: str) -> Callable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(path, options, providers)
    name = session.get_inputs()[0].name
    return lambda photo: session.run(None, {name: photo})[0]


def litert(path: str) -> Callable:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    returned = interpreter.get_output_details()[0]["index"]

    def call(photo):
        interpreter.set_tensor(given, photo)
        interpreter.invoke()
        return interpreter.get_tensor(returned)

    return call


RUNTIMES = {"keras": keras, "savedmodel": savedmodel, "onnx": onnx, "litert": litert}


def main() -> None:
    form, path, photos, classes = sys.argv[1:]
    photos = np.load(photos)
    call = RUNTIMES[form.partition("-")[0]](path)
    ids, milliseconds = [], []
    for photo in [*photos[:WARM_UP], *photos]:
        started = time.perf_counter()
        logits = np.asarray(call(photo[None]))  # (1, S, S, C)
        milliseconds.append(1000 * (time.perf_counter() - started))
        ids.append(logits[0].argmax(-1).astype(np.uint8))
    warm_up = len(ids) - len(photos)
    np.save(classes, np.stack(ids[warm_up:]))
    quartiles = np.percentile(milliseconds[warm_up:], [25, 50, 75])
    names = ("quartile_1", "median", "quartile_3")
    figures = {"milliseconds": dict(zip(names, quartiles, strict=True))}
    # Linux alone tells it exactly: what getrusage says may be the parent's.
    status = pathlib.Path("/proc/self/status")
    held = status.is_file() and re.search(rb"VmHWM:\s+(\d+) kB", status.read_bytes())
    gigabytes = int(held[1]) * 1024 / 1e9 if held else None
    print(json.dumps(figures | {"peak_memory_gb": gigabytes}))


if __name__ == "__main__":
    main()
