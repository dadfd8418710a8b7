"""The house style as checks: what every committed notebook must look like.

    python -m tools.check_notebooks

Each check takes a notebook and yields sentences about what is wrong; no sentence, no
problem. `tests/test_notebooks.py` runs them too.
"""

import ast
import pathlib
import re
import statistics
import sys
from collections.abc import Iterator

import nbformat

from tools import build_notebooks

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORDS, CELLS = (1000, 2500), (35, 70)
LARGEST = 1_000_000  # bytes
SECTIONS = ["What can go wrong", "Summary", "Questions", "References"]
FORBIDDEN = {
    r"^\s*[!%]": "a shell escape or a magic",
    r"import \*": "import *",
    r"filterwarnings|simplefilter": "a warning filter",
    r"matplotlib\.use": "a backend switch",
}
PRIVATE = re.compile(r"/(?:home|Users|root|work|tmp|private)/[\w.]")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def code(notebook) -> list:
    return [c for c in notebook.cells if c.cell_type == "code"]


def text(notebook) -> str:
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def structure(notebook) -> Iterator[str]:
    """One title, the needed sections, the needed cells, a sensible length."""
    titles = re.findall(r"^# .+", text(notebook), flags=re.MULTILINE)
    if len(titles) != 1 or not re.match(r"# \d\d ", notebook.cells[0].source):
        yield f"one title of the form '# NN Title' on top, not {titles}"
    headings = re.findall(r"^## (.+)", text(notebook), flags=re.MULTILINE)
    for section in SECTIONS:
        if not any(section in heading for heading in headings):
            yield f"no section '{section}'"
    for tag in ("setup", "parameters", "provenance", "key-figure"):
        count = sum(tag in tags(cell) for cell in notebook.cells)
        if count != 1:
            yield f"one cell tagged {tag}, not {count}"
    if "**Predict**" not in text(notebook):
        yield "no **Predict** line before a surprise"
    if not 3 <= text(notebook).count("<details>") <= 6:
        yield "3 to 6 questions with folded answers"
    # The address of a link is not read.
    words = len(re.findall(r"\w+", re.sub(r"\]\([^)]*\)", "]", text(notebook))))
    if not WORDS[0] <= words <= WORDS[1]:
        yield f"{words} words, not {WORDS[0]} to {WORDS[1]}"
    if not CELLS[0] <= len(notebook.cells) <= CELLS[1]:
        yield f"{len(notebook.cells)} cells, not {CELLS[0]} to {CELLS[1]}"


def cells(notebook) -> Iterator[str]:
    """Short cells that do one thing, at most two of code in a row."""
    lengths = []
    for cell in code(notebook):
        lines = cell.source.splitlines()
        if set(tags(cell)) & {"setup", "provenance"}:
            continue
        lengths.append(len(lines))
        if len(lines) > 40 and "whole-model" not in tags(cell):
            yield f"{cell.id}: {len(lines)} lines in a cell"
        for line in lines:
            if len(line) > 88:
                yield f"{cell.id}: a line of {len(line)} characters"
        for pattern, name in FORBIDDEN.items():
            if re.search(pattern, cell.source, flags=re.MULTILINE):
                yield f"{cell.id}: {name}"
        if "parameters" in tags(cell):
            yield from parameters(cell)
    if lengths and not 3 <= statistics.median(lengths) <= 9:
        yield f"median cell of {statistics.median(lengths):.0f} lines, not 3 to 9"
    kinds = "".join(
        "s" if "setup" in tags(c) or "provenance" in tags(c) else c.cell_type[0]
        for c in notebook.cells
    )
    if "ccc" in kinds:
        yield f"{notebook.cells[kinds.index('ccc')].id}: three code cells in a row"


def parameters(cell) -> Iterator[str]:
    """The parameters cell: upper-case names alone."""
    for node in ast.walk(ast.parse(cell.source)):
        stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        if stored and not node.id.isupper():
            yield f"{cell.id}: parameter {node.id} is not in upper case"


def outputs(notebook) -> Iterator[str]:
    """Executed in one go, no error, no chatter, alt text on every picture."""
    if not build_notebooks.executed(notebook):
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
                if not kind.startswith("image/"):
                    continue
                alt = output.metadata.get(kind, output.metadata).get("alt", "")
                if len(alt) < 15:
                    yield f"{cell.id}: a picture without alternative text"


def links(notebook) -> Iterator[str]:
    """Links and pictures inside the repository exist; no private paths; alt text."""
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text(notebook)):
        if not alt.strip():
            yield f"no alt text for {target}"
    for target in re.findall(r"\]\(([^)\s]+)\)", text(notebook)):
        if target.startswith(("http", "#")):
            continue
        path, _, anchor = target.partition("#")
        file = ROOT / "notebooks" / path
        if not file.exists():
            yield f"a link to {target}, which does not exist"
        elif anchor and anchor not in anchors(file):
            yield f"a link to {target}, whose section does not exist"
    if found := PRIVATE.search(nbformat.writes(notebook)):
        yield f"an absolute path, {found.group()}..."


def anchors(file: pathlib.Path) -> set[str]:
    """Return the anchors GitHub makes of the headings of a page."""
    content = file.read_text()
    if file.suffix == ".ipynb":
        content = text(nbformat.reads(content, as_version=4))
    found = set()
    for heading in re.findall(r"^#+ (.+)", content, flags=re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(plain.replace(" ", "-"))
    return found


def problems(path: pathlib.Path) -> list[str]:
    """Return everything that is wrong with one committed notebook."""
    notebook = nbformat.read(path, as_version=4)
    checks = (structure, cells, outputs, links)
    found = [sentence for check in checks for sentence in check(notebook)]
    if path.stat().st_size > LARGEST:
        found.append(f"{path.stat().st_size / 1e6:.1f} MB, more than 1 MB")
    return found


def main() -> int:
    count = 0
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        for sentence in problems(path):
            print(f"{path.name}: {sentence}")
            count += 1
    print(f"{count} problems")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
