"""Fill the measured parts of README.md and README.zh-CN.md from `results/`.

    python -m tools.build_readme           write what changed
    python -m tools.build_readme --check   write nothing; fail when one is stale

Between `<!-- NAME -->` and `<!-- end -->` stands what `BLOCKS[NAME]` returns. In the
table of notebooks the last two columns are filled in: minutes, and the link to Colab;
the line `git clone` gets the repository's address.
"""

import argparse
import re
import sys
from collections.abc import Callable

from tools.build_notebooks import COLAB, ROOT, address
from utils import environment

STAGES = ("32s", "16s", "8s")
FILES = {"README.md": "en", "README.zh-CN.md": "zh"}
WORDS = {
    "en": {
        "segmentation": "| network | mean IoU, 3 classes | with as many epochs as the "
        "8s | within 4 px of the outline | best its grid can hold | cat, dog or "
        "background |",
        "seeds": "3 seeds within",
        "photos": "{photos} test photos of {breeds} of 37 breeds, networks trained on "
        "{learned} photographs at {size} px, blocks 3 to 5 and a slim head in "
        "{precision}; "
        "{device}; TensorFlow {tensorflow}, Keras {keras}. "
        "Commands: `make results`, `tools.evaluate`, `tools.ceilings`.",
        "speed": "| what | measured | shown in |",
        "sliding": "one convolutional pass against VGG16 run on {windows} windows, "
        "{size} px",
        "times": "{value:.1f} times as fast",
        "fit": "time of a step in `fit`, divided by that in a bare compiled loop",
        "product": "VGG16's convolutions, forward and backward, against the rate of a "
        "large matrix product",
        "latency": "FCN-8s, one photo of {size} px",
        "int8": "FCN-8s as 8-bit LiteRT: file, time, change of mean IoU",
        "large": "a photo of 4000 x 3000 pixels by `python -m utils.predict`, process "
        "start included",
        "fresh": "A fresh clone on {device}: {install:.1f} minutes to install",
        "make run": ", then `make run` {minutes:.0f} minutes (the pages of the table "
        "below add up to {pages:.0f})",
        "make check": ", `make check` {minutes:.0f} minutes",
        "make test": ", `make test` {minutes:.0f} minutes",
        "disk": "; the environment takes {gb:.1f} GB.",
        "cores": r", \1 cores",
    },
    "zh": {
        "segmentation": "| 网络 | 三类平均 IoU | 与 8s 训练同样久 | "
        "距轮廓 4 像素以内 | 该步幅网格的上限 | 猫、狗或背景 |",
        "seeds": "3 个种子最大相差",
        "photos": "测试照片 {photos} 张，37 个品种中的 {breeds} 个；"
        "网络在 {learned} 张照片上以 {size} 像素训练"
        "（第 3 至 5 块和一个精简的预测头，{precision}）；{device}；"
        "TensorFlow {tensorflow}，Keras {keras}。命令：`make results`、"
        "`tools.evaluate`、`tools.ceilings`。",
        "speed": "| 内容 | 实测 | 所在笔记本 |",
        "sliding": "一次全卷积前向传播，对比 VGG16 逐个处理 "
        "{windows} 个窗口（{size} 像素）",
        "times": "速度为后者的 {value:.1f} 倍",
        "fit": "`fit` 每步用时与手写编译循环之比",
        "product": "VGG16 卷积层前向与反向传播的运算速率，占大矩阵乘法的",
        "latency": "FCN-8s，一张 {size} 像素的照片",
        "int8": "8 位 LiteRT 的 FCN-8s：文件、用时、平均 IoU 的变化",
        "large": "用 `python -m utils.predict` 处理 4000 x 3000 像素的照片，含进程启动",
        "fresh": "全新克隆，{device}：安装 {install:.1f} 分钟",
        "make run": "，`make run` {minutes:.0f} 分钟（下表各页合计 {pages:.0f} 分钟）",
        "make check": "，`make check` {minutes:.0f} 分钟",
        "make test": "，`make test` {minutes:.0f} 分钟",
        "disk": "；环境占用 {gb:.1f} GB。",
        "cores": r"（\1 核）",
    },
}


def segmentation(words: dict[str, str]) -> str:
    """Return the networks on real photographs, one row each."""
    trimap = environment.results("oxford-pets-sample_trimap")
    species = environment.results("oxford-pets-sample_species")["summary"]
    found = environment.results("evaluation_trimap")
    fitted = environment.results("ceilings")["tasks"]["trimap"]["fitted"]
    lines = [words["segmentation"], "|---|---|---|---|---|---|"]
    for stage in STAGES:
        row = trimap["summary"][stage]
        seed = trimap["seeds"]["0"]["test"]
        longer = seed.get(f"{stage}_control", seed[stage])["mean_iou"]
        band = found["networks"][stage]["bands"]["4"]
        best = fitted[stage.removesuffix("s")]["mean_iou"]
        lines.append(
            f"| FCN-{stage} | {row['mean_iou']:.3f} ({words['seeds']} "
            f"{row['range']:.3f}) | {longer:.3f} | {band:.3f} | {best:.3f} | "
            f"{species[stage]['mean_iou']:.3f} |"
        )
    made = trimap | trimap["versions"]
    if made["network"]["fc_units"] != 512:
        raise ValueError("The sentence below the table speaks of a slim head; mend it.")
    count, breeds = re.match(r"(\d+) photographs, (\d+) of", made["data"]).groups()
    about = words["photos"].format(
        photos=found["photos"],
        learned=int(count) - found["photos"],
        breeds=breeds,
        precision=made["precision"].removeprefix("mixed_"),
        size=made["image_size"],
        device=device(words, made),
        tensorflow=made["tensorflow"],
        keras=made["keras"],
    )
    return "\n".join(lines) + f"\n\n{about}"


def device(words: dict[str, str], made: dict) -> str:
    """Return the device a result names, in the README's language."""
    return re.sub(r", (\d+) cores", words["cores"], made["device"])


def speed(words: dict[str, str]) -> str:
    """Return what was measured about time and size, one row each."""
    sliding = environment.results("sliding_window")["rows"][-1]
    step = environment.results("train_step")
    latency = next(
        row
        for row in environment.results("inference")["rows"]
        if (row["image_size"], row["batch_size"]) == (160, 1)
    )
    int8 = environment.results("export")["forms"]["litert-int8"]
    large = environment.results("large_photo")["runs"]
    times = words["times"].format(value=sliding["measured_ratio"]["median"])
    rows = [
        (words["sliding"].format(**sliding), times, "02"),
        (words["fit"], f"{step['fit_over_bare']['median']:.3f}", "06"),
        (
            words["product"],
            f"{step['of_the_product']['convolutions']['median']:.0%}",
            "06",
        ),
        (
            words["latency"].format(size=160),
            f"{latency['milliseconds']:.0f} ms",
            "07",
        ),
        (
            words["int8"],
            f"{int8['megabytes']:.0f} MB, {int8['milliseconds']['median']:.0f} ms, "
            f"{-int8['mean_iou_lost']:+.4f}",
            "08",
        ),
        (
            words["large"],
            f"{max(run['seconds'] for run in large):.0f} s, "
            f"{max(run['peak_memory_gb'] for run in large):.1f} GB",
            "08",
        ),
    ]
    lines = [words["speed"], "|---|---|---|"]
    lines += [f"| {what} | {value} | {page} |" for what, value, page in rows]
    return "\n".join(lines)


def fresh(words: dict[str, str]) -> str:
    """Return how long the first minutes take."""
    made = environment.results("fresh_clone")
    minutes = {name: value / 60 for name, value in made["seconds"].items()}
    text = words["fresh"].format(
        device=device(words, made), install=minutes.pop("install")
    )
    pages = sum(environment.results("notebooks")["seconds"].values()) / 60
    for name, value in minutes.items():
        text += words[name].format(minutes=value, pages=pages)
    return text + words["disk"].format(gb=made["environment_gb"])


BLOCKS: dict[str, Callable[[dict[str, str]], str]] = {
    "segmentation": segmentation,
    "speed": speed,
    "fresh": fresh,
}
ROW = re.compile(
    r"^(\| \[\d\d [^\]]+\]\(notebooks/(\w+)\.ipynb\) \| [^|]+ \|).*$", re.M
)


def notebook_row(match: re.Match) -> str:
    """Add minutes and the link to Colab to a row of the table of notebooks."""
    seconds = environment.results("notebooks")["seconds"].get(match[2])
    minutes = f"{seconds / 60:.1f}" if seconds else "?"
    colab = address().replace("https://github.com", f"{COLAB}/github")
    link = f"[Colab]({colab}/blob/main/notebooks/{match[2]}.ipynb)"
    return f"{match[1]} {minutes} | {link} |"


def filled(text: str, language: str) -> str:
    """Return a README with its measured parts as `results/` has them now."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(
                f"there is no part between {begin.strip()} and {end.strip()}"
            )
        after = rest.partition(end)[2]
        text = f"{before}{begin}{block(WORDS[language])}\n{end}{after}"
    text = re.sub(r"^git clone .+$", f"git clone {address()}", text, flags=re.M)
    return ROW.sub(notebook_row, text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill README from results/.")
    parser.add_argument("--check", action="store_true", help="fail when one is stale")
    arguments = parser.parse_args()
    status = 0
    for name, language in FILES.items():
        path = ROOT / name
        old = path.read_text()
        new = filled(old, language)
        if new == old:
            print(f"{name}: fresh")
        elif arguments.check:
            print(f"{name}: stale; run python -m tools.build_readme")
            status = 1
        else:
            path.write_text(new)
            print(f"{name}: written")
    return status


if __name__ == "__main__":
    sys.exit(main())
