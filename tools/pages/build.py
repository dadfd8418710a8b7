"""Build `notebooks/*.ipynb` from the percent scripts in `notebooks/src/`.

    python -m tools.pages.build [01 02]       those that changed are executed
    python -m tools.pages.build --no-execute  unchanged cells keep their outputs
    python -m tools.pages.build --force       executed even where nothing changed
    python -m tools.pages.build --check       write nothing; fail when one is stale

A source holds what a person writes: the title, the text, the cells. This tool adds what
is the same everywhere (numbered title with badge and navigation, setup cell, provenance
footer), gives cells stable ids, and records a hash of all cells. A notebook's name is
its path in `notebooks/` without ending. `tools.pages.exercises` builds those with it.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterable

import jupytext
import nbclient
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "notebooks" / "src"
CHATTER = r"^(WARNING: All log messages before absl|[IWE]0000 ).*\n?"
GITHUB = "https://github.com/"
KEY = "learn_fcn"  # our corner of the notebook's metadata

SETUP = """\
import os, sys  # the setup, the same on every page
os.environ |= {{"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}}
{fetch}places = [".", "..", "../..", "drive/MyDrive/learn-fcn", "learn-fcn"]
root = [one for one in places if os.path.isfile(f"{{one}}/utils/vgg16.py")]
assert root, "{cure}"
sys.path.insert(0, os.path.abspath(root[0]))
import utils
assert hasattr(utils, "silence"), "another utils is loaded: restart the kernel"\
"""
FETCH = """\
if {{"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"}} & set(os.environ):
    os.system("git clone -q --depth=1 {address} learn-fcn")  # nothing, the second time
"""
CURE = (
    "there is no folder learn-fcn here: on Colab, copy it to Google Drive, mount that, "
    "and run this cell again; elsewhere, open this page where it lies in that folder"
)
CURE_PUBLISHED = (
    "there is no folder learn-fcn here: on Colab or Kaggle, see that the internet is "
    "on, remove what is left of the folder and run this cell again; elsewhere, open "
    "this page in a clone of {address}"
)

FOOTER = """\
environment.provenance(data=DATASET, seed=SEED, source="{source}")"""


def address() -> str:
    """Return the repository's address, which `make publish` writes; "" before."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["urls"].get("Repository", "")


def hosted(name: str) -> dict[str, tuple[str, str]]:
    """Return host -> badge and address that opens a notebook there; GitHub's alone."""
    path = f"{address()}/blob/main/notebooks/{name}.ipynb"
    if not path.startswith(GITHUB):
        return {}
    colab, kaggle = "https://colab.research.google.com", "https://kaggle.com"
    return {
        "Colab": (
            f"{colab}/assets/colab-badge.svg",
            path.replace(GITHUB, f"{colab}/github/"),
        ),
        "Kaggle": (
            f"{kaggle}/static/images/open-in-kaggle.svg",
            f"{kaggle}/kernels/welcome?src={path}",
        ),
    }


def setup() -> str:
    """Return the setup cell, which fetches the repository once it has an address."""
    fetch, cure = (FETCH, CURE_PUBLISHED) if address() else ("", CURE)
    fetch, cure = (words.format(address=address()) for words in (fetch, cure))
    return SETUP.format(fetch=fetch, cure=cure)


def titles() -> dict[str, str]:
    """Return stem -> title of every main notebook, in reading order."""
    paths = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    texts = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    return {s: re.search(r"^# # (.+)$", t, re.M)[1].strip() for s, t in texts.items()}


def title_cell(title: str, links: list[str], text: str) -> NotebookNode:
    """Return the first cell: the title, a line of links, the text."""
    return new_markdown_cell(f"# {title}\n\n{' · '.join(links)}\n\n{text}")


def minutes(stem: str) -> str:
    """Say how long a page takes, as `tools.run_notebooks --record` measured it."""
    record = json.loads((ROOT / "results/notebooks.json").read_text(encoding="utf-8"))
    seconds = record["seconds"].get(stem)
    if seconds is None:
        return "a few minutes"
    count = round(seconds / 60)
    time = f"{count} {'minutes' if count > 1 else 'minute'}"
    if seconds < 45:
        time = f"{max(10, round(seconds, -1))} seconds"
    return f"about {time} ({record['device']})"


def assemble(
    name: str, first: NotebookNode, others: list[NotebookNode], footer: bool = True
) -> NotebookNode:
    """Return a notebook of its first cell and a source's others, without outputs.

    With `footer` the last cell prints how the page was made. The hash does not depend
    on the address.
    """
    cells = [first]
    for cell in others:
        tags = cell.metadata.get("tags", [])
        make = new_code_cell if cell.cell_type == "code" else new_markdown_cell
        source = SETUP if "setup" in tags else cell.source
        cells.append(make(source, metadata={"tags": tags} if tags else {}))
    content = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in cells)
    source = hashlib.sha256(content.encode()).hexdigest()[:16]
    for cell in cells[1:]:
        if cell.source == SETUP:
            cell.source = setup()
    places = hosted(name).items()
    badges = [f"[![Open in {host}]({svg})]({url})" for host, (svg, url) in places]
    title, line = first.source.split("\n\n", 1)
    first.source = f"{title}\n\n{' '.join(badges)}{' · ' * bool(badges)}{line}"
    if footer:
        last = FOOTER.format(source=source)
        cells.append(new_code_cell(last, metadata={"tags": ["provenance"]}))
    for number, cell in enumerate(cells):
        cell.id = f"{'-'.join(reversed(name.split('/')))}-{number:03d}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    if re.search(r"\bfit\(|trained_fcn\(", content):  # it trains: Colab offers a GPU
        metadata |= {"accelerator": "GPU", "colab": {"gpuType": "T4"}}
    return new_notebook(cells=cells, metadata={**metadata, KEY: {"source": source}})


def compose(stem: str) -> NotebookNode:
    """Return the notebook of one source: complete, but without outputs."""
    first, *others = jupytext.read(SOURCES / f"{stem}.py").cells
    names = titles()
    before = [one for one in names if one < stem][-1:]
    after = [one for one in names if one > stem][:1]
    links = [f"previous: [{names[one]}]({one}.ipynb)" for one in before]
    links.append("[index](../README.md#the-notebooks)")
    links += [f"next: [{names[one]}]({one}.ipynb)" for one in after]
    text = first.source.replace("{minutes}", minutes(stem)).partition("\n")[2].strip()
    first = title_cell(f"{stem[:2]} {names[stem]}", links, text)
    return assemble(stem, first, others)


def keep_outputs(notebook: NotebookNode, old: NotebookNode) -> None:
    """Carry outputs over to the code cells whose source has not changed.

    The setup cell shows nothing, and what follows does not hang on how it is written.
    """
    known = {c.source: c for c in old.cells if c.cell_type == "code"}
    setups = [tagged(one, "setup") for one in (notebook, old)]
    if all(setups):
        known[setups[0].source] = setups[1]
    for cell in notebook.cells:
        if cell.cell_type == "code" and (same := known.get(cell.source)):
            cell.outputs, cell.execution_count = same.outputs, same.execution_count
    footer, before = notebook.cells[-1], old.cells[-1]
    if all(c.get("execution_count", 1) for c in notebook.cells[:-1]):
        # Nothing but text changed: how the page was made stays true, but for the hash.
        footer.execution_count, footer.outputs = before.execution_count, before.outputs
        for output in footer.outputs:
            hashes = old.metadata[KEY]["source"], notebook.metadata[KEY]["source"]
            output.text = output.text.replace(*hashes)


def tagged(notebook: NotebookNode, tag: str) -> NotebookNode | None:
    """Return the first cell that carries `tag`."""
    return next((c for c in notebook.cells if tag in c.metadata.get("tags", [])), None)


def preview(notebook: NotebookNode, picture: pathlib.Path) -> None:
    """Move the figure of the cell tagged `result` to the top, and keep it as a file."""
    result = tagged(notebook, "result")
    for output in list(result.outputs):
        if "image/jpeg" in output.get("data", {}):
            picture.write_bytes(base64.b64decode(output["data"]["image/jpeg"]))
            shown = tagged(notebook, "preview").outputs[0]
            shown["data"]["image/jpeg"] = output["data"]["image/jpeg"]
            result.outputs.remove(output)


def drop_startup_chatter(notebook: NotebookNode) -> None:
    """Remove what TensorFlow's C++ part logs while it is imported, and nothing else."""
    for cell in notebook.cells:
        for output in list(cell.get("outputs", [])):
            if output.get("name") == "stderr":
                output.text = re.sub(CHATTER, "", output.text, flags=re.MULTILINE)
                if not output.text.strip():
                    cell.outputs.remove(output)


def execute(name: str, notebook: NotebookNode) -> None:
    """Run all cells in order, in the notebook's folder; keep outputs, drop timings."""
    picture = ROOT / "notebooks" / "figures" / f"{name}.jpg"
    if name in titles() and not picture.exists():  # the very first build
        Image.new("RGB", (8, 8)).save(picture)
    options = {"timeout": 1800, "coalesce_streams": True, "record_timing": False}
    nbclient.execute(notebook, cwd=str(path_of(name).parent), **options)
    drop_startup_chatter(notebook)
    if name in titles():
        preview(notebook, picture)
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}


def path_of(name: str) -> pathlib.Path:
    """Return where a notebook is committed."""
    return ROOT / "notebooks" / f"{name}.ipynb"


def existing(name: str) -> NotebookNode | None:
    """Return the committed notebook, if there is one."""
    path = path_of(name)
    return nbformat.read(path, as_version=4) if path.is_file() else None


def executed(notebook: NotebookNode) -> bool:
    """Tell whether all code cells were run, in order, from the top."""
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1))


def stale(name: str, new: NotebookNode) -> str | None:
    """Say what sets the committed notebook apart from the one composed now, or None."""
    path, old = f"notebooks/{name}.ipynb", existing(name)
    ran = tagged(new, "provenance")
    if old is None:
        return f"{path} is missing"
    if old.metadata.get(KEY) != new.metadata[KEY]:
        return f"{path} was built from another source"
    before, now = (
        [(c.id, c.cell_type, c.source, c.metadata.get("tags", [])) for c in one.cells]
        for one in (old, new)
    )
    if before != now:
        return f"{path} was edited by hand"
    if ran and not executed(old):
        return f"{path} was not executed from top to bottom"
    if not ran and any(c.get("outputs") for c in old.cells):
        return f"{path} has outputs; the reader's come first"
    return None


def main(
    make: Callable[[str], NotebookNode] = compose,
    names: Iterable[str] | None = None,
    words: list[str] | None = None,
) -> int:
    """Build what is stale of `names`, or what the words of the command choose."""
    parser = argparse.ArgumentParser(description="Build notebooks from their sources.")
    parser.add_argument("only", nargs="*", help="stems or their beginnings, such as 01")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true", help="fail when one is stale")
    choice.add_argument("--no-execute", action="store_true", help="sources only")
    choice.add_argument("--force", action="store_true", help="execute all")
    arguments = parser.parse_args(words)
    begin = tuple(arguments.only or [""])
    chosen = [n for n in names or titles() if n.rpartition("/")[2].startswith(begin)]
    if not chosen:
        parser.error(f"no source begins with {' or '.join(arguments.only)}")
    made = {name: make(name) for name in chosen}
    problems = {name: problem for name in made if (problem := stale(name, made[name]))}
    if arguments.check:
        print("\n".join(problems.values()) or f"{len(made)} notebooks are fresh")
        if problems:
            print("build them again: make notebooks")
        return bool(problems)
    for name, notebook in made.items():
        if name not in problems and not arguments.force:
            print(f"{name}: fresh")
            continue
        if tagged(notebook, "provenance"):  # exercises have none, and no outputs
            if old := existing(name):
                keep_outputs(notebook, old)
            if not arguments.no_execute:
                print(f"{name}: executing ...", flush=True)
                execute(name, notebook)
        nbformat.validate(notebook)
        from utils import environment  # brings Keras along, which takes seconds

        with environment.replacing(path_of(name)) as temporary:
            nbformat.write(notebook, temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
