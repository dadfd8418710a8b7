"""Say whether the code still does what the results in `results/` were made with.

    python -m tools.results.probe [NAME ...]           compare; 1 where one differs
    python -m tools.results.probe --record [NAME ...]  add parts that a result lacks

Each result keeps a probe: what its code did on small inputs made of integers, part by
part. A change that alters no number leaves the probe as it is, a renamed variable for
instance; a change that does alters the part it concerns. Then the result is stale: the
tool that made it has to run again. A recorded part is never written over here.
"""

import argparse
import importlib
import math
import sys

import keras

from utils import environment

# The module whose function `probe` looks at what a result says.
PROBES = {
    "synthetic_pets_trimap": "tools.results.recipe",
    "oxford-pets-sample_trimap": "tools.results.recipe",
    "oxford-pets-sample_species": "tools.results.recipe",
    "evaluation_trimap": "tools.evaluate",
    "evaluation_species": "tools.evaluate",
    "ceilings": "tools.results.ceilings",
    "scale": "benchmarks.scale",
    "export": "tools.export",
    "cat_or_dog": "tools.results.cross_validate",
    "judge_synthetic": "tools.results.judge_synthetic",
    "skips": "tools.results.skips",
}
# What is a time, a size in memory or a GPU's run: true of one machine on one day.
MEASURED = {
    *("colab", "fresh_clone", "gpu", "inference", "input_pipeline", "large_photo"),
    *("memory", "notebooks", "pytorch", "recipe", "sliding_window", "train_step"),
}
# How far a number may be from the recorded one, relative and absolute, by the last word
# of its part; see CONTRIBUTING for the runs these come from. Other parts are equal.
TOLERANCES = {
    "rates": (1e-5, 0),
    "variables": (1e-4, 1e-9),
    "dropout": (0, 0.01),
    "start": (0.05, 1e-6),
    "inputs": (1e-4, 3e-4),
    "loss": (1e-5, 0),
    "steps": (2e-3, 0),
    "logits": (3e-4, 3e-4),
    "scores": (3e-3, 3e-3),
}


def close(one: str, other: str, relative: float, absolute: float) -> bool:
    """Tell whether two words are equal, or numbers this near to each other."""
    try:
        numbers = float(one), float(other)
    except ValueError:
        return one == other
    return one == other or math.isclose(*numbers, rel_tol=relative, abs_tol=absolute)


def difference(part: str, old: str | None, new: str | None) -> str | None:
    """Say where a part differs by more than its tolerance, or return None."""
    if old is None or new is None:
        return f"{part} is {'not recorded' if old is None else 'gone'}"
    before, now = old.split(), new.split()
    if len(before) != len(now):
        return f"{part}: {len(now)} values, {len(before)} are recorded"
    tolerance = TOLERANCES.get(part.split()[-1], (0, 0))
    for place, (one, other) in enumerate(zip(before, now, strict=True), start=1):
        if not close(one, other, *tolerance):
            return f"{part}: value {place} is {other}, recorded is {one}"
    return None


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return a sentence for each part of two probes that differs."""
    found = [difference(part, old.get(part), new.get(part)) for part in old | new]
    return [sentence for sentence in found if sentence]


def of(name: str, table: dict) -> dict[str, str]:
    """Return what the code behind a result does now, in float32 under any policy.

    Takes what the result holds, its settings at least. A name that is not known is that
    of a table of the recipe.
    """
    module = importlib.import_module(PROBES.get(name, "tools.results.recipe"))
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return module.probe(table)
    finally:
        keras.config.set_dtype_policy(policy)


def stale(name: str, record: bool = False) -> list[str]:
    """Say what the code behind a result does otherwise than when it was made.

    With `record` the parts that it lacks are added, unless one that it has differs.
    """
    table = environment.results(name)
    old, new = table.get("probe", {}), of(name, table)
    if not record:
        return differences(old, new)
    found = differences(old, {part: new[part] for part in new if part in old})
    if not found:
        path = environment.ROOT / "results" / f"{name}.json"
        environment.write_json(path, table | {"probe": new | old})
    return found


def without_probe() -> list[str]:
    """Name the files in `results/` that should keep a probe and do not."""
    names = {path.stem for path in (environment.ROOT / "results").glob("*.json")}
    kept = {name for name in names if environment.results(name).get("probe")}
    return sorted((names | set(PROBES)) - kept - MEASURED)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare code with results/.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, unless given")
    parser.add_argument("--record", action="store_true", help="add what is missing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PROBES):
        parser.error(f"{min(unknown)} has no probe; there are {', '.join(PROBES)}.")
    status = 0
    for name in arguments.names or PROBES:
        found = stale(name, arguments.record)
        said = [f"{name}: {'differs' if found else 'holds'}", *found]
        print("\n  ".join(said), flush=True)
        status |= bool(found)
    return status


if __name__ == "__main__":
    sys.exit(main())
