"""Try the pages as on Colab: one notebook in an empty folder, Colab's versions.

    python -m tools.try_colab [--only 01]

Installs what constraints-colab.txt says into build/colab/, and publishes a copy of the
last commit there. Each page then lies alone in a folder; its first cell fetches the
repository from that copy. A stub stands for `google.colab`, and a process gets 12.7 GB.
Each page runs twice. Seconds and the peak memory of the largest process go to
results/colab.json, and what the page says while there is no address. Linux only.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "colab"
ADDRESS = "https://github.com/a-trial/learn-fcn"
MEMORY = 12.7e9  # what Colab's free machine has
PYTHON = HOME / "venv" / "bin" / "python"
REQUIREMENTS = ("-r", "requirements.txt", "-c", "constraints-colab.txt")


def said(command: list[str | pathlib.Path], **options) -> None:
    """Run a command; end with its words where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}:\n{done.stderr[-2000:]}")


def install() -> None:
    """Make the environment hold what Colab has, unless it does."""
    stamp = HOME / "installed"
    names = [one for one in REQUIREMENTS if "." in one]
    wanted = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in names)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    venv.create(HOME / "venv", with_pip=True, clear=True)
    said([PYTHON, "-m", "pip", "install", "-q", *REQUIREMENTS], cwd=ROOT)
    stub = HOME / "stub" / "google" / "colab"
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "__init__.py").touch()
    stamp.write_text(wanted, encoding="utf-8")


def published(address: str) -> pathlib.Path:
    """Return a copy of the last commit with this address, or none."""
    served = HOME / ("plain" if address == "none" else "served") / "learn-fcn"
    shutil.rmtree(served, ignore_errors=True)
    said(["git", "clone", "-q", ROOT, served])
    said([sys.executable, "-m", "tools.pages.publish", address], cwd=served)
    return served


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (int(MEMORY), int(MEMORY)))


def execute(page: pathlib.Path) -> tuple[float, float, str]:
    """Run a notebook in its folder; return seconds, peak GB, and what went wrong."""
    options = ["--to", "notebook", "--execute", "--output", f"done_{page.name}"]
    command = [PYTHON, "-m", "jupyter", "nbconvert", *options, page.name]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    clean |= {"COLAB_RELEASE_TAG": "trial", "PYTHONPATH": str(HOME / "stub")}
    clean |= {"PATH": f"{PYTHON.parent}{os.pathsep}{clean['PATH']}"}
    started, log = time.perf_counter(), page.with_suffix(".log")
    with log.open("w", encoding="utf-8") as file:
        run = subprocess.Popen(
            command,
            cwd=page.parent,
            env=clean,
            stdout=file,
            stderr=file,
            preexec_fn=limit,
        )
        _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    last = log.read_text(encoding="utf-8").strip().rpartition("\n")[2]
    wrong = run.returncode and (last or f"ended with exit status {run.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss * 1024 / 1e9, wrong or ""


def main() -> int:
    parser = argparse.ArgumentParser(description="Try the pages as on Colab.")
    parser.add_argument("--only", nargs="+", metavar="NN", default=[""])
    begin = tuple(parser.parse_args().only)
    names = sorted(
        path.name for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")
    )
    if not (names := [name for name in names if name.startswith(begin)]):
        parser.error(f"no notebook begins with {' or '.join(begin)}")
    HOME.mkdir(parents=True, exist_ok=True)
    install()
    plain, served = published("none"), published(ADDRESS)
    rows, failed = {}, False
    for name in names:
        folder = HOME / "pages" / name.partition(".")[0]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        page, row = folder / name, {"seconds": [], "peak_memory_gb": []}
        shutil.copy(plain / "notebooks" / name, page)
        *_, wrong = execute(page)
        row["without an address"] = wrong
        failed |= "there is no folder learn-fcn here" not in wrong
        text = (served / "notebooks" / name).read_text(encoding="utf-8")
        page.write_text(text.replace(ADDRESS, served.as_uri()), encoding="utf-8")
        for _ in range(2):
            seconds, peak, wrong = execute(page)
            row["seconds"].append(round(seconds))
            row["peak_memory_gb"].append(round(peak, 2))
            failed |= bool(wrong)
            print(f"{name}: {seconds:.0f} s, {peak:.1f} GB {wrong}", flush=True)
        rows[page.stem] = row
    words = "import json; from utils import environment\n"
    words += "print(json.dumps(environment.versions()))"
    asked = subprocess.run([PYTHON, "-c", words], cwd=ROOT, capture_output=True)
    # Not earlier: a process counts for as large as the one that starts it.
    from utils import environment

    before = {}
    if (ROOT / "results" / "colab.json").is_file():
        before = environment.results("colab")["pages"]
    figures = {"versions": json.loads(asked.stdout), "pages": before | rows}
    print(f"results/{environment.write_results('colab', figures).name}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
