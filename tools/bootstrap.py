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

ROOT = pathlib.Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
# TensorFlow and the rest take 2.9 GiB, plus pip's temporary files; test tools far less.
NEEDED_GIB, MORE_GIB = 4.0, 1.0


def check_python() -> None:
    """Refuse a Python that cannot work."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(
            f"error: this is Python {sys.version.split()[0]}, and the notebooks need "
            "3.11, 3.12 or 3.13; name one, for example: make run PYTHON=python3.12"
        )


def install(requirements: list[str]) -> None:
    """Make the environment hold `requirements` (file names below the root)."""
    wanted = b"".join((ROOT / name).read_bytes() for name in requirements)
    digest = hashlib.sha256(wanted).hexdigest()
    stamp = VENV / f"installed-{requirements[-1]}"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == digest:
        return
    needed = MORE_GIB if any(VENV.glob("installed-*")) else NEEDED_GIB
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < needed:
        sys.exit(
            f"error: only {free:.1f} GiB are free here, and the environment takes "
            f"up to {needed:.0f} GiB more; free some space and start again"
        )
    python = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    try:
        command = [python, "-m", "pip", "--version"]
        usable = not subprocess.run(command, capture_output=True).returncode
    except OSError:  # absent, or half-written by a run that was killed
        usable = False
    if not usable:
        print("Creating .venv ...", flush=True)
        command = [sys.executable, "-m", "venv", "--clear", VENV]
        if subprocess.run(command).returncode:
            sys.exit(
                "error: .venv could not be created, as said above; is the folder "
                "writable? If so, name another Python: make run PYTHON=python3.12"
            )
    names = " and ".join(requirements)
    print(f"Installing {names} (a few minutes the first time) ...", flush=True)
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    command += [f"--requirement={ROOT / name}" for name in requirements]
    if subprocess.run(command).returncode:
        sys.exit(
            "error: pip could not install the requirements; why, it has said above "
            "(is a package index within reach?)"
        )
    stamp.write_text(digest, encoding="utf-8")


if __name__ == "__main__":
    try:
        check_python()
        install(sys.argv[1:] or ["requirements.txt"])
    except KeyboardInterrupt:
        sys.exit("error: stopped half-way; the same command goes on from here")
