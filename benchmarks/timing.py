"""What the benchmarks share: their begin, seconds, memory, and summing up the runs."""

import argparse
import pathlib
import re
import statistics
import sys
import time
from collections.abc import Callable

import keras

from utils import environment

NETWORK = "build/models/oxford-pets-sample_trimap/8s.keras"  # `make results` makes it
Measure = Callable[[], float]


def begin(doc: str, **defaults: int | str | list[int]) -> argparse.Namespace:
    """Read the command line, seed the random numbers, and say what computes here.

    Takes the benchmark's docstring, and the default of each option, whose type it has;
    a single number has to be at least 1.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in defaults.items():
        one, nargs = (default[0], "+") if isinstance(default, list) else (default, None)
        words = {"default": default, "help": f"{default} unless given"}
        parser.add_argument(f"--{name}", type=type(one), nargs=nargs, **words)
    arguments = parser.parse_args()
    for name, value in vars(arguments).items():
        if isinstance(value, int) and value < 1:
            parser.error(f"--{name}: give a whole number from 1 up.")
    print(environment.prepare(seed=0), flush=True)
    return arguments


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Time `work`, which must wait for a GPU by fetching a number; seconds each."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def rate(amount: float, work: Callable[[], object], times: int = 1) -> Measure:
    """Return a measure of how much a second gets done where `work` does `amount`."""
    return lambda: amount / seconds(work, times)


def in_turn(measures: dict[str, Measure], runs: int) -> dict[str, list[float]]:
    """Take each measure once a run, after a first run that traces and is not kept."""
    rows = []
    for run in range(runs + 1):
        values = {name: measure() for name, measure in measures.items()}
        print(run, {name: float(f"{v:.3g}") for name, v in values.items()}, flush=True)
        rows.append(values)
    return {name: [row[name] for row in rows[1:]] for name in measures}


def summary(values: list[float]) -> dict:
    """Return median, least and largest of the runs, and the runs."""
    least, largest = min(values), max(values)
    median = statistics.median(values)
    return {"median": median, "min": least, "max": largest, "runs": values}


def ratios(one: list[float], other: list[float]) -> dict:
    """Sum up how often one is as large as the other, run by run."""
    return summary([a / b for a, b in zip(one, other, strict=True)])


def peak_memory() -> float:
    """Return the most memory this process has held so far, in gigabytes.

    On a GPU its memory, else the machine's.
    """
    if environment.on_gpu():
        return _peak_of_gpu() / 1e9
    status = pathlib.Path("/proc/self/status")
    held = status.is_file() and re.search(rb"VmHWM:\s+(\d+) kB", status.read_bytes())
    if held:  # Linux, where getrusage begins with the parent's peak
        return int(held[1]) * 1024 / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9


def _peak_of_gpu() -> int:
    """Return the most bytes of the first GPU that were in use."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if backend == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    from torch import cuda

    return cuda.max_memory_allocated()
