"""What the benchmarks share: options, timing in turn, and summing up the runs."""

import argparse
import statistics
import time
from collections.abc import Callable


def options(description: str, **defaults: int | str) -> argparse.Namespace:
    """Read the command line: an option for each default, of the default's type."""
    parser = argparse.ArgumentParser(description=description)
    for name, value in defaults.items():
        words = {"type": type(value), "default": value, "help": f"{value} unless given"}
        parser.add_argument(f"--{name.replace('_', '-')}", **words)
    arguments = parser.parse_args()
    for name, value in vars(arguments).items():
        if isinstance(value, int) and value < 1:
            parser.error(f"--{name.replace('_', '-')}: give a whole number from 1 up.")
    return arguments


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Time `work`, which must wait for a GPU by fetching a number; seconds each."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def in_turn(
    measures: dict[str, Callable[[], float]], runs: int
) -> dict[str, list[float]]:
    """Take each measure once a run, after a first run that traces and is not kept."""
    found = {name: [] for name in measures}
    for run in range(runs + 1):
        values = {name: measure() for name, measure in measures.items()}
        print(run, {name: float(f"{v:.3g}") for name, v in values.items()}, flush=True)
        for name, value in values.items():
            found[name] += [value] if run else []
    return found


def summary(values: list[float]) -> dict:
    """Return median, least and largest of the runs, and the runs."""
    least, largest = min(values), max(values)
    median = statistics.median(values)
    return {"median": median, "min": least, "max": largest, "runs": values}


def ratios(one: list[float], other: list[float]) -> dict:
    """Sum up how often one is as large as the other, run by run."""
    return summary([a / b for a, b in zip(one, other, strict=True)])
