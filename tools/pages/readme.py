"""Fill the measured values of README.md and README.zh-CN.md from `results/`.

    python -m tools.pages.readme           write what changed
    python -m tools.pages.readme --check   write nothing; fail when one is stale

Between `<!-- NAME -->` and `<!-- end -->` stands the value that `measured` has by that
name; the words around it are typed, in each language. A mark begins no line: Markdown
would take that line for HTML. In the table of notebooks the last two columns are filled
in: minutes, and links to Colab and Kaggle once there is an address (`make publish`),
which the line `git clone` gets too.
"""

import argparse
import re
import sys

from tools.pages.build import ROOT, address, hosted
from utils import environment

FILES = ("README.md", "README.zh-CN.md")
MARK = re.compile(r"<!-- (?!end)([\w ]+) -->(.*?)<!-- end -->")
ROW = re.compile(
    r"^(\| \[\d\d [^\]]+\]\(notebooks/(\w+)\.ipynb\) \| [^|]+ \|).*$", re.MULTILINE
)


def scores() -> dict[str, str]:
    """Return the rows of scores on real photographs, by the network's name."""
    trimap = environment.results("oxford-pets-sample_trimap")
    species = environment.results("oxford-pets-sample_species")["summary"]
    bands = environment.results("evaluation_trimap")["networks"]
    fitted = environment.results("ceilings")["tasks"]["trimap"]["fitted"]
    if trimap["network"]["fc_units"] != 512:
        raise ValueError("The sentence below the table speaks of a slim head; mend it.")
    found, test = {}, trimap["seeds"]["0"]["test"]
    for stage in ("32s", "16s", "8s"):
        row = trimap["summary"][stage]
        others = [
            test.get(f"{stage}_control", test[stage])["mean_iou"],
            bands[stage]["bands"]["4"],
            fitted[stage.removesuffix("s")]["mean_iou"],
            species[stage]["mean_iou"],
        ]
        mean = f"{row['mean_iou']:.3f} ({row['range']:.3f})"
        found[stage] = " | ".join([mean, *(f"{score:.3f}" for score in others)])
    return found


def on_a_gpu() -> str:
    """Return the fastest training on a GPU and the 8s' mean IoU; a dash for neither."""
    if not (ROOT / "results" / "gpu.json").is_file():
        return "–"
    found = environment.results("gpu")
    if found["rehearsal"]:
        return "–"
    tasks = found["tasks"].values()
    rates = {
        task["precision"]: max(row["train_photos_per_s"] for row in task["rows"])
        for task in tasks
        if task.get("head") == "slim" and "rows" in task
    }
    scores = [task["stages"]["8s"]["test"] for task in tasks if "stages" in task]
    if not (rates and scores):  # a run that stopped early
        return "–"
    fastest, iou = max(rates, key=rates.get), sum(scores) / len(scores)
    how = f"{fastest}, {found['backend']}, {found['device']}"
    return f"{rates[fastest]:,.0f} ({how}); {iou:.3f}"


def measured() -> dict[str, str]:
    """Return all values by their names in the READMEs."""
    trimap = environment.results("oxford-pets-sample_trimap")
    count, breeds = re.match(r"(\d+) photographs, (\d+) of", trimap["data"]).groups()
    tested = environment.results("evaluation_trimap")["photos"]
    sliding = environment.results("sliding_window")["rows"][-1]
    step = environment.results("train_step")
    rows = environment.results("inference")["rows"]
    latency = {(r["image_size"], r["batch_size"]): r["milliseconds"] for r in rows}
    int8 = environment.results("export")["forms"]["litert-int8"]
    large = environment.results("large_photo")["runs"]
    clone = environment.results("fresh_clone")
    minutes = {name: seconds / 60 for name, seconds in clone["seconds"].items()}
    pages = sum(environment.results("notebooks")["seconds"].values()) / 60
    return {
        **scores(),
        "test photos": tested,
        "training photos": int(count) - tested,
        "breeds": breeds,
        "pixels": trimap["image_size"],
        "precision": trimap["precision"].removeprefix("mixed_"),
        "device": trimap["device"],
        "tensorflow": trimap["versions"]["tensorflow"],
        "keras": trimap["versions"]["keras"],
        "windows": sliding["windows"],
        "sliding pixels": sliding["size"],
        "sliding ratio": f"{sliding['measured_ratio']['median']:.1f}",
        "fit": f"{step['fit_over_bare']['median']:.3f}",
        "product": f"{step['of_the_product']['convolutions']['median']:.0%}",
        "latency": f"{latency[160, 1]:.0f} ms",
        "int8": f"{int8['megabytes']:.0f} MB, {int8['milliseconds']['median']:.0f} ms, "
        f"{-int8['mean_iou_lost']:+.4f}",
        "large photo": f"{max(run['seconds'] for run in large):.0f} s, "
        f"{max(run['peak_memory_gb'] for run in large):.1f} GB",
        **{name: f"{value:.0f}" for name, value in minutes.items()},  # make run, ...
        "install": f"{minutes['install']:.1f}",
        "pages": f"{pages:.0f}",
        "environment": f"{clone['environment_gb']:.1f} GB",
        "fresh device": clone["device"],
        "gpu": on_a_gpu(),
    }


def notebook_row(match: re.Match) -> str:
    """Add minutes and the links to a row of the table of notebooks."""
    seconds = environment.results("notebooks")["seconds"].get(match[2])
    minutes = f"{seconds / 60:.1f}" if seconds else "?"
    links = [f"[{host}]({url})" for host, (_, url) in hosted(match[2]).items()]
    return f"{match[1]} {minutes} | {' '.join(links) or '–'} |"


def filled(text: str) -> str:
    """Return a README with its measured values as `results/` has them now."""
    known = measured()
    if unknown := {name for name, _ in MARK.findall(text)} - set(known):
        sentence = f"nothing measured is called {min(unknown)}; there are "
        raise ValueError(sentence + ", ".join(known))
    text = MARK.sub(lambda m: f"<!-- {m[1]} -->{known[m[1]]}<!-- end -->", text)
    clone = f"git clone {address()}\n" if address() else ""
    name = address().rpartition("/")[2] or "learn-fcn"
    text = re.sub(r"(?m)^(?:git clone .+\n)?cd .+$", f"{clone}cd {name}", text)
    return ROW.sub(notebook_row, text)


def main(words: list[str] | None = None) -> int:
    """Write what changed, or fail where it is stale."""
    parser = argparse.ArgumentParser(description="Fill README from results/.")
    parser.add_argument("--check", action="store_true", help="fail when one is stale")
    check, stale = parser.parse_args(words).check, []
    for name in FILES:
        old = (ROOT / name).read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(name)
            if not check:
                (ROOT / name).write_text(new, encoding="utf-8")
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
