"""The palette: told apart in grey, and by readers who do not see red and green."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage import color

from utils import pets, plots

# Machado, Oliveira, Fernandes: A physiologically-based model for simulation of color
# vision deficiency, 2009: deuteranopia, on linear RGB.
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
NORMAL = np.eye(3)
TOGETHER = {task: {*names, "void", "wrong"} for task, names in pets.CLASS_NAMES.items()}
TOGETHER["lines"] = {"32s", "16s", "8s"}


def lab(name: str, seen_by=NORMAL) -> np.ndarray:
    """Return a colour of the palette in CIELAB, (3,)."""
    rgb = np.array(to_rgb(plots.COLORS[name]))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen_by @ linear, 0, 1)
    rgb = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return color.rgb2lab(rgb[None, None])[0, 0]


@pytest.mark.parametrize("together", TOGETHER)
def test_colours_shown_together_are_told_apart(together):
    for one, other in itertools.combinations(sorted(TOGETHER[together]), 2):
        assert abs(lab(one)[0] - lab(other)[0]) > 12, (one, other)
        seen = [lab(name, DEUTERANOPIA) for name in (one, other)]
        assert color.deltaE_ciede2000(*seen) > 10, (one, other)


def test_two_that_differ_in_hue_alone_are_refused(monkeypatch):
    monkeypatch.setitem(plots.COLORS, "wrong", "#D55E00")
    monkeypatch.setitem(plots.COLORS, "pet", "#D45F0A")
    with pytest.raises(AssertionError):
        test_colours_shown_together_are_told_apart("trimap")
