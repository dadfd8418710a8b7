"""Try README's commands as a newcomer would: a fresh clone, nothing installed.

    python -m tools.try_fresh [--only run check test]

Clones the last commit into a new folder beside this checkout, installs, runs the three
`make` commands there, and writes times and memory to results/fresh_clone.json; README
shows the times. What the commands say goes to build/fresh_clone.log. The clone is
removed when all went well.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

MAKE = ("run", "check", "test")
ROOT = pathlib.Path(__file__).resolve().parents[1]
LOG = ROOT / "build" / "fresh_clone.log"


def measure(command: list[str], clone: pathlib.Path) -> tuple[float, float]:
    """Return a command's seconds and the peak memory in GB of its largest process.

    Looked at are all that it started and waited for, as the system's `wait4` counts.
    Ends with status 1 when the command fails.
    """
    print(" ".join(command), flush=True)
    started = time.perf_counter()
    # A newcomer's shell has none of this one's settings for Python.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with LOG.open("a", encoding="utf-8") as log:
        run = subprocess.Popen(command, cwd=clone, env=clean, stdout=log, stderr=log)
        _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit(
            f"error: {' '.join(command)} ended with {run.returncode}: see "
            f"{LOG.relative_to(ROOT)}; the clone is kept at {clone}."
        )
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return time.perf_counter() - started, usage.ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description="Try README's commands in a clone.")
    parser.add_argument("--only", nargs="+", choices=MAKE, default=MAKE)
    only = parser.parse_args().only
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    clone = pathlib.Path(tempfile.mkdtemp(dir=ROOT.parent, prefix="learn-fcn-fresh-"))
    seconds, memory = {}, {}
    figures = {"load_average_before": os.getloadavg()[0]}
    figures |= {"seconds": seconds, "peak_memory_gb": memory}
    steps = {"install": ["python3", "tools/bootstrap.py", "requirements.txt"]}
    steps |= {f"make {name}": ["make", name] for name in MAKE if name in only}
    measure(["git", "clone", "-q", str(ROOT), "."], clone)
    for name, command in steps.items():
        taken, peak = measure(command, clone)
        seconds[name], memory[name] = round(taken), round(peak, 1)
        if name == "install":  # before the test tools join it
            files = (path.lstat() for path in (clone / ".venv").rglob("*"))
            held = sum(512 * one.st_blocks for one in files) / 1e9  # on disk, GB
            figures["environment_gb"] = round(held, 1)
    said = LOG.read_text(encoding="utf-8", errors="replace")
    for line in re.findall(r"^.*\d+ passed.*$", said, re.MULTILINE):
        figures["tests"] = line.strip("= ")  # the last of them
    # Not earlier: a process counts for as large as the one that starts it.
    from utils import environment

    print(f"results/{environment.write_results('fresh_clone', figures).name}")
    shutil.rmtree(clone)


if __name__ == "__main__":
    main()
