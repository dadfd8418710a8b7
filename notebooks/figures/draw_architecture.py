"""Draw the network at every step from VGG16 to FCN-8s, as SVG with all shapes.

    python notebooks/figures/draw_architecture.py

Upper row: the backbone, left to right, coarser and coarser. Lower row: the scores,
right to left, finer and finer, each below the map of its own size. Writes vgg16.svg,
convolutional.svg, fcn32s.svg, fcn16s.svg and fcn8s.svg beside this file.
"""

import itertools
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
BLUE, ORANGE, GREY, INK = "#56B4E9", "#E69F00", "#C8CDD4", "#1B1F24"
WIDTH, TOP, BOTTOM = 1000, 130, 330  # row centres in pixels

# One column for each size: x of its centre, side of the map, side of its drawing.
COLUMNS = {
    "image": (75, 224, 150),
    "pool1": (225, 112, 112),
    "pool2": (345, 56, 84),
    "pool3": (455, 28, 62),
    "pool4": (560, 14, 46),
    "pool5": (660, 7, 34),
}
CHANNELS = {"pool1": 64, "pool2": 128, "pool3": 256, "pool4": 512, "pool5": 512}


def box(x, y, height, width, color, above, below=()):
    """Draw a map as a slab, with lines of text above and below."""
    left, top = x - width / 2, y - height / 2
    drawn = [
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width}" height="{height}" rx="3" '
        f'fill="{color}" stroke="{INK}" stroke-width="1"/>'
    ]
    drawn.append(label(x, top - 8, above))
    for number, line in enumerate(below):
        drawn.append(label(x, y + height / 2 + 17 + 15 * number, line, size=12))
    return "".join(drawn)


def label(x, y, text, size=13, weight="normal"):
    """Write a centred line."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" font-size="{size}" '
        f'font-weight="{weight}" fill="{INK}">{text}</text>'
    )


def arrow(x1, y1, x2, y2, text="", above=True):
    """Draw an arrow, with a word at its middle."""
    drawn = (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{INK}" stroke-width="1.6" marker-end="url(#tip)"/>'
    )
    if text:
        offset = -7 if above else 17
        drawn += label((x1 + x2) / 2, (y1 + y2) / 2 + offset, text, weight="bold")
    return drawn


def slab(name):
    """Return the width at which a map's channels are drawn."""
    return {"image": 8, "pool1": 12, "pool2": 16, "pool3": 22}.get(name, 28)


def backbone():
    """Draw the photo and the five blocks."""
    drawn, names = [], list(COLUMNS)
    for name, (x, side, height) in COLUMNS.items():
        channels = CHANNELS.get(name, 3)
        shape = f"{side}×{side}×{channels}"
        color = GREY if name == "image" else BLUE
        drawn.append(box(x, TOP, height, slab(name), color, name, [shape]))
    for one, other in itertools.pairwise(names):
        start = COLUMNS[one][0] + slab(one) / 2 + 5
        drawn.append(arrow(start, TOP, COLUMNS[other][0] - slab(other) / 2 - 7, TOP))
    return drawn


def tail(names, shapes, heights):
    """Draw what follows pool5 in the upper row."""
    drawn, start = [], COLUMNS["pool5"][0] + 19
    for number, (name, shape, height) in enumerate(
        zip(names, shapes, heights, strict=True)
    ):
        x = 755 + 95 * number
        color = ORANGE if number == len(names) - 1 else BLUE
        drawn.append(arrow(start, TOP, x - 21, TOP))
        drawn.append(box(x, TOP, height, 28, color, name, [shape]))
        start = x + 19
    return drawn


def scores(finest):
    """Draw the lower row of an FCN, down to the skip at `finest`."""
    drawn = [arrow(945, TOP + 52, 945, BOTTOM - 24, "")]
    drawn.append(box(945, BOTTOM, 34, 14, ORANGE, "", ["7×7×C"]))
    x, factor = 945, 32
    for name in ("pool4", "pool3"):
        if int(name[-1]) < finest:
            break
        column, side, height = COLUMNS[name]
        drawn.append(arrow(x - 12, BOTTOM, column + 34, BOTTOM, "×2"))
        drawn.append(plus(column + 22, BOTTOM))
        drawn.append(
            arrow(
                column, TOP + COLUMNS[name][2] / 2 + 24, column, BOTTOM - height / 2 - 6
            )
        )
        drawn.append(label(column + 40, (TOP + BOTTOM) / 2 + 14, "1×1 score", 12))
        drawn.append(box(column, BOTTOM, height, 14, ORANGE, "", [f"{side}×{side}×C"]))
        x, factor = column, factor // 2
    drawn.append(arrow(x - 12, BOTTOM, COLUMNS["image"][0] + 16, BOTTOM, f"×{factor}"))
    drawn.append(
        box(COLUMNS["image"][0], BOTTOM, 150, 14, ORANGE, "", ["logits 224×224×C"])
    )
    return drawn


def plus(x, y):
    """Draw the sum of two score maps."""
    return f'<circle cx="{x}" cy="{y}" r="9" fill="white" stroke="{INK}"/>' + label(
        x, y + 5, "+", 15, "bold"
    )


def document(title, parts, height):
    """Wrap a drawing up as an SVG file that says what it shows."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'font-family="Helvetica, Arial, sans-serif">'
        f"<title>{title}</title>"
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{INK}"/>'
        "</marker></defs>" + "".join(parts) + "</svg>\n"
    )


def drawings():
    """Return file name -> SVG text of every drawing."""
    dense = tail(
        ["fc1", "fc2", "predictions"],
        ["4096", "4096", "C"],
        [120, 120, 24],
    )
    converted = tail(
        ["fc6, 7×7", "fc7, 1×1", "score, 1×1"],
        ["1×1×4096", "1×1×4096", "1×1×C"],
        [12, 12, 12],
    )
    same = tail(
        ["fc6, 7×7", "fc7, 1×1", "score, 1×1"],
        ["7×7×4096", "7×7×4096", "7×7×C"],
        [34, 34, 34],
    )
    found = {
        "vgg16.svg": document(
            "VGG16 with the shape of every map", backbone() + dense, 245
        ),
        "convolutional.svg": document(
            "VGG16 with convolutions in place of its dense layers",
            backbone() + converted,
            245,
        ),
    }
    for name, finest in (("fcn32s", 5), ("fcn16s", 4), ("fcn8s", 3)):
        title = f"FCN-{name[3:]} with the shape of every map, C classes"
        parts = backbone() + same + scores(finest)
        found[f"{name}.svg"] = document(title, parts, 455)
    return found


if __name__ == "__main__":
    for name, content in drawings().items():
        (HERE / name).write_text(content)
        print(name)
