"""The tools that build, run and check the notebooks."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import bootstrap, run_notebooks
from tools.pages import build, check

STEMS = list(build.titles())


@pytest.mark.parametrize("stem", STEMS)
def test_two_builds_give_the_same_bytes(stem):
    first, second = (nbformat.writes(build.compose(stem)) for _ in "ab")
    assert first == second


def executed_notebook(source, *cells):
    """A notebook of code cells and a footer, each with its number as output."""
    made = new_notebook(cells=[*cells, new_code_cell(f"footer('{source}')")])
    made.metadata[build.KEY] = {"source": source}
    numbered = [cell for cell in made.cells if cell.cell_type == "code"]
    for number, cell in enumerate(numbered, start=1):
        cell.outputs = [new_output("stream", text=f"{number} {cell.source}")]
        cell.execution_count = number
    return made


def unexecuted(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def test_outputs_of_unchanged_cells_are_kept():
    old = executed_notebook("old", new_code_cell("a = 1"), new_code_cell("b = 2"))
    new = executed_notebook("new", new_code_cell("a = 1"), new_code_cell("b = 3"))
    kept = unexecuted(new)
    build.keep_outputs(kept, old)
    assert kept.cells[0].outputs[0].text == "1 a = 1"
    assert kept.cells[1].outputs == kept.cells[2].outputs == []
    assert not build.executed(kept)


def test_another_setup_cell_keeps_all_outputs():
    def page(line):
        made = executed_notebook("old", new_code_cell(line), new_code_cell("a = 1"))
        made.cells[0].metadata["tags"] = ["setup"]
        return made

    kept = unexecuted(page("find('there')"))
    build.keep_outputs(kept, page("find('here')"))
    assert build.executed(kept)
    assert kept.cells[1].outputs[0].text == "2 a = 1"


def test_a_change_of_text_keeps_all_outputs_and_renews_the_hash():
    old = executed_notebook("old", new_markdown_cell("before"), new_code_cell("a = 1"))
    new = executed_notebook("new", new_markdown_cell("after"), new_code_cell("a = 1"))
    kept = unexecuted(new)
    build.keep_outputs(kept, old)
    assert build.executed(kept)
    assert kept.cells[-1].outputs[0].text == "2 footer('new')"


def test_a_notebook_edited_by_hand_is_stale(monkeypatch):
    stem = STEMS[0]
    edited = build.existing(stem)
    new = build.compose(stem)
    assert build.stale(stem, new) is None
    edited.cells[1].source += "\n# a change that never went through the source"
    monkeypatch.setattr(build, "existing", lambda _: edited)
    assert "edited by hand" in build.stale(stem, new)


def test_a_notebook_whose_tags_have_moved_is_stale(monkeypatch):
    edited = build.existing(STEMS[0])
    tagged = build.tagged(edited, "key-figure")
    tagged.metadata["tags"] = []
    monkeypatch.setattr(build, "existing", lambda _: edited)
    assert "edited by hand" in build.stale(STEMS[0], build.compose(STEMS[0]))


BAD = {
    "an absolute path": new_markdown_cell("see /home/" + "someone/file"),
    "does not exist": new_markdown_cell("[gone](99_gone.ipynb)"),
    "a shell escape": new_code_cell("!pip install x"),
    "a warning filter": new_code_cell("warnings.filterwarnings('ignore')"),
    "output on stderr": new_code_cell(
        "1", outputs=[new_output("stream", name="stderr", text="x")]
    ),
    "without alternative text": new_code_cell(
        "1", outputs=[new_output("display_data", {"image/png": "x"})]
    ),
    "an error": new_code_cell(
        "1", outputs=[new_output("error", ename="E", evalue="", traceback=[])]
    ),
    "no alt text": new_markdown_cell("![](src/x.jpg)"),
    "a line of": new_code_cell("x = 1  # " + "long " * 20),
    "lines in a cell": new_code_cell("x = 1\n" * 41),
}


@pytest.mark.parametrize("sentence", BAD)
def test_the_house_style_is_enforced(sentence, tmp_path):
    good = build.existing(STEMS[0])
    path = tmp_path / "00_x.ipynb"
    nbformat.write(good, path)
    assert sentence not in " ".join(check.problems(path))
    good.cells.append(BAD[sentence])
    nbformat.write(good, path)
    assert sentence in " ".join(check.problems(path))


def tiny(tmp_path, *sources):
    notebook = new_notebook(cells=[new_code_cell(s) for s in sources])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "x"}
    notebook.metadata.language_info = {"name": "python"}
    notebook.cells[0].metadata.tags = ["parameters"]
    notebook.cells[-1].metadata.tags = ["key-figure"]
    path = tmp_path / "00_tiny.ipynb"
    nbformat.write(notebook, path)
    return path


def test_a_run_overrides_parameters_and_reads_the_key_figure(tmp_path):
    path = tiny(tmp_path, "SIZE = 1  # px", "print('noise'); print('size', SIZE)")
    outcome = run_notebooks.run_one(path, {"SIZE": 7, "OTHER": 1}, tmp_path / "out")
    assert (outcome.error, outcome.figure) == ("", "size 7")
    assert (tmp_path / "out" / "00_tiny.html").is_file()


@pytest.mark.slow
def test_paths_are_no_patterns(tmp_path):
    home = tmp_path / "{SIZE} [1] a*b?"
    home.mkdir()
    path = tiny(home, "SIZE = 1  # px", "print('size', SIZE)")
    outcome = run_notebooks.run_one(path, {"SIZE": 7}, home / "out")
    assert (outcome.error, outcome.figure) == ("", "size 7")


def test_where_nothing_can_be_written_the_table_says_so(tmp_path):
    path = tiny(tmp_path, "SIZE = 1")
    outcome = run_notebooks.run_one(path, {}, path / "out")
    assert outcome.error.startswith("NotADirectoryError")


def test_a_run_that_fails_says_where(tmp_path):
    path = tiny(tmp_path, "SIZE = 0", "print(1 / SIZE)")
    outcome = run_notebooks.run_one(path, {}, tmp_path / "out")
    assert outcome.error.startswith("ZeroDivisionError") and "cell 2" in outcome.error
    assert "NO" in run_notebooks.table([outcome])


@pytest.mark.parametrize(
    ("words", "value"),
    [
        *(("7", 7), ("1e-3", 0.001), ("[1, 2]", [1, 2]), ("no", False), ("null", None)),
        *((word, word) for word in ("name", "@pets", "2024-01-01")),
    ],
)
def test_parameters_are_read_as_they_are_meant(words, value):
    found = run_notebooks.parameter(words)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "name", ["pets", "2024", "2024-01-01", "null", "@pets", "[my] pets", "1e-3", "- a"]
)
def test_what_exists_is_a_path_meant_from_here(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_notebooks.parameter(name) == str(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "77"], "no notebook begins with 77"),
        (["-p", "NONSENSE", "1"], "no chosen notebook has a parameter NONSENSE"),
    ],
)
@pytest.mark.slow
def test_wrong_usage_of_run_is_said_in_a_sentence(arguments, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "tools.run_notebooks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert sentence in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout whose environment is created without pip's help."""
    (tmp_path / "requirements.txt").write_text("no-such-package-of-learn-fcn==1\n")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path


def test_bootstrap_refuses_other_pythons(monkeypatch):
    for version in ((3, 10, 4), (3, 14, 0), (2, 7, 18)):
        monkeypatch.setattr(bootstrap.sys, "version_info", version)
        with pytest.raises(SystemExit, match=r"3\.11, 3\.12 or 3\.13"):
            bootstrap.check_python()


def test_bootstrap_refuses_a_full_disk(checkout, monkeypatch):
    usage = bootstrap.shutil.disk_usage(ROOT)._replace(free=2**30)
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SystemExit, match=r"only 1\.0 GiB are free"):
        bootstrap.install(["requirements.txt"])
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_bootstrap_asks_for_no_room_where_everything_is_installed(
    checkout, monkeypatch
):
    (checkout / "requirements.txt").write_text("# nothing\n")
    bootstrap.install(["requirements.txt"])
    usage = bootstrap.shutil.disk_usage(ROOT)._replace(free=2**20)
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: usage)
    bootstrap.install(["requirements.txt"])
    (checkout / "requirements.txt").write_text("# something else\n")
    with pytest.raises(SystemExit, match="up to 1 GiB more"):
        bootstrap.install(["requirements.txt"])


@pytest.mark.slow
def test_bootstrap_without_an_index_says_so_and_can_start_again(checkout):
    with pytest.raises(SystemExit, match="package index within reach"):
        bootstrap.install(["requirements.txt"])
    assert not list((checkout / ".venv").glob("installed-*"))
    (checkout / "requirements.txt").write_text("# nothing\n")
    bootstrap.install(["requirements.txt"])
    assert (checkout / ".venv" / "installed-requirements.txt").is_file()


@pytest.mark.slow
def test_bootstrap_mends_a_half_made_environment(checkout):
    (checkout / "requirements.txt").write_text("# nothing\n")
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").write_text("killed half-way")
    bootstrap.install(["requirements.txt"])
    assert (checkout / ".venv" / "installed-requirements.txt").is_file()


NEEDS_MAKE = pytest.mark.skipif(not shutil.which("make"), reason="no make on PATH")


@NEEDS_MAKE
def test_lab_is_the_environment_s_own():
    """Neither a jupyter-lab that PATH names nor a script with the path of a clone."""
    done = subprocess.run(
        ["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"^\.venv/\S+ -m jupyterlab notebooks$", done.stdout, re.M)
    assert importlib.util.find_spec("jupyterlab.__main__")


NO_TEXT = ("Image", "gzip", "tarfile", "webbrowser")


def opened_as_the_locale_says(path):
    """Return the lines of a source that open a text file without its encoding."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = getattr(getattr(node, "func", None), "attr", "")
        name = name or getattr(getattr(node, "func", None), "id", "")
        owner = getattr(getattr(getattr(node, "func", None), "value", None), "id", "")
        if name in ("read_text", "write_text", "open") and owner not in NO_TEXT:
            words = {word.arg for word in node.keywords}
            modes = [getattr(argument, "value", "") for argument in node.args[:2]]
            binary = any(mode in ("rb", "wb", "ab") for mode in modes)
            if "encoding" not in words and not (name == "open" and binary):
                found.append(f"{path.name}:{node.lineno}")
    return found


def test_every_text_file_is_opened_with_its_encoding():
    folders = ("utils", "tools", "data", "benchmarks", "docs")
    ours = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    ours = [path for path in ours if path.parent.name != "cache"]
    assert len(ours) > 50
    assert [line for path in ours for line in opened_as_the_locale_says(path)] == []


def test_a_file_opened_without_its_encoding_is_found(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(
        "a.read_text()\nopen(b)\nb.open('rb')\nopen(b, 'rb')\nImage.open(b)\n"
        "a.write_text(c, encoding=d)\nopen('rb.txt', 'w')\n"
    )
    assert opened_as_the_locale_says(path) == ["x.py:1", "x.py:2", "x.py:7"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="locales are those of POSIX")
def test_the_checks_work_in_an_ascii_locale():
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for tool in ("build", "exercises", "readme", "check"):
        command = [sys.executable, "-m", f"tools.pages.{tool}"]
        done = subprocess.run(
            command + ["--check"] * (tool != "check"),
            cwd=ROOT,
            env={**os.environ, **ascii_alone},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True)


@pytest.mark.slow
@NEEDS_MAKE
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="the system does not count memory")
def test_a_fresh_clone_is_timed_and_its_memory_taken(tmp_path):
    """Of a checkout whose `make run` lets a process of a process take 300 MB."""
    root = tmp_path / "here"
    ours = shutil.ignore_patterns("__pycache__")
    for folder in ("tools", "utils"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ours)
    install = "import pathlib; pathlib.Path('.venv').mkdir()"
    (root / "tools" / "bootstrap.py").write_text(install)
    memory = f"{sys.executable} -c \"b'1' * 300_000_000\""
    (root / "Makefile").write_text(
        f"run:\n\t{memory}; true\ncheck:\n\t@echo == 7 passed ==\ntest:\n\tfalse\n"
    )
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "all")
    command = [sys.executable, "-m", "tools.try_fresh", "--only"]
    subprocess.run([*command, "run", "check"], cwd=root, check=True)
    kept = json.loads((root / "results" / "fresh_clone.json").read_text())
    assert kept["tests"] == "7 passed"
    assert set(kept["seconds"]) == {"install", "make run", "make check"}
    memory = kept["peak_memory_gb"]
    assert memory.keys() == kept["seconds"].keys()
    assert memory["make run"] == 0.3 and memory["make check"] < 0.1
    assert list(tmp_path.iterdir()) == [root]
    failed = subprocess.run([*command, "test"], cwd=root, capture_output=True)
    assert failed.returncode == 1 and b"make test ended with 2" in failed.stderr
    assert len(list(tmp_path.iterdir())) == 2, "the clone is kept"
