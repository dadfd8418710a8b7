"""The repository's address, written everywhere at once, and the setup cell."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from tools.pages import build, publish

STEMS = list(build.titles())
ADDRESS = "https://git.example-host.org:8443/a.b-c/d_/learn.fcn-2"
OUR_OWN = "https://github.com/some-one/learn-fcn"


def cell(address, monkeypatch):
    monkeypatch.setattr(build, "address", lambda: address)
    return build.setup()


# The setup cell


@pytest.mark.parametrize("address", ["", ADDRESS])
@pytest.mark.parametrize("stem", STEMS)
def test_setup_cell_is_short_and_the_same_everywhere(stem, address, monkeypatch):
    setup = cell(address, monkeypatch)
    assert build.tagged(build.compose(stem), "setup").source == setup
    assert len(setup.splitlines()) <= 10 and "pip" not in setup


@pytest.fixture
def repository(tmp_path):
    """Return the address of a repository that has what the setup cell looks for."""
    folder = tmp_path / "served" / "learn-fcn"
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "__init__.py").write_text("silence = True\n")
    (folder / "utils" / "vgg16.py").write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    return folder.as_uri()


def run(setup, folder, before="", **settings):
    """Run the cell in a folder; return where utils came from, and what was said."""
    folder.mkdir(parents=True, exist_ok=True)
    hosts = {"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE", "PYTHONPATH"}
    clean = {key: value for key, value in os.environ.items() if key not in hosts}
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{setup}\nprint(utils.__file__)"],
        cwd=folder,
        env=clean | settings,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("host", ["COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"])
def test_a_host_fetches_the_repository_once(host, repository, tmp_path, monkeypatch):
    setup, folder = cell(repository, monkeypatch), tmp_path / "content"
    for _ in range(2):
        found, _ = run(setup, folder, **{host: "x"})
        assert found == str(folder / "learn-fcn" / "utils" / "__init__.py")
        shutil.rmtree(tmp_path / "served", ignore_errors=True)  # no second time


def test_what_cannot_be_fetched_is_a_sentence(tmp_path, monkeypatch):
    setup = cell((tmp_path / "gone" / "learn-fcn").as_uri(), monkeypatch)
    _, said = run(setup, tmp_path, COLAB_RELEASE_TAG="x")
    assert "there is no folder learn-fcn here: on Colab or Kaggle, see that" in said


@pytest.mark.parametrize("address", ["", OUR_OWN])
def test_elsewhere_nothing_is_fetched_and_a_sentence_says_what_to_do(
    address, tmp_path, monkeypatch
):
    _, said = run(cell(address, monkeypatch), tmp_path)
    assert "AssertionError: there is no folder learn-fcn here" in said
    assert ("a clone of " + OUR_OWN if address else "Google Drive") in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "place", ["notebooks", "notebooks/exercises", ".", "..", "../../.."]
)
def test_the_folder_is_found_around_the_page(place, repository, tmp_path, monkeypatch):
    setup, root = cell("", monkeypatch), tmp_path / "content/drive/MyDrive/learn-fcn"
    shutil.copytree(tmp_path / "served" / "learn-fcn", root)
    found, said = run(setup, (root / place).resolve())
    assert found == str(root / "utils" / "__init__.py"), said


def test_another_utils_in_the_way_is_said(repository, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (other / "utils").mkdir(
        parents=True
    )  # a folder without __init__.py imports as well
    before = f"import sys; sys.path.insert(0, {str(other)!r}); import utils"
    setup, root = cell("", monkeypatch), tmp_path / "served" / "learn-fcn"
    found, said = run(setup, root / "notebooks", before)
    assert not found
    assert "another utils is loaded: restart the kernel" in said


# The address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b c",
        'https://github.com/a/b"; rm -rf x',
        "https://github.com/a/$(b)",
        "https://localhost/a/b",
        "git@github.com:a/b",
        "https://github.com/a/b\nc",
        "https://github.com/é/b",
        "https://github.com/NAME/learn-fcn",
        "https://github.com/a/b/tree/main",
        "https://www.github.com/a/b",
        "https://example.org/a/..",
        "https://example.org/a/-b",
        "https://example.org/a/~b",
    ],
)
def test_a_wrong_address_is_one_sentence(address, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["publish", address])
    assert publish.main() == 2
    said = capsys.readouterr().err
    assert "is no address of a repository; give one such as" in said
    assert said.count("\n") == 1


def test_what_may_stand_behind_an_address_goes():
    for more in ("", "/", ".git", ".git/"):
        assert publish.checked(f" {OUR_OWN}{more} ") == OUR_OWN


def test_badges_are_for_github_alone(monkeypatch):
    for address, count in (("", 0), (ADDRESS, 0), (OUR_OWN, 2)):
        monkeypatch.setattr(build, "address", lambda address=address: address)
        title = build.compose(STEMS[0]).cells[0].source
        assert title.count("[![Open in ") == count
        path = f"some-one/learn-fcn/blob/main/notebooks/{STEMS[0]}.ipynb"
        for link in (
            f"https://colab.research.google.com/github/{path}",
            f"https://kaggle.com/kernels/welcome?src=https://github.com/{path}",
        ):
            assert title.count(f"]({link})") == count // 2


def test_the_hash_does_not_depend_on_the_address(monkeypatch):
    found = []
    for address in ("", ADDRESS, OUR_OWN):
        monkeypatch.setattr(build, "address", lambda address=address: address)
        found.append(build.compose(STEMS[1]).metadata)
    assert found[0] == found[1] == found[2]


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_published_twice_then_taken_back(tmp_path):
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    for name in filter(None, listed):
        if (ROOT / name).is_file() and not name.startswith(("tests", "data/networks")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    states = [files(tmp_path)]
    before = build.address() or "none"
    for address in (ADDRESS, ADDRESS, OUR_OWN, before):
        words = ["-m", "tools.pages.publish", address]
        subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
        for page in ("build", "exercises", "readme"):
            words = ["-m", f"tools.pages.{page}", "--check"]
            subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
        states.append(files(tmp_path))
    assert states[1] == states[2] and states[4] == states[0]
    for state, address in ((states[1], ADDRESS), (states[3], OUR_OWN)):
        said = [name for name, content in state.items() if address.encode() in content]
        pages = [name for name in said if name.suffix == ".ipynb"]
        # Nowhere else is it typed.
        assert {str(name) for name in said if name not in pages} == {
            *("README.md", "README.zh-CN.md", "pyproject.toml", "CITATION.cff")
        }
        assert len(pages) == sum(name.suffix == ".ipynb" for name in state)
        for name in pages:  # and what they show is what it was
            was, now = (nbformat.reads(s[name].decode(), 4) for s in (states[0], state))
            assert [c.get("outputs") for c in was.cells] == [
                c.get("outputs") for c in now.cells
            ]
