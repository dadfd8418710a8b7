"""Time `python -m utils.predict` on one large photo, the start of the process included.

The photo is scikit-image's cat, enlarged to 4000 x 3000 pixels. Each run is a process
of its own. The network is `timing.NETWORK`, unless --model names another.
Writes results/large_photo.json.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import skimage.data
from PIL import Image

from benchmarks import timing
from utils import environment

PROGRAM = """
from benchmarks import timing
from utils import predict
status = predict.main()
print(timing.peak_memory())
raise SystemExit(status)
"""


def measured(words: list[str]) -> dict[str, float]:
    """Run the command once; return seconds, seconds of CPU, gigabytes."""
    load, before = os.getloadavg()[0], os.times()
    command = [sys.executable, "-c", PROGRAM, *words]
    gigabytes = subprocess.check_output(command, cwd=environment.ROOT, text=True)
    after = os.times()
    user = after.children_user - before.children_user
    return {
        "seconds": after.elapsed - before.elapsed,
        "cpu_seconds": user + after.children_system - before.children_system,
        "peak_memory_gb": float(gigabytes),
        "load_average_before": load,
    }


def main() -> None:
    arguments = timing.begin(__doc__, model=timing.NETWORK, runs=3)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        photo = pathlib.Path(name) / "large.jpg"
        Image.fromarray(skimage.data.chelsea()).resize((4000, 3000)).save(photo)
        words = [str(photo), "--model", arguments.model, "--out", name, "--force"]
        for _ in range(arguments.runs):
            runs.append(measured(words))
            print(runs[-1], flush=True)
    figures = {"photo": "4000 x 3000 pixels, JPEG", "runs": runs}
    print("written:", environment.write_results("large_photo", figures).name)


if __name__ == "__main__":
    main()
