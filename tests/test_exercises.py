"""Every exercise: its check tells right from wrong; both notebooks are fresh."""

import contextlib
import functools
import io
import re

import matplotlib
import nbformat
import pytest
from conftest import ROOT

from tools.pages import build, check, exercises

STEMS = exercises.stems()
PAIRS = [(stem, kind) for stem in STEMS for kind in exercises.LEFT_OUT]
NUMBERS = (0, 1)
SOLVED = ("solution", "why")
text = check.text


def tag(cell) -> str:
    return " ".join(cell.metadata.get("tags", []))


def stale(stem: str, kind: str) -> str | None:
    name = f"{kind}/{stem}"
    return build.stale(name, exercises.compose(name))


@functools.cache
def committed(stem: str, kind: str) -> nbformat.NotebookNode:
    return build.existing(f"{kind}/{stem}")


@functools.cache
def answers(stem: str) -> list[dict]:
    """Return for each exercise its answers by tag, its check, and what comes before."""
    matplotlib.use("agg")
    before, found, current = {}, [], {}
    for cell in exercises.source_cells(stem):
        if cell.cell_type != "code" or tag(cell) == "setup":
            continue
        if tag(cell) == "":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(cell.source, before)
        else:
            current.setdefault(tag(cell), []).append(cell.source)
        if tag(cell) == "check":
            found.append({**current, "before": dict(before)})
            current = {}
    return found


def outcome(stem: str, number: int, answer: str) -> str:
    """Give an answer to an exercise's check; return what it says, raise what it raises.

    Each answer gets the names of the untagged cells alone, so no exercise can lean on
    the answer to another one.
    """
    exercise = answers(stem)[number]
    namespace = dict(exercise["before"])
    exec(answer, namespace)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(exercise["check"][0], namespace)
    return said.getvalue()


def complaint(stem: str, number: int, answer: str) -> str:
    with pytest.raises(AssertionError) as caught:
        outcome(stem, number, answer)
    return str(caught.value)


def test_two_exercises_for_each_of_seven_chapters():
    assert [stem[:2] for stem in STEMS] == [f"{n:02}" for n in range(1, 8)]
    for stem in STEMS:
        for exercise in (found := answers(stem)):
            assert len(exercise["stub"]) == len(exercise["solution"]) == 1
            assert len(exercise["check"]) == 1 and exercise["wrong"]
        assert len(found) == len(NUMBERS)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.slow
def test_the_check_passes_on_every_right_answer(stem, number):
    exercise = answers(stem)[number]
    for answer in exercise["solution"] + exercise.get("also", []):
        said = outcome(stem, number, answer)
        assert said.startswith("Right") and said.count("\n") == 1


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stem", STEMS)
def test_the_check_asks_for_an_answer_where_there_is_none(stem, number):
    said = complaint(stem, number, answers(stem)[number]["stub"][0])
    assert 20 < len(said) < 200 and said[0].isupper() and said.endswith(".")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.slow
def test_the_check_tells_each_wrong_answer_what_is_off(stem, number):
    exercise = answers(stem)[number]
    remarks = [complaint(stem, number, answer) for answer in exercise["wrong"]]
    empty = complaint(stem, number, exercise["stub"][0])
    if stem[:2] < "04":  # the second edition's checks are short: fewer remarks
        assert all(20 < len(remark) < 400 and remark != empty for remark in remarks)
        return
    assert all(40 < len(remark) < 400 for remark in remarks)
    # Different mistakes, different remarks, and not only by the number they quote.
    remarks.append(empty)
    assert len({re.sub(r"[\d.,]+", "", remark) for remark in remarks}) == len(remarks)


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_is_fresh(stem, kind):
    assert stale(stem, kind) is None


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_two_builds_give_the_same_bytes(stem, kind):
    first, second = (nbformat.writes(exercises.compose(f"{kind}/{stem}")) for _ in "ab")
    assert first == second


@pytest.mark.parametrize("stem", STEMS)
def test_each_cell_goes_where_its_tag_says(stem):
    shown = {
        kind: [cell.source for cell in committed(stem, kind).cells]
        for kind in ("exercises", "solutions")
    }
    for cell in exercises.source_cells(stem)[1:]:
        if tag(cell) != "setup":
            in_both = tag(cell) in ("", "check", "look")
            wanted = in_both or tag(cell) == "stub", in_both or tag(cell) in SOLVED
            found = tuple(cell.source in sources for sources in shown.values())
            assert found == wanted, cell.source


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_keeps_the_house_style(stem, kind):
    notebook = committed(stem, kind)
    found = list(check.outputs(notebook)) if kind == "solutions" else []
    for cell in check.code(notebook):
        if "setup" not in tag(cell) and "provenance" not in tag(cell):
            found += check.style(cell)
    assert found == []
    assert list(check.whole(notebook)) == []
    headings = re.findall(
        r"^## (\d)\. .+ (★☆☆|★★☆|★★★)\n\n\*(\w+)\.\*", text(notebook), re.M
    )
    assert [number for number, _, _ in headings] == ["1", "2"]
    assert {what for _, _, what in headings} <= {"Predict", "Complete", "Explore"}


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_links_lead_to_chapter_and_counterpart(stem, kind):
    notebook = committed(stem, kind)
    targets = re.findall(r"\]\(([^)\s]+)\)", text(notebook))
    inside = {target for target in targets if not target.startswith("http")}
    other = {"exercises": "solutions", "solutions": "exercises"}[kind]
    assert f"../{other}/{stem}.ipynb" in inside
    chapters = build.titles()
    if stem in chapters:
        assert f"../{stem}.ipynb" in inside
        assert notebook.cells[0].source.splitlines()[0].endswith(f": {chapters[stem]}")
    for target in inside:
        path, _, anchor = target.partition("#")
        file = ROOT / "notebooks" / kind / path
        assert file.is_file(), target
        assert not anchor or anchor in check.anchors(file), target


def test_the_setup_cell_is_that_of_the_pages():
    page = build.existing(next(iter(build.titles())))
    expected = build.tagged(page, "setup").source
    for pair in PAIRS:
        assert build.tagged(committed(*pair), "setup").source == expected


@pytest.mark.parametrize("stem", STEMS)
def test_every_check_of_the_committed_solutions_says_right(stem):
    checks = [c for c in committed(stem, "solutions").cells if tag(c) == "check"]
    assert len(checks) == len(NUMBERS)
    for cell in checks:
        assert [output.text.startswith("Right") for output in cell.outputs] == [True]


def test_a_changed_source_makes_both_notebooks_stale(monkeypatch, tmp_path):
    stem = STEMS[0]
    changed = (exercises.SOURCES / f"{stem}.py").read_text(encoding="utf-8")
    changed = changed.replace("Two exercises", "A pair")
    (tmp_path / f"{stem}.py").write_text(changed, encoding="utf-8")
    monkeypatch.setattr(exercises, "SOURCES", tmp_path)
    for kind in exercises.LEFT_OUT:
        assert "built from another source" in stale(stem, kind)
