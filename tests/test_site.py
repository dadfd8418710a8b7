"""The site: every page there, nothing from elsewhere, all links hold, alt text real."""

import hashlib
import html.parser
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from tools.site import build as build_site
from tools.site import check as check_site

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}
PAGES = [
    path.relative_to(ROOT).with_suffix(".html").as_posix()
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
]


class Tags(html.parser.HTMLParser):
    """All tags of a page with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site():
    """Return path -> tags of every page of the site, built from what is here now."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.site.build"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.relative_to(build_site.SITE).as_posix(): Tags(
            path.read_text(encoding="utf-8")
        ).found
        for path in build_site.SITE.rglob("*.html")
    }


@pytest.mark.slow
def test_every_notebook_has_a_page_that_leads_to_its_neighbours(site):
    for before, after in itertools.pairwise(PAGES):
        links = {
            attributes.get("class"): attributes["href"]
            for tag, attributes in site[before]
            if tag == "a" and "href" in attributes
        }
        assert links["next-page"] == pathlib.Path(after).name
    assert {"index.html", "search.html", "data/README.html"} <= set(site)


@pytest.mark.slow
def test_nothing_comes_from_another_server(site):
    for page, tags in site.items():
        for tag, attributes in tags:
            address = attributes.get(LOADED.get(tag), "") or ""
            assert not urlsplit(address).netloc, f"{page} loads {address}"
    for sheet in build_site.SITE.rglob("*.css"):
        assert not re.search(
            r"(?:url\(|@import)\s*['\"]?(?:https?:)?//",
            sheet.read_text(encoding="utf-8"),
        )


@pytest.mark.slow
def test_alt_text_is_the_notebooks_own(site):
    for page, tags in site.items():
        alts = [attributes.get("alt") for tag, attributes in tags if tag == "img"]
        assert all(alts), f"{page}: a picture without alt text"
        if page in PAGES:
            read = nbformat.read(ROOT / page.replace(".html", ".ipynb"), as_version=4)
            outputs = [o for cell in read.cells for o in cell.get("outputs", [])]
            known = [
                output.metadata[kind]["alt"]
                for output in outputs
                for kind in output.get("data", {})
                if kind.startswith("image/")
            ]
            assert [alt for alt in alts if alt in known] == known


@pytest.mark.slow
def test_all_links_inside_the_site_hold(site):
    ids = {
        page: {attributes["id"] for _, attributes in tags if attributes.get("id")}
        for page, tags in site.items()
    }
    for page, tags in site.items():
        for _, attributes in tags:
            for address in (attributes.get("href"), attributes.get("src")):
                parts = urlsplit(address or "")
                if not address or parts.scheme or parts.netloc:
                    continue
                folder = (build_site.SITE / page).parent
                target = folder / unquote(parts.path) if parts.path else folder
                assert target.resolve().exists(), f"{page} leads to {address}"
                whole = page if not parts.path else target.resolve()
                if parts.path and target.suffix == ".html":
                    whole = whole.relative_to(build_site.SITE).as_posix()
                if parts.fragment and target.suffix != ".svg":
                    assert unquote(parts.fragment) in ids[whole], f"{page}: {address}"


@pytest.mark.slow
def test_search_finds_bilinear_where_it_is_taught(site):
    index = (build_site.SITE / "searchindex.js").read_text(encoding="utf-8")
    read = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    found = [read["terms"]["bilinear"], read["titleterms"]["bilinear"]]
    numbers = [n for one in found for n in (one if isinstance(one, list) else [one])]
    assert "notebooks/03_upsampling" in [read["docnames"][n] for n in numbers]


@pytest.mark.slow
def test_formulas_are_typeset_by_the_mathjax_that_is_pinned(site):
    script = (build_site.SITE / "_static" / "tex-svg.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == build_site.MATHJAX
    for page, tags in site.items():
        formulas = any("math" in (a.get("class") or "").split() for _, a in tags)
        scripts = [a.get("src") or "" for tag, a in tags if tag == "script"]
        assert any("tex-svg.js" in address for address in scripts) == formulas, page
    assert any("math" in (a.get("class") or "") for _, a in site[PAGES[3]])


def test_another_mathjax_is_refused(monkeypatch):
    monkeypatch.setattr(build_site, "MATHJAX", "0" * 64)
    with pytest.raises(ValueError, match=r"another MathJax than 3\.2\.2"):
        build_site.mathjax()


@pytest.mark.slow
def test_what_the_theme_leaves_wrong_for_screen_readers_is_mended(site):
    for page, tags in site.items():
        for tag, attributes in tags:
            heading = attributes.get("role") == "heading"
            assert not heading or "aria-level" in attributes, page
            assert tag != "summary" or "aria-label" not in attributes, page


@pytest.mark.slow
def test_pages_hold_no_path_of_this_machine(site):
    for page in site:
        assert str(ROOT) not in (build_site.SITE / page).read_text(encoding="utf-8"), (
            page
        )


def test_links_lead_to_pages_or_to_the_repository(monkeypatch):
    address = "https://example.org/a/b"
    monkeypatch.setattr(build_site, "address", lambda: address)
    page = PAGES[0].replace(".html", ".ipynb")
    for before, after in {
        "[a](../README.md#the-notebooks)": "[a](../index.md#the-notebooks)",
        "[a](../data/README.md)": "[a](../data/README.md)",
        "[a](01_vgg16_classification.ipynb)": "[a](01_vgg16_classification.ipynb)",
        "[a](../LICENSE)": f"[a]({address}/blob/main/LICENSE)",
        "[a](../tools)": f"[a]({address}/tree/main/tools)",
        "[a](#summary) [b](https://x.org/)": "[a](#summary) [b](https://x.org/)",
        "[![Run](https://x.org/b.svg)](https://x.org/)": "[Run](https://x.org/)",
        "![a cat](figures/vgg16.svg)": "![a cat](figures/vgg16.svg)",
    }.items():
        assert build_site.rehome(before, page) == after
    monkeypatch.setattr(build_site, "address", lambda: "")
    assert build_site.rehome("[a](../LICENSE) [b](../tools)", page) == "a b"


ASKED = "So look.\n**Predict**: what?"  # a paragraph whose second line happens to ask


def test_the_title_line_keeps_what_the_theme_does_not_show():
    line = (
        "[![Open in Colab](https://x.org/b.svg)](https://x.org/a) · previous: "
        "[x](x.ipynb) · [index](../README.md) · [solution](https://x.org/s) · "
        "next: [y](y.ipynb)"
    )
    shown = build_site.page_text(f"# T\n\n{line}\n\n{ASKED}", "notebooks/a")
    assert shown == (
        "# T\n\n[Open in Colab](https://x.org/a){.colab} · [solution](https://x.org/s)"
        f"\n\n{{.predict}}\n{ASKED}"
    )


def test_a_title_line_of_the_themes_links_alone_goes():
    line = "previous: [x](x.ipynb) · [index](../README.md) · next: [y](y.ipynb)"
    shown = build_site.page_text(f"# T\n\n{line}\n\nText.", "notebooks/a")
    assert shown.split() == ["#", "T", "Text."]


def test_empty_anchors_go_and_the_heading_keeps_its_own():
    shown = build_site.page_text(
        'So.\n\n<a id="a-b"></a>\n\n### A b\n\nx', "notebooks/a"
    )
    assert shown == "So.\n\n### A b\n\nx"


def picture(alt):
    data = {"image/png": "AA=="}
    return new_output("display_data", data, metadata={"image/png": {"alt": alt}})


def test_two_pictures_of_one_cell_keep_their_own_alt_text():
    text = [new_output("stream", text=name) for name in "abc"]
    outputs = [text[0], picture("one"), text[1], picture("two"), text[2]]
    cell = new_code_cell("show()", outputs=outputs, metadata={"mystnb": {}})
    first, second, last = build_site.one_picture_each(cell)
    assert [one.metadata.mystnb.image.alt for one in (first, second)] == ["one", "two"]
    assert first.source == "show()" and "tags" not in first.metadata
    assert second.metadata.tags == last.metadata.tags == ["remove-input"]
    assert first.outputs + second.outputs + last.outputs == outputs


def test_exercises_and_translations_are_listed_once_they_exist(tmp_path, monkeypatch):
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    names = ["notebooks/00_a.ipynb", "notebooks/exercises/00_a.ipynb"]
    for name in [*names, "README.md", "README.zh-CN.md"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert build_site.pages() == {
        "Notebooks": ["notebooks/00_a.ipynb"],
        "Exercises": ["notebooks/exercises/00_a.ipynb"],
        "Other languages": ["README.zh-CN.md"],
    }


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [("empty", "there is no build/site"), ("site", "no Chromium on PATH")],
)
def test_the_check_says_what_it_lacks(folder, sentence, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<article></article>")
    monkeypatch.setattr(check_site, "SITE", tmp_path / folder)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as stopped:
        check_site.main()
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_what_console_and_network_say_is_told_once_each():
    home = "http://127.0.0.1:1/"
    said = [SimpleNamespace(type=kind, text=kind) for kind in ("error", "log")]
    asked = [
        SimpleNamespace(url=url, failure=failure)
        for url, failure in (
            (home, None),
            ("data:,", None),
            (f"{home}gone", "net::ERR_FAILED"),
            (f"{home}other", "net::ERR_FAILED"),
            (f"{home}let-go", "net::ERR_ABORTED"),
            ("https://example.org/", None),
        )
    ]
    errors = [SimpleNamespace(message="thrown")]
    assert check_site.complaints(said, errors, asked, home) == [
        "console: error",
        "exception: thrown",
        "asks for https://example.org/",
        "a request failed: net::ERR_FAILED",
    ]


def test_axe_is_the_version_that_the_requirements_name():
    pytest.importorskip("axe_playwright_python", reason="it is for `make check-site`")
    named = (ROOT / "requirements-site.txt").read_text(encoding="utf-8")
    version = re.search(r"carries axe-core (\S+)", named)[1]
    assert check_site.axe().startswith(f"/*! axe v{version}\n")


FAULTY = """<!doctype html><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<article style="overflow: hidden"><div style="width: 3000px">wide</div>
<p>raw $x^2$</p><span class="math">\\(x\\)</span></article>
<div style="width: 2000px">wider</div>
<img src="gone.png" alt="a"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<script>
  fetch("https://example.org/").catch(() => 0);
  console.error("ours");
  setTimeout(() => { throw new Error("thrown"); });
</script>"""
SEARCH = """<!doctype html><html lang="en"><title>Search</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<main><h1>No article, and</h1><ul class="search"></ul></main>"""


@pytest.mark.long  # a browser's start is no business of `make test`
@pytest.mark.skipif(
    not any(map(shutil.which, check_site.BROWSERS)), reason="no Chromium on PATH"
)
def test_the_check_finds_what_is_planted(tmp_path, monkeypatch, capsys):
    pytest.importorskip("playwright", reason="it is for `make check-site`")
    (tmp_path / "index.html").write_text(FAULTY)
    (tmp_path / "search.html").write_text(SEARCH)
    monkeypatch.setattr(check_site, "SITE", tmp_path)
    monkeypatch.setattr(check_site, "SHOTS", tmp_path / "shots")
    assert check_site.main() == 1
    said, search = capsys.readouterr().out.split(check_site.SEARCH)
    for fault in (
        "missing picture",
        "no alt text",
        "scrolls sideways",
        "cut off",
        "not typeset",
        "raw formula",
        "asks for https://example.org/",
        "a request failed",
        "console: Failed to load resource: the server responded with a status of 404",
        "console: ours",
        "exception: thrown",
        "axe image-alt, 1 times",
        "axe html-has-lang, 1 times",
    ):
        assert fault in said
    assert "axe region" not in said, "a moderate fault is none"
    assert re.match(r": 1 faults\n  the search finds nothing \(.+\)\n2 pages", search)
    for size, (width, height) in check_site.SIZES.items():
        for scheme in ("light", "dark"):
            shot = Image.open(tmp_path / "shots" / f"search-{size}-{scheme}.png")
            assert shot.size == (width, height)
