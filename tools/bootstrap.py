"""Create `.venv` and install the requirements; only the standard library is used here.

`make run` and `make test` call this first. It may be interrupted and started again: a
stamp is written last, and it holds the hash of what was installed.
"""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
NEEDED_GIB = 4.0  # TensorFlow and the rest take 2.9 GiB, plus pip's temporary files


def fail(sentence: str) -> None:
    """End with one sentence on stderr."""
    sys.exit(f"error: {sentence}")


def check_machine() -> None:
    """Refuse a Python or a disk that cannot work."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        fail(
            f"this is Python {sys.version.split()[0]}, and the notebooks need 3.11, "
            "3.12 or 3.13; name one, for example: make run PYTHON=python3.12"
        )
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < NEEDED_GIB:
        fail(
            f"only {free:.1f} GiB are free below {ROOT.name}/, and the environment "
            f"takes up to {NEEDED_GIB:.0f} GiB; free some space and start again"
        )


def usable(python: pathlib.Path) -> bool:
    """Tell whether this interpreter of an environment runs and has pip."""
    try:
        command = [python, "-m", "pip", "--version"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:  # absent, or half-written by a run that was killed
        return False


def install(requirements: list[str]) -> None:
    """Make the environment hold `requirements` (file names below the root)."""
    wanted = "".join((ROOT / name).read_text() for name in requirements)
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = VENV / f"installed-{requirements[-1]}"
    if stamp.is_file() and stamp.read_text() == digest:
        return
    python = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    try:
        if not usable(python):
            print("Creating .venv ...", flush=True)
            venv.create(VENV, with_pip=True, clear=VENV.exists())
    except (OSError, subprocess.CalledProcessError) as error:
        fail(
            f"the environment .venv could not be created ({error}); "
            "is the folder writable?"
        )
    print(
        f"Installing {' and '.join(requirements)} (a few minutes the first time) ...",
        flush=True,
    )
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for name in requirements:
        command += ["-r", ROOT / name]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        log = VENV / "install.log"
        log.write_text(done.stderr)
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        fail(
            "pip could not install the requirements: "
            f"{errors[-1].removeprefix('ERROR: ') if errors else 'see its log'} "
            f"(is a package index within reach? the whole log: .venv/{log.name})"
        )
    stamp.write_text(digest)


if __name__ == "__main__":
    try:
        check_machine()
        install(sys.argv[1:] or ["requirements.txt"])
    except KeyboardInterrupt:
        fail("stopped half-way; the same command goes on from here")
