"""The repository as a whole: links hold, nothing private, nothing large."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache

import nbformat
import official_folder
import pytest
import yaml
from conftest import ROOT, THIN

from tools.pages import check

LARGEST = 2_000_000  # bytes
NETWORK = "data/networks/fcn_at_once_int8.npz"  # the one file that may be larger
PRIVATE = re.compile(r"(?:/(?:home|Users|root|work)/|[A-Z]:\\+Users\\+)[\w.]")
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(?:AKIA[0-9A-Z]{16}|AIza[\w-]{35}|gh[opsu]_\w{36}|github_pat_\w{22})"
    r"|\b(?:hf_[A-Za-z]{34}|sk-[A-Za-z0-9]{32}|xox[abp]-[\w-]{20}|pypi-\w{32})"
    r"|(?i:password|secret|api_?key|token)\s*[=:]\s*[\"'][^\"'\s{]{8,}[\"']"
)


@cache
def tracked():
    """Return the paths of all files in git, from the root."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [path for path in done.stdout.split("\0") if path]
    return [path for path in paths if (ROOT / path).is_file()]


def text_of(path):
    """Return what a file says, without pictures; nothing where it is no text."""
    try:
        text = (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
    if path.endswith(".ipynb"):  # base64 is no text
        text = re.sub(r'"image/(?:png|jpeg)": "[^"]*"', "", text)
    return text


def markdown(path):
    """Return the Markdown of a page, code apart."""
    if path.endswith(".ipynb"):
        text = check.text(nbformat.read(ROOT / path, as_version=4))
    else:
        text = (ROOT / path).read_text(encoding="utf-8")
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def broken(path, text):
    """Return the links and pictures of a page that lead nowhere inside the project."""
    links = re.findall(r"\]\(\s*<?([^)\s>]+)", text)
    links += re.findall(r"(?:src|href)=[\"']([^\"']+)", text)
    links += re.findall(r"^\[[^\]]+\]:\s*(\S+)", text, flags=re.MULTILINE)
    found = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (ROOT / os.path.dirname(path) / target) if target else ROOT / path
        there = file.exists() and file.resolve().is_relative_to(ROOT.resolve())
        if not there or (anchor and anchor not in check.anchors(file)):
            found.append(link)
    return found


def test_all_links_between_files_hold():
    pages = [path for path in tracked() if path.endswith((".md", ".ipynb"))]
    assert "README.md" in pages
    assert {p: b for p in pages if (b := broken(p, markdown(p)))} == {}


def test_broken_links_are_found():
    text = (
        "[a](gone.md) [b](README.md#no-such-section) [c](README.md#licence) "
        "[d](https://example.org/x) ![e](notebooks/figures/gone.svg) [f](#nowhere) "
        '<img src="gone.png"> [g](../outside.md)\n\n[h]: gone.txt'
    )
    assert broken("README.md", text) == [
        "gone.md",
        "README.md#no-such-section",
        "notebooks/figures/gone.svg",
        "#nowhere",
        "../outside.md",
        "gone.png",
        "gone.txt",
    ]


@pytest.mark.parametrize("pattern", [PRIVATE, SECRET], ids=["paths", "secrets"])
def test_nothing_private_is_in_git(pattern):
    found = {path: pattern.search(text_of(path)) for path in tracked()}
    assert {path: match.group() for path, match in found.items() if match} == {}


@pytest.mark.parametrize(
    "planted",
    [
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "AKIA" + "Z" * 16,
        "ghp_" + "a1" * 18,
        "hf_" + "a" * 34,
        "api_key" + ' = "0123456789"',
        "TOKEN" + ": 'abcdefgh1'",
    ],
)
def test_secrets_are_found(planted):
    assert SECRET.search(f"x = 1\n{planted}\n")


@pytest.mark.parametrize("folder", ["/home", "/Users", "/root", "C:\\Users", "/work"])
def test_private_paths_are_found(folder):
    separator = "\\" if "\\" in folder else "/"
    assert PRIVATE.search(f"open('{folder}{separator}ada{separator}x.png')")


def test_no_file_in_git_is_large():
    sizes = {path: (ROOT / path).stat().st_size for path in tracked()}
    assert sizes.pop(NETWORK) < 8 * LARGEST
    assert {path: size for path, size in sizes.items() if size > LARGEST} == {}


def test_conda_installs_what_pip_does_on_the_same_pythons():
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, packages = wanted["dependencies"]
    assert (pip, packages) == ("pip", {"pip": ["-r requirements.txt"]})
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    assert python == f"python{project['requires-python']}"


IN_A_CLONE = f"""
from utils import environment, fcn, networks, pets, training, vgg16
vgg16.BLOCKS = {THIN}
photos = pets.load("../pets", "trainval", image_size=32)
model = fcn.build("32s", 3, fc_units=4, fc_kernel=1, weights=None)
for epochs in (1, 2):
    told = training.fit(model, photos, epochs=epochs, checkpoints="run", verbose=0)
assert len(told["loss"]) == 2
model = networks.remember(model, 32, pets.CLASS_NAMES["trimap"])
networks.save_model(model, environment.cached_network("m").with_suffix(".keras"))
"""


@pytest.mark.slow
def test_a_clone_may_lie_in_a_folder_named_like_a_pattern(tmp_path):
    clone = tmp_path / "[1] a*b? {x}" / "learn-fcn"
    for folder in ("utils", "data"):
        ours = shutil.ignore_patterns("__pycache__", "cache", "networks")
        shutil.copytree(ROOT / folder, clone / folder, ignore=ours)
    official_folder.make(clone.parent / "pets")
    options = {"cwd": clone, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", IN_A_CLONE], **options)
    assert done.returncode == 0, done.stderr
    (model,) = (clone / "data" / "cache" / "models").iterdir()
    words = ["../pets/images", "--model", model, "--out", "out"]
    done = subprocess.run([sys.executable, "-m", "utils.predict", *words], **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "16 written, 0 refused, 0 passed over\n"
    assert (clone / "data" / "cache" / "tfds").is_dir()
