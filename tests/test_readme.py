"""The two READMEs: fresh, complete, and of one mind."""

import copy
import json
import re

import pytest
from conftest import ROOT

from tools.pages import build, readme
from utils import environment


def said(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", readme.FILES)
def test_is_fresh(name):
    text = said(name)
    assert readme.filled(text) == text, "run python -m tools.pages.readme"
    # Markdown takes a line that begins with a mark for HTML: no paragraph, no table.
    assert not re.search(r"^\s*<!--", text, flags=re.MULTILINE)


def rows(name):
    """Return the table of notebooks: stem -> (number and title, minutes, links)."""
    found = re.findall(
        r"^\| \[([^\]]+)\]\(notebooks/(\w+)\.ipynb\) \| .+ "
        r"\| (\S+) \| (.+) \|$",
        said(name),
        flags=re.MULTILINE,
    )
    return {stem: (title, minutes, links) for title, stem, minutes, links in found}


@pytest.mark.parametrize("name", readme.FILES)
def test_every_notebook_is_listed_with_measured_minutes(name):
    titles = build.titles()
    assert list(rows(name)) == list(titles)
    for stem, (title, minutes, links) in rows(name).items():
        assert title.startswith(stem[:2])
        assert float(minutes) < 3, "a page's budget without a GPU is three minutes"
        assert ("Colab" in links) == build.address().startswith(build.GITHUB)
        for link in re.findall(r"\((\S+)\)", links):
            assert link.endswith(f"/blob/main/notebooks/{stem}.ipynb")


def test_titles_are_the_notebooks_own():
    for stem, (title, _, _) in rows("README.md").items():
        assert title == f"{stem[:2]} {build.titles()[stem]}"


def test_both_say_the_same_values():
    english, chinese = (dict(readme.MARK.findall(said(name))) for name in readme.FILES)
    assert english == chinese
    assert {"32s", "8s", "latency", "make run"} <= set(english)


def test_another_result_makes_it_stale(monkeypatch):
    results = environment.results

    def changed(name):
        found = copy.deepcopy(results(name))
        if name == "oxford-pets-sample_trimap":
            found["summary"]["8s"]["mean_iou"] += 0.1
        return found

    monkeypatch.setattr(environment, "results", changed)
    for name in readme.FILES:
        assert readme.filled(said(name)) != said(name)


def test_a_value_that_is_not_measured_is_named():
    with pytest.raises(ValueError, match="nothing measured is called 64s; there are"):
        readme.filled("| FCN-64s | <!-- 64s -->0.9<!-- end --> |")


def test_a_notebook_without_a_record_is_not_given_one():
    row = "| [77 Gone](notebooks/77_gone.ipynb) | nothing | 1.0 | x |"
    assert "| ? |" in readme.ROW.sub(readme.notebook_row, row)


def test_a_gpu_is_named_where_it_was_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    assert readme.on_a_gpu() == "–"
    (tmp_path / "results").mkdir()
    rows = [{"train_photos_per_s": rate} for rate in (100.0, 1234.0)]
    tasks = {
        "one": {"head": "slim", "precision": "float32", "rows": rows[:1]},
        "two": {"head": "slim", "precision": "mixed_bfloat16", "rows": rows},
        "paper": {"head": "paper", "precision": "float32", "rows": rows[:1]},
        "recipe seed 0": {"stages": {"8s": {"test": 0.70}}},
        "recipe seed 1": {"stages": {"8s": {"test": 0.80}}},
    }
    about = {"backend": "jax", "device": "NVIDIA Some", "tasks": tasks}
    about["rehearsal"] = False
    (tmp_path / "results" / "gpu.json").write_text(json.dumps(about))
    assert readme.on_a_gpu() == "1,234 (mixed_bfloat16, jax, NVIDIA Some); 0.750"
    (tmp_path / "results" / "gpu.json").write_text(
        json.dumps(about | {"rehearsal": True})
    )
    assert readme.on_a_gpu() == "–"
    del tasks["recipe seed 0"], tasks["recipe seed 1"]
    (tmp_path / "results" / "gpu.json").write_text(json.dumps(about))
    assert readme.on_a_gpu() == "–"
