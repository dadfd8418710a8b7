"""Every exercise: its check tells right from wrong; both notebooks are fresh."""

import contextlib
import functools
import io
import re

import matplotlib
import nbformat
import pytest
from conftest import ROOT

from tools import build_exercises, build_notebooks, check_notebooks

STEMS = build_exercises.stems()
PAIRS = [(stem, kind) for stem in STEMS for kind in build_exercises.LEFT_OUT]
NUMBERS = (0, 1)
SOLVED = ("solution", "why")
text = check_notebooks.text


def tag(cell) -> str:
    return " ".join(cell.metadata.get("tags", []))


@functools.cache
def committed(stem: str, kind: str) -> nbformat.NotebookNode:
    return build_notebooks.existing(f"{kind}/{stem}")


@functools.cache
def answers(stem: str) -> list[dict]:
    """Return for each exercise its answers by tag, its check, and what comes before."""
    matplotlib.use("agg")
    before, found, current = {}, [], {}
    for cell in build_exercises.source_cells(stem):
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
    assert all(40 < len(remark) < 400 for remark in remarks)
    # Different mistakes, different remarks, and not only by the number they quote.
    remarks.append(complaint(stem, number, exercise["stub"][0]))
    assert len({re.sub(r"[\d.,]+", "", remark) for remark in remarks}) == len(remarks)


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_is_fresh(stem, kind):
    assert build_exercises.stale(stem, kind) is None


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_two_builds_give_the_same_bytes(stem, kind):
    first, second = (nbformat.writes(build_exercises.compose(stem, kind)) for _ in "ab")
    assert first == second


@pytest.mark.parametrize("stem", STEMS)
def test_each_cell_goes_where_its_tag_says(stem):
    shown = {
        kind: [cell.source for cell in committed(stem, kind).cells]
        for kind in ("exercises", "solutions")
    }
    for cell in build_exercises.source_cells(stem)[1:]:
        if tag(cell) != "setup":
            in_both = tag(cell) in ("", "check", "look")
            wanted = in_both or tag(cell) == "stub", in_both or tag(cell) in SOLVED
            found = tuple(cell.source in sources for sources in shown.values())
            assert found == wanted, cell.source


@pytest.mark.parametrize(("stem", "kind"), PAIRS)
def test_keeps_the_house_style(stem, kind):
    notebook = committed(stem, kind)
    found = list(check_notebooks.outputs(notebook)) if kind == "solutions" else []
    for cell in check_notebooks.code(notebook):
        if "setup" not in tag(cell) and "provenance" not in tag(cell):
            found += [line for line in cell.source.splitlines() if len(line) > 88]
            for pattern, name in check_notebooks.FORBIDDEN.items():
                if re.search(pattern, cell.source, flags=re.MULTILINE):
                    found.append(name)
    assert found == []
    written = nbformat.writes(notebook)
    assert not check_notebooks.PRIVATE.search(written)
    assert len(written) < check_notebooks.LARGEST
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
    chapters = build_notebooks.titles()
    if stem in chapters:
        assert f"../{stem}.ipynb" in inside
        assert notebook.cells[0].source.splitlines()[0].endswith(f": {chapters[stem]}")
    for target in inside:
        path, _, anchor = target.partition("#")
        file = ROOT / "notebooks" / kind / path
        assert file.is_file(), target
        assert not anchor or anchor in check_notebooks.anchors(file), target


def test_the_setup_cell_is_that_of_the_pages():
    page = build_notebooks.existing(next(iter(build_notebooks.titles())))
    expected = build_notebooks.tagged(page, "setup").source
    for pair in PAIRS:
        assert build_notebooks.tagged(committed(*pair), "setup").source == expected


@pytest.mark.parametrize("stem", STEMS)
def test_every_check_of_the_committed_solutions_says_right(stem):
    checks = [c for c in committed(stem, "solutions").cells if tag(c) == "check"]
    assert len(checks) == len(NUMBERS)
    for cell in checks:
        assert [output.text.startswith("Right") for output in cell.outputs] == [True]


def test_a_changed_source_makes_both_notebooks_stale(monkeypatch, tmp_path):
    stem = STEMS[0]
    changed = (build_exercises.SOURCES / f"{stem}.py").read_text()
    (tmp_path / f"{stem}.py").write_text(changed.replace("Two exercises", "A pair"))
    monkeypatch.setattr(build_exercises, "SOURCES", tmp_path)
    for kind in build_exercises.LEFT_OUT:
        assert "built from another source" in build_exercises.stale(stem, kind)
