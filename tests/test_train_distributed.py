"""Training on several machines: the same as in one process, and what a death does."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import official_folder
import pytest
from conftest import ROOT, THIN

from tools import train_distributed as tool
from utils import metrics, networks, pets, vgg16

# Of Keras, reading a variable that lies on several devices.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

STEPS = 3  # in an epoch: 10 photos in batches of 4, so that the last is short
LIMIT = 60  # seconds in which the others end, as the tool promises

WORKER = f"""
import sys
from tools import train_distributed as tool
from utils import vgg16
vgg16.BLOCKS = {THIN}
"""
TWO_CPUS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
half = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [half, half])
"""
# In the middle of the second epoch.
DIES = """
import itertools, os, signal
step_of = tool.step_of
def dying(*arguments):
    step, calls = step_of(*arguments), itertools.count(1)
    def counted(*batch):
        if next(calls) == 5:
            os.kill(os.getpid(), signal.{})
        return step(*batch)
    return counted
tool.step_of = dying
"""
RUN = "sys.exit(tool.main())"


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Return the words of a command, given what differs from a tiny training."""
    home = tmp_path_factory.mktemp("distributed")
    folder = official_folder.make(home / "pets", trainval=10, test=2)
    settings = {
        "dataset": folder,
        "data_dir": home / "data",
        "image_size": 32,
        "epochs": 2,
        "batch_size": 4,
        "fc_units": 8,
        "weights": "none",
    }

    def words(out, **changes):
        changed = settings | {"out": out} | changes
        named = {"--" + name.replace("_", "-"): v for name, v in changed.items()}
        return [str(word) for pair in named.items() for word in pair]

    return words


def here(words, config=None):
    """Run the command in this process; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train_distributed", *words])
        patch.setattr(vgg16, "BLOCKS", THIN)
        patch.delenv("TF_CONFIG", raising=False)
        if config is not None:
            patch.setenv("TF_CONFIG", config)
        return tool.main()


def config_of(ports, index):
    workers = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": workers}, "task": task})


def free_ports():
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("", 0))) for _ in "ab"]
        return [listener.getsockname()[1] for listener in taken]


@contextlib.contextmanager
def processes(folder, words, scripts, configs):
    """Start one process for each script; stdout and stderr go to files."""
    started = []
    try:
        for index, (script, config) in enumerate(zip(scripts, configs, strict=True)):
            environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
            environment |= {"TF_CONFIG": config} if config else {}
            command = [sys.executable, "-c", script, *words[index]]
            out, error = folder / f"out{index}", folder / f"error{index}"
            with out.open("w") as out, error.open("w") as error:
                started.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=out, stderr=error
                    )
                )
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def pair(folder, words, scripts=(WORKER + RUN,) * 2, other=None):
    """Start two workers of one cluster."""
    ports = free_ports()
    configs = [config_of(ports, index) for index in (0, 1)]
    return processes(folder, [words, other or words], scripts, configs)


def run_pair(folder, words, other=None):
    """Run two workers to their end; return their exit codes and stdouts."""
    with pair(folder, words, other=other) as both:
        codes = [process.wait(timeout=300) for process in both]
    return codes, [(folder / f"out{index}").read_text() for index in (0, 1)]


def run_until_death(folder, words, victim, how):
    """Run two workers, one of which dies; return how the other ends, and how fast."""
    scripts = [WORKER + RUN] * 2
    scripts[victim] = WORKER + DIES.format(how) + RUN
    with pair(folder, words, scripts) as both:
        os.waitid(os.P_PID, both[victim].pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        died = time.monotonic()
        code = both[1 - victim].wait(timeout=300)
        seconds = time.monotonic() - died
        assert both[victim].poll() in (None, -signal.SIGKILL)
    return code, seconds, (folder / f"error{1 - victim}").read_text()


def losses_of(out):
    return np.array(json.loads((out / "losses.json").read_text())["losses"])


def weights_line(stdout):
    return [line for line in stdout.splitlines() if line.startswith("weights ")]


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    """The folder one process has written."""
    out = tmp_path_factory.mktemp("alone")
    assert here(command(out)) == 0
    return out


@pytest.mark.slow
def test_one_process_trains_as_keras_does(alone, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_distributed", *command(alone)])
    monkeypatch.setattr(vgg16, "BLOCKS", THIN)
    arguments = tool.parsed()
    keras.utils.set_random_seed(0)
    model = tool.network(arguments, 2 * STEPS)
    model.compile(model.optimizer, metrics.SegmentationLoss())
    options = {"augment": True, "shuffle": True, "data_dir": arguments.data_dir}
    options |= {"image_size": 32, "batch_size": 4}
    dataset = pets.load(arguments.dataset, "trainval", **options)
    expected = []
    for _ in range(2):
        for images, masks in dataset:
            model.reset_metrics()
            expected.append(model.train_on_batch(images, masks))
    found = losses_of(alone)
    assert found.shape == (2, STEPS)
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-5)
    assert found[1].mean() < found[0].mean()


@pytest.mark.slow
def test_the_network_is_saved(alone):
    model = networks.load_model(alone / "model.keras")
    assert model(np.zeros((1, 40, 50, 3), np.float32)).shape == (1, 40, 50, 3)


@pytest.mark.slow
def test_two_processes_train_as_one_does(alone, command, tmp_path):
    codes, outputs = run_pair(tmp_path, command(tmp_path / "pair"))
    assert codes == [0, 0]
    first, second = map(weights_line, outputs)
    assert first and first == second
    np.testing.assert_allclose(
        losses_of(tmp_path / "pair"), losses_of(alone), atol=1e-4
    )


@pytest.mark.slow
def test_two_devices_train_as_one_does(alone, command, tmp_path):
    words = command(tmp_path / "mirrored")
    with processes(tmp_path, [words], [TWO_CPUS + WORKER + RUN], [None]) as (process,):
        assert process.wait(timeout=300) == 0
    np.testing.assert_allclose(
        losses_of(tmp_path / "mirrored"), losses_of(alone), atol=1e-4
    )


@pytest.mark.slow
def test_a_death_is_said_and_the_checkpoint_is_used(alone, command, tmp_path, capsys):
    words = command(tmp_path / "run")
    code, seconds, stderr = run_until_death(tmp_path, words, 1, "SIGKILL")
    assert code == 1 and seconds < LIMIT
    assert "start all workers again" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    before = losses_of(tmp_path / "run")
    assert len(before) == 1
    assert here(words) == 0
    assert "epoch 2:" in (said := capsys.readouterr().out) and "epoch 1:" not in said
    after = losses_of(tmp_path / "run")
    np.testing.assert_array_equal(after[:1], before)
    np.testing.assert_allclose(after, losses_of(alone), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_pair_goes_on_after_a_death(alone, command, tmp_path, victim, how):
    words = command(tmp_path / "run")
    code, seconds, stderr = run_until_death(tmp_path, words, victim, how)
    print(f"{how} of worker {victim}: the other ended after {seconds:.1f} s")
    assert code == 1 and seconds < LIMIT
    assert "start all workers again" in stderr.splitlines()[-1]
    assert len(losses_of(tmp_path / "run")) == 1
    codes, outputs = run_pair(tmp_path, words)
    assert codes == [0, 0]
    assert "epoch 1:" not in outputs[0]
    assert weights_line(outputs[0]) == weights_line(outputs[1])
    np.testing.assert_allclose(losses_of(tmp_path / "run"), losses_of(alone), atol=1e-4)
    ended, expected = (
        networks.load_model(out / "model.keras").get_weights()
        for out in (tmp_path / "run", alone)
    )
    for one, other in zip(ended, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.long
def test_workers_with_other_arguments_do_not_train(command, tmp_path):
    words = command(tmp_path / "run")
    codes, _ = run_pair(tmp_path, words, other=command(tmp_path / "run", seed=1))
    assert codes == [2, 2]
    assert "differ in their arguments" in (tmp_path / "error1").read_text()
    assert not (tmp_path / "run" / "losses.json").exists()


def test_a_worker_that_never_comes_is_named(command, tmp_path, monkeypatch, capsys):
    def leave(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(tool, "PATIENCE", 0)
    ports = free_ports()
    with pytest.raises(SystemExit, match="1"):
        here(command(tmp_path), config_of(ports, 0))
    said = capsys.readouterr()
    assert f"waiting for 127.0.0.1:{ports[1]}" in said.out
    assert "start all workers again" in said.err


def test_a_port_in_use_is_refused(command, tmp_path, capsys):
    with socket.create_server(("", 0)) as taken:
        config = config_of([taken.getsockname()[1], 1], 0)
        assert here(command(tmp_path), config) == 2
    assert "in use" in capsys.readouterr().err


TWO = config_of([2222, 2223], 1)


@pytest.mark.parametrize(
    ("config", "changes", "sentence"),
    [
        ("{not json", {}, "TF_CONFIG must read"),
        ("[]", {}, "TF_CONFIG must read"),
        (TWO.replace("2223", "2222"), {}, "TF_CONFIG must read"),
        (TWO.replace(":2223", ""), {}, "TF_CONFIG must read"),
        (TWO.replace('"index": 1', '"index": 2'), {}, "TF_CONFIG must read"),
        (TWO.replace('"index": 1', '"index": -1'), {}, "TF_CONFIG must read"),
        (TWO.replace('"type": "worker"', '"type": "ps"'), {}, "TF_CONFIG must read"),
        (TWO.replace("2222", "99999"), {}, "TF_CONFIG must read"),
        (TWO, {"batch_size": 5}, "give a multiple of 2"),
        (None, {"batch_size": 0}, "give a multiple of 1"),
        (None, {"seed": -1}, "Seed must be"),
        (None, {"dataset": "nowhere"}, "unknown data set"),
        (None, {"fc_units": 0}, "at least 1 unit"),
        (None, {"weights": "nonsense"}, "'nonsense' is unknown"),
    ],
)
def test_what_cannot_work_is_refused(
    config, changes, sentence, command, tmp_path, capsys
):
    assert here(command(tmp_path, **changes), config) == 2
    stderr = capsys.readouterr().err
    assert sentence in stderr and len(stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variant": "4s"}, "invalid choice: '4s'"),
        ({"task": "nonsense"}, "invalid choice: 'nonsense'"),
        ({"epochs": 0}, "give 1 or more"),
    ],
)
def test_wrong_usage_is_refused(changes, sentence, command, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        here(command(tmp_path, **changes))
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_named_like_a_pattern_is_a_folder(command, tmp_path, capsys):
    out = tmp_path / "[1] a**b? {x}"
    assert here(command(out, epochs=1)) == here(command(out, epochs=1)) == 0
    assert capsys.readouterr().out.count("epoch 1:") == 1
    assert networks.load_model(out / "model.keras").output.shape[-1] == 3


@pytest.mark.slow
def test_a_folder_with_another_run_is_refused(alone, command, capsys):
    assert here(command(alone, seed=1)) == 2
    assert "give another --out" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loss_that_is_no_number_names_the_files(
    command, tmp_path, monkeypatch, capsys
):
    network = tool.network

    def spoilt(*arguments):
        model = network(*arguments)
        model.get_layer("score_fc7").bias.assign([np.nan, 0, 0])
        return model

    monkeypatch.setattr(tool, "network", spoilt)
    assert here(command(tmp_path / "run")) == 2
    (sentence,) = capsys.readouterr().err.splitlines()[-1:]
    assert "epoch 1, batch 1, files: " in sentence and sentence.count(".jpg") == 4
    assert not (tmp_path / "run" / "losses.json").exists()


@pytest.mark.parametrize("damage", ["[1, 2]", "{", "\xff"])
def test_a_damaged_record_is_named(command, tmp_path, capsys, damage):
    (tmp_path / "losses.json").write_text(damage, "latin-1")
    assert here(command(tmp_path)) == 2
    assert "losses.json is damaged: remove" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_named(command, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert here(command(tmp_path / "file" / "run")) == 2
    assert "cannot be made" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("in the way")
    assert here(command(tmp_path / "run")) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert str(tmp_path / "run") in sentence and "make room" in sentence
