"""Build the exercises and their solutions, both from one source a chapter.

    python -m tools.build_exercises [01 02]  those that changed; solutions are executed
    python -m tools.build_exercises --check  write nothing; fail when one is stale

A source, `notebooks/src/exercises/NN_name.py`, is a percent script with the name of its
chapter. Tags say where a cell goes; one without any of these goes into both notebooks:

    stub      exercises only: what the reader fills in
    solution  solutions only, in the stub's place
    why       solutions only: the reason, in a few sentences
    wrong     neither: a plausible wrong answer, which the check must catch in the tests
    also      neither: another right answer, which the check must accept in the tests
    check     both: says kindly what is off, or prints one line that begins with "Right"
"""

import argparse
import hashlib
import sys

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell

from tools import build_notebooks
from tools.build_notebooks import COLAB, FOOTER, KEY, ROOT, SETUP

SOURCES = ROOT / "notebooks" / "src" / "exercises"
LEFT_OUT = {
    "exercises": {"solution", "why", "wrong", "also"},
    "solutions": {"stub", "wrong", "also"},
}
OTHER = {
    "exercises": "stuck, or done? [solutions](../solutions/{stem}.ipynb)",
    "solutions": "try them first: [exercises](../exercises/{stem}.ipynb)",
}
LEAD = {
    "exercises": "Fill in the cell below each text, then run the check under it.",
    "solutions": "Below each text one answer of several, its check, and the reason.",
}


def stems() -> list[str]:
    """Return the name of every source, in reading order."""
    return sorted(path.stem for path in SOURCES.glob("[0-9][0-9]_*.py"))


def source_cells(stem: str) -> list[nbformat.NotebookNode]:
    """Return the cells of a source, all kinds of them."""
    return jupytext.read(SOURCES / f"{stem}.py").cells


def header(stem: str, kind: str, body: str) -> str:
    """Put title, badge and the links to chapter and counterpart on the first cell."""
    title, text = body.removeprefix("# ").split("\n\n", 1)
    colab = build_notebooks.address().replace("https://github.com", f"{COLAB}/github")
    badge = f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]"
    line = [f"{badge}({colab}/blob/main/notebooks/{kind}/{stem}.ipynb)"]
    if (build_notebooks.SOURCES / f"{stem}.py").is_file():  # a chapter may come later
        line.append(f"chapter: [{title}](../{stem}.ipynb)")
    line.append(OTHER[kind].format(stem=stem))
    line.append("[index](../../README.md#the-notebooks)")
    title = f"# {stem[:2]} {kind.capitalize()}: {title}"
    return "\n\n".join([title, " · ".join(line), f"{text} {LEAD[kind]}"])


def compose(stem: str, kind: str) -> nbformat.NotebookNode:
    """Return the `exercises` or the `solutions` of one source, without outputs."""
    first, *others = source_cells(stem)
    cells = [new_markdown_cell(header(stem, kind, first.source))]
    for cell in others:
        tags = cell.metadata.get("tags", [])
        if LEFT_OUT[kind] & set(tags):
            continue
        source = cell.source
        if "setup" in tags:
            address = build_notebooks.address()
            source = SETUP.format(address=address, name=address.rsplit("/", 1)[1])
        make = new_code_cell if cell.cell_type == "code" else new_markdown_cell
        cells.append(make(source, metadata={"tags": tags} if tags else {}))
    content = "\0".join(f"{cell.cell_type}\0{cell.source}" for cell in cells)
    source = hashlib.sha256(content.encode()).hexdigest()[:16]
    if kind == "solutions":
        footer = FOOTER.format(source=source)
        cells.append(new_code_cell(footer, metadata={"tags": ["provenance"]}))
    for number, cell in enumerate(cells):
        cell.id = f"{stem}-{kind}-{number:03d}"
    notebook = nbformat.v4.new_notebook(cells=cells)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook.metadata[KEY] = {"source": source}
    return nbformat.from_dict(notebook)


def stale(stem: str, kind: str) -> str | None:
    """Say what is wrong with a committed notebook, or return None."""
    name = f"notebooks/{kind}/{stem}.ipynb"
    old, new = build_notebooks.existing(f"{kind}/{stem}"), compose(stem, kind)
    if old is None:
        return f"{name} is missing"
    if old.metadata.get(KEY) != new.metadata[KEY]:
        return f"{name} was built from another source"
    if build_notebooks.written(old) != build_notebooks.written(new):
        return f"{name} was edited by hand"
    if kind == "solutions" and not build_notebooks.executed(old):
        return f"{name} was not executed from top to bottom"
    if kind == "exercises" and any(c.get("outputs") for c in old.cells):
        return f"{name} has outputs; the reader's come first"
    return None


def execute(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in order in the solutions' folder; drop timings and chatter."""
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(ROOT / "notebooks" / "solutions")}},
    ).execute()
    build_notebooks.drop_startup_chatter(notebook)
    notebook.metadata["language_info"] = {"name": "python"}


def main() -> int:
    parser = argparse.ArgumentParser(description="Build exercises and solutions.")
    parser.add_argument("only", nargs="*", help="stems or their beginnings, such as 01")
    parser.add_argument("--check", action="store_true", help="fail when one is stale")
    arguments = parser.parse_args()
    chosen = [s for s in stems() if s.startswith(tuple(arguments.only or [""]))]
    if not chosen:
        parser.error(f"no source begins with {' or '.join(arguments.only)}")
    pairs = [(stem, kind) for stem in chosen for kind in LEFT_OUT]
    problems = {pair: problem for pair in pairs if (problem := stale(*pair))}
    if arguments.check:
        print("\n".join(problems.values()) or f"{len(pairs)} notebooks are fresh")
        if problems:
            print("build them again: make notebooks")
        return bool(problems)
    for stem, kind in pairs:
        if (stem, kind) not in problems:
            print(f"{kind}/{stem}: fresh")
            continue
        notebook = compose(stem, kind)
        (ROOT / "notebooks" / kind).mkdir(exist_ok=True)
        if kind == "solutions":
            print(f"{kind}/{stem}: executing ...", flush=True)
            execute(notebook)
        build_notebooks.write(f"{kind}/{stem}", notebook)
    return 0


if __name__ == "__main__":
    sys.exit(main())
