"""Make static pages of README, data card and the committed notebooks in `build/site/`.

    python -m tools.site.build

Nothing is executed: the outputs are those in git. Nothing is fetched either, not while
it builds and not by the pages, which hold their scripts and the formulas' typesetter. A
page is copied to `build/site-work/`, its links are turned to other pages of the site
or, for files that have none, to the repository; Sphinx does the rest (`docs/conf.py`).
"""

import hashlib
import importlib.metadata
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

import nbformat

from tools.pages.build import ROOT, address

SITE = ROOT / "build" / "site"
WORK = ROOT / "build" / "site-work"
PICTURES = {".svg", ".jpg", ".png"}
# What the npm package mathjax 3.2.2 holds as es5/tex-svg.js, byte for byte.
MATHJAX = "d4295dc33744836935c1399feece5159577b34c5c8ffb9f1c6324cd82e03a882"
FOLDED = {  # our tag, myst-nb's tag, and what is to be read on the fold
    "setup": ("hide-cell", "The setup cell, the same in every notebook"),
    "preview": ("hide-input", "The cell that shows this picture"),
}
PAGES = {
    "Notebooks": "notebooks/[0-9]*.ipynb",
    "Exercises": "notebooks/exercises/*.ipynb",
    "Solutions": "notebooks/solutions/*.ipynb",
    "Data": "data/README.md",
    "Other languages": "README.*.md",
}


def pages() -> dict[str, list[str]]:
    """Return caption -> paths of the site's pages from the root; README comes apart."""
    found = {}
    for caption, pattern in PAGES.items():
        if paths := sorted(ROOT.glob(pattern)):
            found[caption] = [path.relative_to(ROOT).as_posix() for path in paths]
    return found


def rehome(text: str, path: str) -> str:
    """Turn a page's links to what the site has no page for to the repository.

    Pictures from other servers become their alt text; `path` is the page's, from ROOT.
    """
    known = {"README.md", *(one for group in pages().values() for one in group)}
    folder = os.path.dirname(path)

    def turned(match: re.Match) -> str:
        target, hash_, anchor = match[1].partition("#")
        full = os.path.normpath(os.path.join(folder, target))
        if full == "README.md":
            target = os.path.relpath("index.md", folder or ".")
        elif full not in known and pathlib.Path(full).suffix not in PICTURES:
            kind = "tree" if (ROOT / full).is_dir() else "blob"
            target = f"{address()}/{kind}/main/{full}"
        return f"]({target}{hash_}{anchor})"

    text = re.sub(r"!\[([^\]]*)\]\(https?:[^)]*\)", r"\1", text)
    text = re.sub(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)", turned, text)
    # Where there is no address yet, the words alone.
    return re.sub(r"\[([^\]]+)\]\(/(?:blob|tree)/main/[^)]*\)", r"\1", text)


def page_text(text: str, path: str) -> str:
    """Return a notebook's Markdown as the site shows it.

    The theme leads to the page before, the next and the index; the title line keeps
    what it has besides. Paragraphs that ask for a prediction get a class. Anchors of
    our own go: headings have the same, and the search stumbles over an empty element.
    """
    for pattern, shown in (
        (r'^<a id="[\w-]+"></a>\n+', ""),
        (r"(?:^| · )(?:(?:previous|next): \[[^\]]*\]|\[index\])\([^)]*\)", ""),
        (r"(\[!\[Open in \w+\]\S+)", r"\1{.colab}"),
    ):
        text = re.sub(pattern, shown, text, flags=re.MULTILINE)
    paragraphs = text.split("\n\n")
    for number, paragraph in enumerate(paragraphs):
        if "**Predict**" in paragraph and re.match(r"[*\w]", paragraph):
            paragraphs[number] = "{.predict}\n" + paragraph
    return rehome("\n\n".join(paragraphs), path)


def one_picture_each(cell: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Split a code cell after each picture: myst-nb knows one alt text for a cell."""
    outputs, cell.outputs = cell.get("outputs", []), []
    for number, output in enumerate(outputs):
        cell.outputs.append(output)
        kinds = [k for k in output.get("data", {}) if k.startswith("image/")]
        if kinds:
            alt = output.metadata.get(kinds[0], output.metadata).get("alt", "")
            cell.metadata["mystnb"]["image"] = {"alt": alt}
            if outputs[number + 1 :]:
                yield cell
                hidden = {"tags": ["remove-input"], "mystnb": {}}
                cell = nbformat.v4.new_code_cell(metadata=hidden)
    yield cell


def page(path: str) -> str:
    """Return the source of a page, a notebook's JSON or Markdown, made ready."""
    if not path.endswith(".ipynb"):
        return rehome((ROOT / path).read_text(encoding="utf-8"), path)
    read = nbformat.read(ROOT / path, as_version=4)
    cells = []
    for cell in read.cells:
        if cell.cell_type != "code":
            cell.source = page_text(cell.source, path)
            cells.append(cell)
            continue
        cell.metadata["mystnb"] = {}
        for tag in set(cell.metadata.get("tags", [])) & set(FOLDED):
            hide, words = FOLDED[tag]
            cell.metadata["tags"].append(hide)
            prompts = {"code_prompt_show": words, "code_prompt_hide": words}
            cell.metadata["mystnb"] = prompts
        cells += one_picture_each(cell)
    read.cells = cells
    return nbformat.writes(read)


def mathjax() -> bytes:
    """Return MathJax's script for TeX from the installed package, its bytes checked."""
    files = importlib.metadata.files("sphinx-mathjax-offline") or []
    (found,) = [f for f in files if f.as_posix().endswith("mathjax/tex-svg.js")]
    content = found.locate().read_bytes()
    if hashlib.sha256(content).hexdigest() != MATHJAX:
        raise ValueError(
            "The installed sphinx-mathjax-offline holds another MathJax than 3.2.2; "
            "install the version that requirements-site.txt names."
        )
    return content


def prepare() -> None:
    """Write all sources of the site into `build/site-work/`, afresh."""
    shutil.rmtree(WORK, ignore_errors=True)
    index = page("README.md")
    files = {"static/tex-svg.js": mathjax()}
    for caption, paths in pages().items():  # the tables of contents, hidden
        names = "\n".join(paths)
        index += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{names}\n```\n"
        files |= {f"pages/{path}": page(path).encode() for path in paths}
    files["pages/index.md"] = index.encode()
    for name, content in files.items():
        (WORK / name).parent.mkdir(parents=True, exist_ok=True)
        (WORK / name).write_bytes(content)
    figures = WORK / "pages" / "notebooks" / "figures"
    shutil.copytree(ROOT / "notebooks" / "figures", figures)


def main() -> int:
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        print("error: Sphinx is not installed here; `make site` installs it and builds")
        return 2
    prepare()
    shutil.rmtree(SITE, ignore_errors=True)
    options = ["-q", "-W", "--keep-going", "-c", ROOT / "docs", "-d", WORK / "doctrees"]
    failed = build_main([str(one) for one in (*options, WORK / "pages", SITE)])
    if not failed:
        print(f"{sum(map(len, pages().values())) + 1} pages: build/site/index.html")
    return failed


if __name__ == "__main__":
    sys.exit(main())
