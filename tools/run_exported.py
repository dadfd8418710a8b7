"""Run one exported network on prepared photos, with its own runtime and nothing else.

    python -m tools.run_exported FORM FILE PHOTOS.npy CLASSES.npy

Photos are (N, S, S, 3) float32, RGB 0..255; class ids are written as (N, S, S) uint8.
Prints JSON: milliseconds a photo, and the most memory the process held. `tools.export`
starts this in a process for each form, so a form's memory is its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

WARM_UP = 3  # runs that are not timed: the first ones plan and allocate


def keras_model(path: str) -> Callable:
    import tensorflow as tf

    from utils import predict

    model = predict.load_network(path)
    return tf.function(lambda photo: model(photo, training=False))


def saved_model(path: str) -> Callable:
    import tensorflow as tf

    served = tf.saved_model.load(path)  # no Keras, none of our code
    return lambda photo: served.serve(tf.constant(photo))


def onnx(path: str) -> Callable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
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


RUNTIMES = {
    "keras": keras_model,
    "savedmodel": saved_model,
    "onnx": onnx,
    "litert-float32": litert,
    "litert-float16": litert,
    "litert-int8": litert,
}


def peak_memory() -> float | None:
    """Return the most gigabytes this process held; Linux alone tells it exactly.

    (What `getrusage` says of a child may be its parent's.)
    """
    try:
        with open("/proc/self/status") as file:
            (line,) = (one for one in file if one.startswith("VmHWM"))
    except OSError:
        return None
    return int(line.split()[1]) * 1024 / 1e9


def main() -> None:
    form, path, photos, classes = sys.argv[1:]
    photos = np.load(photos)
    call = RUNTIMES[form](path)
    found, milliseconds = [], []
    for number, photo in enumerate([*photos[:WARM_UP], *photos]):
        started = time.perf_counter()
        logits = np.asarray(call(photo[None]))  # (1, S, S, C)
        if number >= WARM_UP:
            milliseconds.append(1000 * (time.perf_counter() - started))
            found.append(logits[0].argmax(-1).astype(np.uint8))
    np.save(classes, np.stack(found))
    quartiles = np.percentile(milliseconds, [25, 50, 75])
    figures = dict(zip(("quartile_1", "median", "quartile_3"), quartiles, strict=True))
    print(json.dumps({"milliseconds": figures, "peak_memory_gb": peak_memory()}))


if __name__ == "__main__":
    main()
