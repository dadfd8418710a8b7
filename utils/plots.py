"""Figures the notebooks share, panels and curves; `show` gives each its alt text."""

import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import SVG, Image, display
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from utils import environment

# Okabe and Ito's colours: told apart with every common colour vision deficiency.
COLORS = {
    "pet": "#E69F00",
    "cat": "#E69F00",
    "dog": "#0072B2",
    "background": "#C8CDD4",
    "border": "#111111",
    "void": "#F2C4DE",
    "32s": "#D55E00",
    "16s": "#009E73",
    "8s": "#0072B2",
}
LINE_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def show(figure: Figure, alt: str, *, photo: bool = False) -> None:
    """Display a figure, and close it.

    Args:
        figure: the figure.
        alt: what it shows, for people who do not see it.
        photo: whether photographs fill it; then it is stored as JPEG instead of PNG.
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
    """Return (figure, axes of shape (rows, columns)) without ticks, ready for photos.

    Each cell is `size` inches wide, and `aspect` times as high.
    """
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
    """Tint a photo with the colours of a mask.

    Args:
        image: (H, W, 3), RGB 0..255.
        mask: (H, W), class ids; where an id has no name the photo is darkened.
        names: class name of each id, a key of `COLORS`.

    Returns:
        (H, W, 3) uint8. Background is left as it is.
    """
    tinted = np.asarray(image, np.float32) * 0.35  # unknown: dark
    for index, name in enumerate(names):
        where = np.asarray(mask) == index
        share = 0.0 if name == "background" else 0.55
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

    Args:
        images: (N, H, W, 3), RGB 0..255.
        masks: (N, H, W), true class ids; 255 is void.
        predictions: title -> predicted class ids (N, H, W).
        names: class name of each id, a key of `COLORS`.

    Returns:
        A figure with a legend of the classes below; wrong pixels are red.
    """
    titles = ["photo", "truth", *predictions, "errors"]
    figure, axes = grid(len(images), len(titles), size=1.9)
    for index, row in enumerate(axes):
        mask = np.asarray(masks[index])
        drawn = [colored(np.asarray(p[index]), names) for p in predictions.values()]
        wrong = np.asarray(list(predictions.values())[-1][index]) != mask
        errors = 255 - 0.35 * (255 - np.float32(photo(images[index])))  # pale
        errors[wrong & (mask != 255)] = 255 * np.array(to_rgb(COLORS["32s"]))
        panels = [photo(images[index]), colored(mask, names), *drawn, photo(errors)]
        for axis, panel, title in zip(row, panels, titles, strict=True):
            axis.imshow(panel)
            if index == 0:
                axis.set_title(title, fontsize=11)
    shown = [*names, "void"] if (np.asarray(masks) == 255).any() else names
    patches = [Patch(color=COLORS[name], label=name) for name in shown]
    patches.append(Patch(color=COLORS["32s"], label="wrong"))
    figure.legend(
        handles=patches, loc="outside lower center", ncols=len(patches), frameon=False
    )
    return figure
