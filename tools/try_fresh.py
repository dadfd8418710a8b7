"""Try README's commands as a newcomer would: a fresh clone, nothing installed.

    python -m tools.try_fresh [--only run check test]

Clones the last commit into a new folder beside this checkout, installs, runs the three
`make` commands there, and writes the times to results/fresh_clone.json; README shows
them. What the commands say goes to build/fresh_clone.log. The clone is removed when all
went well.
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

from utils import environment

MAKE = ("run", "check", "test")
LOG = environment.ROOT / "build" / "fresh_clone.log"


def seconds(command: list[str], clone: pathlib.Path) -> float:
    """Run a command in the clone; raise RuntimeError when it fails."""
    print(" ".join(command), flush=True)
    started = time.perf_counter()
    # A newcomer's shell has none of this one's settings for Python.
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with LOG.open("a") as log:
        done = subprocess.run(command, cwd=clone, env=clean, stdout=log, stderr=log)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}: see "
            f"{LOG.relative_to(environment.ROOT)}; the clone is kept at {clone}."
        )
    return time.perf_counter() - started


def gigabytes(folder: pathlib.Path) -> float:
    """Return what a folder's files take on disk."""
    files = (path for path in folder.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_blocks * 512 for path in files) / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description="Try README's commands in a clone.")
    parser.add_argument(
        "--only", nargs="+", choices=MAKE, default=MAKE, help="of the make commands"
    )
    arguments = parser.parse_args()
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("")
    folder = pathlib.Path(
        tempfile.mkdtemp(dir=environment.ROOT.parent, prefix="fresh-")
    )
    clone = folder.rename(folder.with_name(f"learn-fcn-{folder.name}"))
    try:
        seconds(["git", "clone", "-q", str(environment.ROOT), "."], clone)
        figures = {"load_average_before": os.getloadavg()[0], "seconds": {}}
        steps = {"install": ["python3", "tools/bootstrap.py", "requirements.txt"]}
        steps |= {f"make {name}": ["make", name] for name in MAKE}
        for name, command in steps.items():
            if name == "install" or name.removeprefix("make ") in arguments.only:
                figures["seconds"][name] = round(seconds(command, clone))
            if name == "install":
                figures["environment_gb"] = round(gigabytes(clone / ".venv"), 1)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in reversed(LOG.read_text().splitlines()):
        if re.search(r"\d+ passed", line):
            figures["tests"] = line.strip("= ")
            break
    print(f"results/{environment.write_results('fresh_clone', figures).name}")
    shutil.rmtree(clone)
    return 0


if __name__ == "__main__":
    sys.exit(main())
