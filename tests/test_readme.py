"""The two READMEs: fresh, complete, and of one mind."""

import copy
import re

import pytest
from conftest import ROOT

from tools import build_notebooks, build_readme
from utils import environment


@pytest.mark.parametrize("name", build_readme.FILES)
def test_is_fresh(name):
    text = (ROOT / name).read_text()
    assert build_readme.filled(text, build_readme.FILES[name]) == text, (
        "run python -m tools.build_readme"
    )


def rows(name):
    """Return the table of notebooks: stem -> (number and title, minutes, link)."""
    text = (ROOT / name).read_text()
    found = re.findall(
        r"^\| \[([^\]]+)\]\(notebooks/(\w+)\.ipynb\) \| .+ "
        r"\| (\S+) \| \[Colab\]\((\S+)\) \|$",
        text,
        flags=re.MULTILINE,
    )
    return {stem: (title, minutes, link) for title, stem, minutes, link in found}


@pytest.mark.parametrize("name", build_readme.FILES)
def test_every_notebook_is_listed_with_measured_minutes(name):
    titles = build_notebooks.titles()
    assert list(rows(name)) == list(titles)
    for stem, (title, minutes, link) in rows(name).items():
        assert title.startswith(stem[:2])
        assert float(minutes) < 3, "a page's budget without a GPU is three minutes"
        assert link.endswith(f"/blob/main/notebooks/{stem}.ipynb")


def test_titles_are_the_notebooks_own():
    for stem, (title, _, _) in rows("README.md").items():
        assert title == f"{stem[:2]} {build_notebooks.titles()[stem]}"


def test_both_say_the_same_figures():
    def figures(name):
        parts = re.findall(
            r"<!-- (\w+) -->\n(.*?)<!-- end -->", (ROOT / name).read_text(), re.DOTALL
        )
        return {
            part: re.findall(r"\d+\.\d+|\d+ (?:ms|MB)", text) for part, text in parts
        }

    english, chinese = map(figures, build_readme.FILES)
    assert english == chinese
    assert min(map(len, english.values())) > 1


def test_another_result_makes_it_stale(monkeypatch):
    results = environment.results

    def changed(name):
        found = copy.deepcopy(results(name))
        if name == "oxford-pets-sample_trimap":
            found["summary"]["8s"]["mean_iou"] += 0.1
        return found

    monkeypatch.setattr(environment, "results", changed)
    for name, language in build_readme.FILES.items():
        text = (ROOT / name).read_text()
        assert build_readme.filled(text, language) != text


def test_a_lost_marker_is_named():
    with pytest.raises(ValueError, match="between <!-- segmentation --> and"):
        build_readme.filled("# Learn FCN", "en")


def test_a_notebook_without_a_record_is_not_given_one():
    row = "| [77 Gone](notebooks/77_gone.ipynb) | nothing | 1.0 | x |"
    assert "| ? |" in build_readme.ROW.sub(build_readme.notebook_row, row)
