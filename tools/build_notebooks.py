"""Build `notebooks/*.ipynb` from the percent scripts in `notebooks/src/`.

    python -m tools.build_notebooks [01 02]       those that changed are executed
    python -m tools.build_notebooks --no-execute  unchanged cells keep their outputs
    python -m tools.build_notebooks --force       executed even where nothing changed
    python -m tools.build_notebooks --check       write nothing; fail when one is stale

A source holds what a person writes: the title, the text, the cells. This tool adds what
is the same everywhere (numbered title with badge and navigation, setup cell, provenance
footer), gives cells stable ids, and records a hash of all cells.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import re
import sys
import tomllib

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = ROOT / "notebooks" / "src"
CHATTER = r"^(WARNING: All log messages before absl|[IWE]0000 ).*\n?"
COLAB = "https://colab.research.google.com"
KEY = "learn_fcn"  # our corner of the notebook's metadata

SETUP = """\
# Setup, the same in every notebook: find the repository (on Colab, fetch it once).
import os, pathlib, subprocess, sys, time
STARTED = time.perf_counter()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no start-up chatter
here = pathlib.Path.cwd()
folders = [here, *here.parents, here / "{name}"]
root = next((f for f in folders if (f / "utils" / "environment.py").is_file()), None)
if root is None and "google.colab" in sys.modules:
    command = ["git", "clone", "-q", "--depth=1", "-b", "main", "{address}"]
    root = (subprocess.run(command, check=True), here / "{name}")[1]
assert root, "open this notebook inside a clone of {address}"
sys.path.insert(0, str(root))"""

FOOTER = """\
environment.provenance(started=STARTED, data=DATASET, seed=SEED, source="{source}")"""


def address() -> str:
    """Return the repository's address, which stands in pyproject.toml alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["urls"]["Repository"]


def titles() -> dict[str, str]:
    """Return stem -> title of every main notebook, in reading order."""
    found = {}
    for path in sorted(SOURCES.glob("[0-9][0-9]_*.py")):
        found[path.stem] = re.search(r"^# # (.+)$", path.read_text(), re.M)[1].strip()
    return found


def header(stem: str, body: str) -> str:
    """Put number, badge and navigation on top of the first cell's own text."""
    stems, names = list(titles()), titles()
    place = stems.index(stem)
    colab = address().replace("https://github.com", f"{COLAB}/github")
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
    line = [f"{badge}({colab}/blob/main/notebooks/{stem}.ipynb)"]
    if place > 0:
        line.append(f"previous: [{names[stems[place - 1]]}]({stems[place - 1]}.ipynb)")
    line.append("[index](../README.md#the-notebooks)")
    if place + 1 < len(stems):
        line.append(f"next: [{names[stems[place + 1]]}]({stems[place + 1]}.ipynb)")
    rest = "\n".join(body.splitlines()[1:]).strip()
    return f"# {stem[:2]} {names[stem]}\n\n{' · '.join(line)}\n\n{rest}"


def minutes(stem: str) -> str:
    """Say how long a page takes, as `tools.run_notebooks --record` measured it."""
    path = ROOT / "results" / "notebooks.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    if stem not in record.get("seconds", {}):
        return "a few minutes"
    seconds = record["seconds"][stem]
    if seconds < 45:
        return f"about {max(10, round(seconds, -1))} seconds ({record['device']})"
    count = round(seconds / 60)
    return f"about {count} minute{'s' if count > 1 else ''} ({record['device']})"


def compose(stem: str) -> nbformat.NotebookNode:
    """Return the notebook of one source: complete, but without outputs."""
    read = jupytext.read(SOURCES / f"{stem}.py").cells
    intro = read[0].source.replace("{minutes}", minutes(stem))
    cells = [new_markdown_cell(header(stem, intro))]
    for cell in read[1:]:
        tags = cell.metadata.get("tags", [])
        source = cell.source
        if "setup" in tags:
            source = SETUP.format(address=address(), name=address().rsplit("/", 1)[1])
        make = new_code_cell if cell.cell_type == "code" else new_markdown_cell
        cells.append(make(source, metadata={"tags": tags} if tags else {}))
    content = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in cells)
    source = hashlib.sha256(content.encode()).hexdigest()[:16]
    footer = FOOTER.format(source=source)
    cells.append(new_code_cell(footer, metadata={"tags": ["provenance"]}))
    for number, cell in enumerate(cells):
        cell.id = f"{stem}-{number:03d}"
    notebook = nbformat.v4.new_notebook(cells=cells)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata[KEY] = {"source": source}
    return nbformat.from_dict(notebook)


def with_old_outputs(
    notebook: nbformat.NotebookNode, old: nbformat.NotebookNode | None
) -> nbformat.NotebookNode:
    """Carry outputs over to the code cells whose source has not changed."""
    known = {c.source: c for c in (old.cells if old else []) if c.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source in known:
            cell.outputs = known[cell.source].outputs
            cell.execution_count = known[cell.source].execution_count
    footer, before = notebook.cells[-1], old and old.cells[-1]
    if before and all(c.get("execution_count", 1) for c in notebook.cells[:-1]):
        # Nothing but text changed: how the page was made stays true, but for the hash.
        footer.execution_count, footer.outputs = before.execution_count, before.outputs
        for output in footer.outputs:
            hashes = old.metadata[KEY]["source"], notebook.metadata[KEY]["source"]
            output.text = output.text.replace(*hashes)
    return notebook


def tagged(notebook: nbformat.NotebookNode, tag: str) -> nbformat.NotebookNode | None:
    """Return the first cell that carries `tag`."""
    return next((c for c in notebook.cells if tag in c.metadata.get("tags", [])), None)


def preview(notebook: nbformat.NotebookNode, picture: pathlib.Path) -> None:
    """Show the figure of the cell tagged `result` on top too, and keep it as a file."""
    for output in tagged(notebook, "result").outputs:
        if "image/jpeg" in output.get("data", {}):
            picture.write_bytes(base64.b64decode(output["data"]["image/jpeg"]))
            shown = tagged(notebook, "preview").outputs[0]
            shown["data"]["image/jpeg"] = output["data"]["image/jpeg"]


def drop_startup_chatter(notebook: nbformat.NotebookNode) -> None:
    """Remove what TensorFlow's C++ part logs while it is imported, and nothing else."""
    for cell in notebook.cells:
        for output in list(cell.get("outputs", [])):
            if output.get("name") == "stderr":
                output.text = re.sub(CHATTER, "", output.text, flags=re.MULTILINE)
                if not output.text.strip():
                    cell.outputs.remove(output)


def execute(stem: str, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run all cells in order, in the notebooks' folder; keep outputs, drop timings."""
    picture = ROOT / "notebooks" / "figures" / f"{stem}.jpg"
    if not picture.exists():  # the very first build: something for the preview to show
        Image.new("RGB", (8, 8)).save(picture)
    NotebookClient(
        notebook,
        timeout=1800,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    ).execute()
    drop_startup_chatter(notebook)
    preview(notebook, picture)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def existing(stem: str) -> nbformat.NotebookNode | None:
    """Return the committed notebook, if there is one."""
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    return nbformat.read(path, as_version=4) if path.is_file() else None


def executed(notebook: nbformat.NotebookNode) -> bool:
    """Tell whether all code cells were run, in order, from the top."""
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1))


def written(notebook: nbformat.NotebookNode) -> list[tuple]:
    """Return what the source decides of each cell, all but its outputs."""
    return [
        (c.id, c.cell_type, c.source, c.metadata.get("tags", []))
        for c in notebook.cells
    ]


def stale(stem: str) -> str | None:
    """Say what is wrong with the committed notebook, or return None."""
    old, new = existing(stem), compose(stem)
    if old is None:
        return f"notebooks/{stem}.ipynb is missing"
    if old.metadata.get(KEY) != new.metadata[KEY]:
        return f"notebooks/{stem}.ipynb was built from another source"
    if written(old) != written(new):
        return f"notebooks/{stem}.ipynb was edited by hand"
    if not executed(old):
        return f"notebooks/{stem}.ipynb was not executed from top to bottom"
    return None


def write(stem: str, notebook: nbformat.NotebookNode) -> None:
    """Write the notebook in one step: a killed build leaves the old one whole."""
    nbformat.validate(notebook)
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(nbformat.writes(notebook, indent=1) + "\n")
    os.replace(temporary, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build notebooks from their sources.")
    parser.add_argument("only", nargs="*", help="stems or their beginnings, such as 01")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="fail when one is stale")
    choice.add_argument("--no-execute", action="store_true", help="sources only")
    choice.add_argument("--force", action="store_true", help="execute all")
    arguments = parser.parse_args()
    stems = [s for s in titles() if s.startswith(tuple(arguments.only or [""]))]
    if not stems:
        parser.error(f"no source begins with {' or '.join(arguments.only)}")
    if arguments.check:
        problems = [problem for stem in stems if (problem := stale(stem))]
        print("\n".join(problems) or f"{len(stems)} notebooks are fresh")
        if problems:
            print("build them again: make notebooks")
        return bool(problems)
    for stem in stems:
        if not stale(stem) and not arguments.force:
            print(f"{stem}: fresh")
            continue
        notebook = with_old_outputs(compose(stem), existing(stem))
        if not arguments.no_execute:
            print(f"{stem}: executing ...", flush=True)
            notebook = execute(stem, notebook)
        write(stem, notebook)
    return 0


if __name__ == "__main__":
    sys.exit(main())
