"""Execute the notebooks in order and show what came of it.

    python -m tools.run_notebooks
    python -m tools.run_notebooks --only 01 -p DATASET path/to/oxford-iiit-pet

Executed notebooks and their HTML pages go to `build/notebooks/`. `-p` overrides a name
of the parameters cell. The exit status is 1 when a notebook failed.
"""

import argparse
import contextlib
import datetime
import os
import pathlib
import sys
import time
from typing import NamedTuple

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "notebooks"


class Outcome(NamedTuple):
    """What one notebook's run gave: seconds, its key figure, and the error if any."""

    name: str
    seconds: float
    figure: str
    error: str


def key_figure(notebook: nbformat.NotebookNode) -> str:
    """Return the last line printed by the cell tagged `key-figure`."""
    cells = [c for c in notebook.cells if "key-figure" in c.metadata.get("tags", [])]
    text = "".join(o.get("text", "") for cell in cells for o in cell.outputs)
    return text.strip().rpartition("\n")[2]


def as_pattern(path: pathlib.Path) -> str:
    """Write a path as papermill reads it: what stands in braces is filled in."""
    return str(path).replace("{", "{{").replace("}", "}}")


def parameters_of(path: pathlib.Path) -> dict:
    """Return what a notebook's parameters cell holds, by name."""
    return papermill.inspect_notebook(as_pattern(path))


def run_one(path: pathlib.Path, parameters: dict, out: pathlib.Path = OUT) -> Outcome:
    """Execute one notebook with papermill, and write it and its HTML page to `out`."""
    target = out / path.name
    known = parameters_of(path)
    chosen = {name: value for name, value in parameters.items() if name in known}
    options = {"kernel_name": "python3", "progress_bar": sys.stderr.isatty()}
    options["cwd"] = path.parent
    figure = error = ""
    started = time.perf_counter()
    try:
        out.mkdir(parents=True, exist_ok=True)
        papermill.execute_notebook(
            as_pattern(path), as_pattern(target), chosen, **options
        )
    except PapermillExecutionError as failed:
        error = f"{failed.ename}: {failed.evalue} (in cell {failed.exec_count})"
    except Exception as failed:  # a kernel that died, a folder that is not writable
        error = f"{type(failed).__name__}: {failed}"
    seconds = time.perf_counter() - started
    if target.is_file():
        notebook = nbformat.read(target, as_version=4)
        figure = key_figure(notebook)
        page, _ = HTMLExporter().from_notebook_node(notebook)
        target.with_suffix(".html").write_text(page, encoding="utf-8")
    return Outcome(path.stem, seconds, figure, error)


def table(outcomes: list[Outcome]) -> str:
    """Return the closing table: notebook, seconds, key figure, ok."""
    wide = max(len(o.name) for o in outcomes)
    lines = [f"{'notebook':{wide}}  seconds  ok   key figure"]
    for o in outcomes:
        word, last = ("NO ", o.error.splitlines()[0]) if o.error else ("yes", o.figure)
        lines.append(f"{o.name:{wide}}  {o.seconds:7.0f}  {word}  {last}")
    return "\n".join([*lines, f"{sum(o.seconds for o in outcomes):.0f} s in all"])


def parameter(words: str) -> object:
    """Return what a value on the command line means: a path, a number, a list, a word.

    What exists is a path, from where the command was typed, not from notebooks/.
    """
    if os.path.exists(words):
        return os.path.realpath(words)
    with contextlib.suppress(yaml.YAMLError):
        value = yaml.safe_load(words)
        if not isinstance(value, str | datetime.date):
            return value
    with contextlib.suppress(ValueError):
        return float(words)  # YAML takes 1e-3 for a word
    return words


def main() -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks in order.")
    parser.add_argument("--only", nargs="+", metavar="NN", help="such as 01")
    words = "keep the seconds in results/; pages not run now keep theirs"
    parser.add_argument("--record", action="store_true", help=words)
    pair = ("NAME", "VALUE")  # of the parameters cell, in place of what it says
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=pair)
    arguments = parser.parse_args()
    paths = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    paths = [p for p in paths if p.name.startswith(tuple(arguments.only or [""]))]
    if not paths:
        parser.error(f"no notebook begins with {' or '.join(arguments.only)}")
    parameters = {name: parameter(words) for name, words in arguments.p}
    known = set().union(*map(parameters_of, paths))
    if unknown := ", ".join(sorted(set(parameters) - known)):
        there = ", ".join(sorted(known))
        parser.error(f"no chosen notebook has a parameter {unknown}; there are {there}")
    outcomes = []
    for number, path in enumerate(paths, start=1):
        print(f"[{number}/{len(paths)}] {path.stem} ...", flush=True)
        outcomes.append(run_one(path, parameters))
        print(f"      {outcomes[-1].seconds:.0f} s", flush=True)
    if arguments.record:
        from utils import environment

        seconds = environment.results("notebooks")["seconds"]
        seconds |= {o.name: round(o.seconds) for o in outcomes if not o.error}
        environment.write_results("notebooks", {"seconds": seconds})
    print(f"\n{table(outcomes)}\npages: {OUT.relative_to(ROOT)}/*.html")
    return int(any(o.error for o in outcomes))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped half-way; the same command starts again")
