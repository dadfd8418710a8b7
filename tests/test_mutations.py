"""Whatever becomes of a folder, every command ends in a result or in one sentence."""

import contextlib
import faulthandler
import json
import shutil
import sys

import keras
import numpy as np
import official_folder
import pytest
from keras import layers
from PIL import Image

from tools import evaluate, export
from utils import environment, networks, pet_records, pets, photos, predict

FORMS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
SECONDS = 120  # in which one of them ends


def spoil(content: bytes, random) -> bytes:
    """Change bytes, most of them near the beginning; cut off, double, put in."""
    changed = bytearray(content or b"?")
    reach = len(changed) if random.random() < 0.5 else min(len(changed), 200)
    for _ in range(random.integers(0, 9)):
        changed[random.integers(reach)] = random.integers(256)
    if random.random() < 0.3:
        del changed[random.integers(len(changed) + 1) :]
    if random.random() < 0.2:
        place = random.integers(len(changed) + 1)
        changed[place:place] = random.bytes(random.integers(1, 50))
    return bytes(changed)


def bytes_of_a_file(path, random):
    path.write_bytes(spoil(path.read_bytes(), random))


def another_format(path, random):
    size = [(50, 40), (40, 50), (1, 1)][random.integers(3)]
    image = Image.new("RGB", size, tuple(random.integers(1, 4, 3)))
    image = image.convert(["RGB", "L", "P"][random.integers(3)])
    with contextlib.suppress(OSError):  # a JPEG has no palette
        image.save(path, FORMS[random.integers(len(FORMS))])
        if random.random() < 0.5:
            bytes_of_a_file(path, random)


def no_file(path, random):
    path.unlink()
    with contextlib.suppress(IndexError):
        [path.mkdir, lambda: path.symlink_to("nowhere"), lambda: path.symlink_to(path)][
            random.integers(4)
        ]()


def empty(path, random):
    path.write_bytes(bytes(random.integers(0, 2) * 3000))


def another_name(path, random):
    endings = [".jpeg", ".JPG", "", ".png", " (1).jpg"]
    path.rename(path.with_name(path.stem + endings[random.integers(len(endings))]))


LINES = ["dog_1 2 2 1", "dog_1", "../x 1 1 1", "cat_2 2 1 2", "cat_2 1 2 2", "x 99 1 1"]
LINES += ["cat_2 1 1 " + "9" * 5000, "a\0b 1 1 1", "y" * 300 + " 1 1 1", "é 1 1 1", "#"]


def a_line(path, random):
    lines = path.read_text("utf-8", "replace").splitlines()
    lines.insert(random.integers(len(lines) + 1), LINES[random.integers(len(LINES))])
    if random.random() < 0.5:
        del lines[random.integers(len(lines))]
    ends = ["\n", "\r\n", "\r"][random.integers(3)]
    path.write_bytes(ends.join(lines).encode(["utf-8", "utf-16"][random.integers(2)]))


def no_folder(path, random):
    """Put a file, or nothing, where the file's folder was."""
    shutil.rmtree(path.parent)
    if random.random() < 0.5:
        path.parent.write_bytes(b"")


OF_FILES = [bytes_of_a_file, bytes_of_a_file, no_file, empty]
OF_PICTURES = [*OF_FILES, another_format, another_format, another_name, no_folder]
OF_LISTS = [*OF_FILES, a_line, a_line, a_line, a_line]


def mutate(folder, random) -> str:
    """Change one or two things below a folder; say which."""
    done = []
    for _ in range(random.integers(1, 3)):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[random.integers(len(files))]
        lists = [path for path in files if path.suffix == ".txt"]
        if lists and random.random() < 0.4:
            path = lists[random.integers(len(lists))]
        change = OF_LISTS if path.suffix == ".txt" else OF_PICTURES
        change = change[random.integers(len(change))]
        change(path, random)
        done.append(f"{change.__name__} {path.name}")
    return ", ".join(done)


@contextlib.contextmanager
def in_time():
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def is_sentence(error: BaseException) -> bool:
    """Whether an error is one of Python's own, in words of ours."""
    said = str(error)
    ours = type(error).__module__ == "builtins" and not said.startswith("[Errno")
    return ours and "\n" not in said and " " in said and len(said) < 3000


def ended(call) -> str:
    """Run it; return "result" or the sentence."""
    with in_time():
        try:
            call()
        except (ValueError, OSError) as error:
            assert is_sentence(error), repr(error)
            return str(error)
    return "result"


@pytest.mark.parametrize(
    "rounds", [pytest.param(12, id="short"), pytest.param(500, marks=pytest.mark.long)]
)
@pytest.mark.slow
def test_a_mutated_folder_is_read_or_refused(tmp_path, rounds):
    whole = official_folder.make(tmp_path / "whole", trainval=3, test=2)
    endings = []
    for number in range(rounds):
        random = np.random.default_rng(number)
        folder, data_dir = tmp_path / f"{number}", tmp_path / f"data {number}"
        shutil.copytree(whole, folder)
        what = f"{number}: {mutate(folder, random)}"
        options = {"image_size": 8, "data_dir": data_dir}
        options["on_error"] = ["stop", "skip"][number % 2]
        split = ["trainval", "test"][number // 2 % 2]

        def load(folder=folder, split=split, options=options):
            for images, masks in pets.load(folder, split, **options):
                assert np.isfinite(images).all() and set(np.unique(masks)) <= {0, 1, 2}

        try:
            endings.append(ended(load))
        except Exception as error:
            raise AssertionError(what) from error
        left = [path.name for path in data_dir.rglob("*") if path.is_file()]
        assert not any("incomplete" in name for name in left), what
        assert endings[-1] == "result" or not left or "split" in endings[-1], what
        for path in folder.glob("images/*"):
            ended(lambda path=path: photos.read(path))
        for used in (folder, data_dir):
            shutil.rmtree(used, ignore_errors=True)
        pet_records.stored.cache_clear()
        pet_records.split_of.cache_clear()
    assert 0.1 < np.mean([ending == "result" for ending in endings]) < 0.9


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network whose logits are the photo's colours."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(3, 1, dtype="float32")(image))
    model.layers[-1].set_weights([np.eye(3)[None, None], np.zeros(3)])
    path = tmp_path_factory.mktemp("model") / "m.keras"
    networks.save_model(networks.remember(model, 16, pets.CLASS_NAMES["trimap"]), path)
    return path


def command(monkeypatch, capsys, module, *words) -> list[str]:
    """Run a command in this process; return what it said on stderr, line by line."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
    with in_time():
        status = module.main()
    said = capsys.readouterr().err.splitlines()
    assert status in (0, 1, 2) and (status == 0) == (said == []), said
    return said


ROUNDS = [pytest.param(2, id="short"), pytest.param(20, marks=pytest.mark.long)]


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Keep results and prepared photos apart; leave the global switches alone."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "command", lambda: "tested")
    monkeypatch.setattr(environment, "prepare", lambda *_, **__: "")
    monkeypatch.setattr(pet_records, "CACHE", tmp_path / "cache")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("tool", ["evaluate", "export"])
def test_a_tool_ends_in_a_result_or_one_sentence(
    here, monkeypatch, capsys, network, tool, rounds
):
    if tool == "export":  # its own root: the forms run in processes of their own
        monkeypatch.setattr(environment, "ROOT", official_folder_root)
        monkeypatch.setattr(
            environment, "write_results", lambda name, found: json.dumps(found) and here
        )
    for number in range(rounds):
        random = np.random.default_rng([number, 7])
        folder = official_folder.make(here / f"{number}", trainval=2, test=2)
        model = here / f"{number}.keras"
        shutil.copy(network, model)
        if number % 4 == 3:
            what = "network"
            bytes_of_a_file(model, random)
        else:
            what = mutate(folder, random)
        words = ["--model", model, "--dataset", folder]
        if tool == "evaluate":
            said = command(monkeypatch, capsys, evaluate, *words, "--out", f"x{number}")
            written = (here / "results" / f"x{number}.json").exists()
        else:
            words += ["--out", here / "out", "--formats", "savedmodel", "--photos", 1]
            said = command(monkeypatch, capsys, export, *words)
            written = (here / "out" / "savedmodel").exists()
            shutil.rmtree(here / "out", ignore_errors=True)
        assert len(said) <= 1, (what, said)
        assert written == (not said), what
        assert all(line.startswith("error: ") for line in said)
        left = [path.name for path in here.rglob("*")]
        assert not any("incomplete" in n or "partial" in n for n in left), what


official_folder_root = environment.ROOT


@pytest.mark.slow
@pytest.mark.parametrize("rounds", ROUNDS)
def test_predict_writes_or_refuses_each_photo(
    here, monkeypatch, capsys, network, rounds
):
    for number in range(rounds):
        random = np.random.default_rng([number, 9])
        folder = official_folder.make(here / f"{number}", trainval=3, test=3) / "images"
        for path in sorted(folder.iterdir()):
            change = [*OF_FILES, another_format, another_name]
            change[random.integers(len(change))](path, random)
        out = here / f"out {number}"
        words = [folder, "--model", network, "--out", out]
        said = command(monkeypatch, capsys, predict, *words)
        assert all(line.startswith("refused: ") and line[-1] == "." for line in said)
        seen = [p for p in folder.iterdir() if p.suffix.lower() in photos.SUFFIXES]
        seen = [path for path in seen if not path.is_dir()]
        assert len(list(out.glob("*.json"))) + len(said) == max(1, len(seen))
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
        for path in out.glob("*.json"):
            json.loads(path.read_text())
