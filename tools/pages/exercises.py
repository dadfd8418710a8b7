"""Build the exercises and their solutions, both from one source a chapter.

    python -m tools.pages.exercises [01 02]  those that changed; solutions are executed
    python -m tools.pages.exercises --check  write nothing; fail when one is stale

A source, `notebooks/src/exercises/NN_name.py`, is a percent script with the name of its
chapter. Tags say where a cell goes; one without any of these goes into both notebooks:

    stub      exercises only: what the reader fills in
    solution  solutions only, in the stub's place
    why       solutions only: the reason, in a few sentences
    wrong     neither: a plausible wrong answer, which the check must catch in the tests
    also      neither: another right answer, which the check must accept in the tests
    check     both: says kindly what is off, or prints one line that begins with "Right"
"""

import sys

import jupytext
import nbformat

from tools.pages import build

SOURCES = build.SOURCES / "exercises"
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


def compose(name: str) -> nbformat.NotebookNode:
    """Return the exercises or the solutions of one source, without outputs."""
    kind, stem = name.split("/")
    first, *others = source_cells(stem)
    title, text = first.source.removeprefix("# ").split("\n\n", 1)
    links = [f"chapter: [{title}](../{stem}.ipynb)", OTHER[kind].format(stem=stem)]
    links.append("[index](../../README.md#the-notebooks)")
    title = f"{stem[:2]} {kind.capitalize()}: {title}"
    first = build.title_cell(title, links, f"{text} {LEAD[kind]}")
    others = [c for c in others if not LEFT_OUT[kind] & set(c.metadata.get("tags", []))]
    return build.assemble(name, first, others, footer=kind == "solutions")


def main(words: list[str] | None = None) -> int:
    """Build what is stale, or what the words of the command choose."""
    names = [f"{kind}/{stem}" for stem in stems() for kind in LEFT_OUT]
    return build.main(compose, names, words)


if __name__ == "__main__":
    sys.exit(main())
