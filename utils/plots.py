"""Figures the notebooks share, panels and curves; `show` gives each its alt text."""

import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import SVG, Image, display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from utils import environment

# Told apart by lightness alone, and by colour-blind readers (tests/test_plots.py).
COLORS = {
    "pet": "#E69F00",
    "cat": "#E69F00",
    "dog": "#0072B2",
    "background": "#CBD1D8",
    "border": "#111111",
    "void": "#FFFFFF",
    "wrong": "#9E0142",
    "32s": "#5EC962",
    "16s": "#21918C",
    "8s": "#3B528B",
}
LINE_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def show(figure: Figure, alt: str, *, photo: bool = False) -> None:
    """Display a figure, and close it; one of photographs as JPEG instead of PNG.

    `alt` says what it shows, for people who do not see it.
    """
    kind = "jpeg" if photo else "png"
    options = {"pil_kwargs": {"quality": 82}} if photo else {}
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=100, bbox_inches="tight", **options)
    plt.close(figure)
    display(Image(data.getvalue(), format=kind, alt=alt))


def picture(name: str, alt: str) -> None:
    """Display a file of `notebooks/figures/`, .jpg or .svg; `alt` as for `show`."""
    path = environment.ROOT / "notebooks" / "figures" / name
    if path.suffix == ".svg":
        display(SVG(path), metadata={"image/svg+xml": {"alt": alt}})
    else:
        display(Image(path.read_bytes(), format="jpeg", alt=alt))


def grid(rows: int, columns: int, *, size: float = 2.4, aspect: float = 1.0):
    """Return (figure, axes) for photos, `size` inches wide, `aspect` times as high."""
    inches = (columns * size, rows * size * aspect)
    options = {"squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(rows, columns, figsize=inches, **options)
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes


def curves(figure_size: tuple[float, float] = (7.0, 3.2), columns: int = 1):
    """Return (figure, list of axes) for line charts, with light grid and no box.

    The size is width and height in inches; `columns` charts stand side by side.
    """
    figure, axes = plt.subplots(
        1, columns, figsize=figure_size, squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.set_prop_cycle(color=LINE_COLORS)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def photo(image) -> np.ndarray:
    """Return an image (H, W, 3) in 0..255 of any dtype as uint8, ready for `imshow`."""
    return np.clip(np.asarray(image), 0, 255).round().astype(np.uint8)


def overlay(image, mask, *, names=("background", "cat", "dog")) -> np.ndarray:
    """Tint a photo (H, W, 3), RGB 0..255, with the colours of a mask (H, W) of ids.

    `names` are the ids' class names, keys of `COLORS`. Where an id has none the photo
    is darkened; background is left as it is. Returns (H, W, 3) uint8.
    """
    tinted = np.asarray(image, np.float32) * 0.35  # unknown: dark
    for index, name in enumerate(names):
        where = np.asarray(mask) == index
        share = 0.0 if name == "background" else 0.45
        color = 255 * np.float32(to_rgb(COLORS[name]))
        tinted[where] = (1 - share) * np.asarray(image)[where] + share * color
    return photo(tinted)


def colored(mask, names) -> np.ndarray:
    """Draw a mask (H, W) of ids, names a class name of each, as (H, W, 3) uint8."""
    palette = np.tile(np.float32(to_rgb(COLORS["void"])), (256, 1))
    palette[: len(names)] = [to_rgb(COLORS[name]) for name in names]
    return photo(255 * palette[np.asarray(mask)])


def compare(images, masks, predictions: dict, names) -> Figure:
    """Draw photo, truth, predictions and the last one's errors, a row a photo.

    Takes images (N, H, W, 3), RGB 0..255, masks (N, H, W) of true class ids, where 255
    is void, predictions (title -> predicted ids (N, H, W)), and the class name of each
    id, a key of `COLORS`. Returns a figure with a legend.
    """
    titles = ["photo", "truth", *predictions, "errors"]
    figure, axes = grid(len(images), len(titles), size=1.9)
    for index, row in enumerate(axes):
        mask = np.asarray(masks[index])
        drawn = [colored(np.asarray(p[index]), names) for p in predictions.values()]
        wrong = np.asarray(list(predictions.values())[-1][index]) != mask
        errors = 255 - 0.35 * (255 - np.float32(photo(images[index])))  # pale
        errors[wrong & (mask != 255)] = 255 * np.array(to_rgb(COLORS["wrong"]))
        panels = [photo(images[index]), colored(mask, names), *drawn, photo(errors)]
        for axis, panel, title in zip(row, panels, titles, strict=True):
            axis.imshow(panel)
            if index == 0:
                axis.set_title(title, fontsize=11)
    void = ["void"] if (np.asarray(masks) == 255).any() else []
    legend(figure, [*names, *void, "wrong"])
    return figure


def legend(figure: Figure, names) -> None:
    """Name colours below a figure: class names, or a dict of name -> colour."""
    colors = (
        names if isinstance(names, dict) else {name: COLORS[name] for name in names}
    )
    edge = {"edgecolor": "#999999", "linewidth": 0.5}  # white shows too
    patches = [Patch(facecolor=c, label=name, **edge) for name, c in colors.items()]
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(patches), frameon=False
    )
