"""The bug zoo: its table of symptoms leads to every cage, and each cage is locked."""

import re

import jupytext
import pytest
from conftest import ROOT

from tools.pages import check

PAGE = ROOT / "notebooks" / "09_bug_zoo.ipynb"
CELLS = jupytext.read(ROOT / "notebooks" / "src" / "09_bug_zoo.py").cells
TEXT = "\n\n".join(c.source for c in CELLS if c.cell_type == "markdown")
ANCHOR = r'<a id="(\S+)"></a>'


def cages() -> dict[str, str]:
    """Return anchor -> the code of its cage, all other text left out."""
    kept = []
    for cell in CELLS:
        ends = r"^## .+$"  # what follows is another chapter, until the next anchor
        marks = re.findall(rf"{ends}|{ANCHOR}", cell.source, re.MULTILINE)
        if cell.cell_type == "code":
            kept.append(cell.source)
        else:
            kept += [f"\0{anchor}\0" for anchor in marks]
    parts = "\n".join(kept).split("\0")[1:]
    return {a: code for a, code in zip(parts[::2], parts[1::2], strict=True) if a}


def test_the_table_leads_to_every_cage_and_to_nothing_else():
    linked = re.findall(r"^\|.*\[(.+)\]\(#(\S+)\) \|$", TEXT, re.MULTILINE)
    titled = re.findall(rf"^{ANCHOR}\n\n### (.+)$", TEXT, re.MULTILINE)
    assert len(titled) >= 12
    assert linked == [(title, anchor) for anchor, title in titled]
    assert len(re.findall(r"^### ", TEXT, re.MULTILINE)) == len(titled)


def test_the_anchors_are_those_github_makes_of_the_titles():
    written = re.findall(ANCHOR, TEXT)
    assert len(set(written)) == len(written)
    assert set(written) <= check.anchors(PAGE)


@pytest.mark.parametrize("anchor", re.findall(ANCHOR, TEXT))
def test_a_cage_shows_both_lines_and_asserts_a_test(anchor):
    code = cages()[anchor]
    assert re.search(r"\b[Ww]rong\b", code) and re.search(r"\b[Rr]ight\b", code)
    assert re.search(r"\b[Tt]he test\b", code) and "assert " in code
