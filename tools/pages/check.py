"""The house style as checks: what every committed notebook must look like.

    python -m tools.pages.check

Each check takes a notebook and yields sentences about what is wrong; no sentence, no
problem. `tests/test_notebooks.py` runs them too.
"""

import ast
import contextlib
import pathlib
import re
import statistics
import sys
from collections.abc import Iterator

import nbformat

from tools.pages import build
from tools.pages.build import ROOT

LARGEST = 1_000_000  # bytes
NEEDED = ("setup", "parameters", "provenance", "key-figure")
SECTIONS = ["What can go wrong", "Summary", "Questions", "References"]
FORBIDDEN = {
    r"^\s*[!%]": "a shell escape or a magic",
    r"import \*": "import *",
    r"filterwarnings|simplefilter": "a warning filter",
    r"matplotlib\.use": "a backend switch",
}
PRIVATE = re.compile(r"/(?:home|Users|root|work|tmp|private)/[\w.]")


def assigned(tree: ast.AST) -> set[str]:
    """Return the names that code stores a value under."""
    names = (n for n in ast.walk(tree) if isinstance(n, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def code(notebook) -> list:
    return [c for c in notebook.cells if c.cell_type == "code"]


def text(notebook) -> str:
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def structure(notebook) -> Iterator[str]:
    """One title, the needed sections, the needed cells, a sensible length."""
    prose = text(notebook)
    if not re.match(r"# \d\d ", notebook.cells[0].source):
        yield "no title of the form '# NN Title' on top"
    headings = " ".join(re.findall(r"^## .+", prose, flags=re.MULTILINE))
    yield from (f"no section '{name}'" for name in SECTIONS if name not in headings)
    tagged = [tag for cell in notebook.cells for tag in tags(cell)]
    read = re.sub(r"\]\([^)]*\)", "]", prose)  # the address of a link is not
    for name, (count, least, most) in {
        "titles": (len(re.findall(r"^# ", prose, flags=re.MULTILINE)), 1, 1),
        **{f"cells tagged {tag}": (tagged.count(tag), 1, 1) for tag in NEEDED},
        "lines with **Predict**": (prose.count("**Predict**"), 1, 99),
        "questions with folded answers": (prose.count("<details>"), 3, 6),
        "words": (len(re.findall(r"\w+", read)), 1000, 2500),
        "cells": (len(notebook.cells), 35, 70),
    }.items():
        if not least <= count <= most:
            yield f"{count} {name}, not {least} to {most}"


def style(cell) -> Iterator[str]:
    """Short lines, nothing forbidden, upper-case names alone among the parameters."""
    for line in cell.source.splitlines():
        if len(line) > 88:
            yield f"{cell.id}: a line of {len(line)} characters"
    for pattern, name in FORBIDDEN.items():
        if re.search(pattern, cell.source, flags=re.MULTILINE):
            yield f"{cell.id}: {name}"
    if "parameters" in tags(cell):
        for name in assigned(ast.parse(cell.source)):
            if not name.isupper():
                yield f"{cell.id}: parameter {name} is not in upper case"


def cells(notebook) -> Iterator[str]:
    """Short cells that do one thing, at most two of code in a row."""
    lengths, in_a_row = [], 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or tags(cell) & {"setup", "provenance"}:
            in_a_row = 0
            continue
        in_a_row += 1
        if in_a_row == 3:
            yield f"{cell.id}: three code cells in a row"
        yield from style(cell)
        lengths.append(len(cell.source.splitlines()))
        if lengths[-1] > 40 and "whole-model" not in tags(cell):
            yield f"{cell.id}: {lengths[-1]} lines in a cell"
    if lengths and not 3 <= statistics.median(lengths) <= 9:
        yield f"median cell of {statistics.median(lengths):.0f} lines, not 3 to 9"


def names(notebook) -> Iterator[str]:
    """No variable takes the name of what the page has imported."""
    known, stored = set(), set()
    for cell in code(notebook):
        with contextlib.suppress(SyntaxError):  # `cells` says what is no Python
            tree = ast.parse(cell.source)
            imports = (node for node in ast.walk(tree) if isinstance(node, ast.alias))
            known |= {one.asname or one.name for one in imports}
            stored |= assigned(tree)
    yield from (f"the variable {name} hides an import" for name in known & stored)


def outputs(notebook) -> Iterator[str]:
    """Executed in one go, no error, no chatter, alt text on every picture."""
    if not build.executed(notebook):
        yield "not executed from top to bottom in one go"
    if "widgets" in notebook.metadata:
        yield "widget state"
    for cell in code(notebook):
        if "execution" in cell.metadata:
            yield f"{cell.id}: timings in the cell's metadata"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"{cell.id}: an error"
            if output.get("name") == "stderr":
                yield f"{cell.id}: output on stderr: {output.text[:60]!r}"
            for kind in output.get("data", {}):
                about = output.metadata.get(kind, output.metadata)
                if kind.startswith("image/") and len(about.get("alt", "")) < 15:
                    yield f"{cell.id}: a picture without alternative text"


def links(notebook) -> Iterator[str]:
    """Links inside the repository hold; pictures have alt text."""
    bare = re.findall(r"!\[\s*\]\(([^)]+)\)", text(notebook))
    yield from (f"no alt text for {target}" for target in bare)
    for target in re.findall(r"\]\((?!http|#)([^)\s]+)\)", text(notebook)):
        path, _, anchor = target.partition("#")
        file = ROOT / "notebooks" / path
        if not file.exists():
            yield f"a link to {target}, which does not exist"
        elif anchor and anchor not in anchors(file):
            yield f"a link to {target}, whose section does not exist"


def anchors(file: pathlib.Path) -> set[str]:
    """Return the anchors GitHub makes of the headings of a page."""
    content = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        content = text(nbformat.reads(content, as_version=4))
    headings = re.findall(r"^#+ (.+)", content, flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", one.strip().lower()) for one in headings)
    return {one.replace(" ", "-") for one in plain}


def whole(notebook) -> Iterator[str]:
    """No private path, not too large."""
    written = nbformat.writes(notebook)
    if found := PRIVATE.search(written):
        yield f"an absolute path, {found.group()}..."
    if (size := len(written.encode())) > LARGEST:
        yield f"{size / 1e6:.1f} MB, more than 1 MB"


def problems(path: pathlib.Path) -> list[str]:
    """Return everything that is wrong with one committed notebook."""
    notebook = nbformat.read(path, as_version=4)
    checks = (structure, cells, names, outputs, links, whole)
    return [sentence for check in checks for sentence in check(notebook)]


def main() -> int:
    paths = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    found = [f"{path.name}: {one}" for path in paths for one in problems(path)]
    print("\n".join([*found, f"{len(found)} problems"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
