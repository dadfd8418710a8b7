"""What stands around the animals and before them: furniture, plants, toys, cloth.

The stage's pen has its origin in the picture's top left corner and the picture's height
as its unit.
"""

import dataclasses

import numpy as np

from data.synthetic_pets import coats, shapes
from data.synthetic_pets.canvas import Pen

WALLS = (
    (0.93, 0.87, 0.76), (0.74, 0.82, 0.80), (0.86, 0.73, 0.70), (0.70, 0.76, 0.84),
    (0.80, 0.80, 0.68), (0.56, 0.62, 0.66), (0.88, 0.80, 0.86),
)  # fmt: skip
FLOORS = (
    (0.70, 0.53, 0.38),
    (0.80, 0.68, 0.52),
    (0.52, 0.40, 0.32),
    (0.74, 0.72, 0.70),
)
BRIGHT = (
    (0.83, 0.36, 0.31), (0.95, 0.73, 0.32), (0.27, 0.50, 0.66), (0.42, 0.62, 0.46),
    (0.60, 0.44, 0.62), (0.90, 0.56, 0.40), (0.25, 0.36, 0.45),
)  # fmt: skip
LEAVES = (
    (0.32, 0.52, 0.32),
    (0.45, 0.60, 0.30),
    (0.24, 0.42, 0.36),
    (0.62, 0.62, 0.30),
)


def one(choices: tuple, rng: np.random.Generator, spread: float = 0.08) -> np.ndarray:
    """Return one of the colours, slightly varied."""
    colour = np.array(choices[rng.integers(len(choices))])
    return np.clip(colour * rng.uniform(1 - spread, 1 + spread, 3), 0, 1)


@dataclasses.dataclass(frozen=True)
class Stage:
    """Where a scene is drawn.

    Attributes:
        pen: origin top left, unit the picture's height.
        wide: the picture's width in that unit.
        coat: of the animal, so that things around it can have it too.
        rng: decides everything.

    """

    pen: Pen
    wide: float
    coat: coats.Coat
    rng: np.random.Generator

    def cloth(self) -> coats.Coat:
        """Return fur for a cushion, rug or blanket: often like the animal's own."""
        rng = self.rng
        if rng.random() < 0.35:
            return dataclasses.replace(self.coat, offset=rng.uniform(0, 2))
        pattern = coats.PATTERNS[rng.integers(len(coats.PATTERNS))]
        coat = coats.random_coat(rng, pattern)
        if rng.random() < 0.45:
            base = one(BRIGHT, rng)
            coat = dataclasses.replace(coat, base=base, mark=base * 0.75)
        return coat


def ball(stage: Stage, x: float, y: float, r: float) -> None:
    """Draw a ball, smooth or fluffy, that stands at (x, y)."""
    pen, rng = (
        stage.pen.moved(x, y - r, scale=r, angle=stage.rng.uniform(0, 3)),
        stage.rng,
    )
    shadow(stage.pen, x, y, r, 0.4)
    colour = one(BRIGHT, rng)
    kind = rng.integers(3)
    disc = shapes.ellipse(0, 0, 1, 1)
    if kind == 0:  # fluffy, like a rolled-up animal
        pen.paint(shapes.ruffled(disc, rng, tuft=0.35, depth=0.07), stage.cloth(),
                  volume=1.0, softness=0.5)  # fmt: skip
    else:
        pen.paint(disc, colour, volume=1.0, softness=0.5)
        line = np.clip(colour * 1.3 + 0.1, 0, 1) if kind == 1 else colour * 0.75
        for bend in (-0.55, 0.0, 0.55):
            arc = [(-0.82, bend * 0.6), (0, bend * 1.3), (0.82, bend * 0.6)]
            pen.paint(shapes.limb(arc, [0.07, 0.07]), line, opacity=0.8)


def cushion(stage: Stage, x: float, y: float, size: float) -> None:
    """Draw a cushion around (x, y)."""
    pen = stage.pen.moved(x, y, scale=size, angle=stage.rng.uniform(-0.4, 0.4))
    form = shapes.blob(
        (-1, -0.95), (0, -0.78), (1, -0.95), (0.85, 0), (1, 0.85), (0, 0.75),
        (-1, 0.85), (-0.85, 0),
    )  # fmt: skip
    pen.paint(form, stage.cloth(), volume=1.0, softness=0.4, contact=0.35)


def plant(stage: Stage, x: float, y: float, size: float) -> None:
    """Draw a plant, mostly in a pot, that stands at (x, y)."""
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    colour = one(LEAVES, rng)
    pot = [np.array([(-0.3, -0.55), (0.3, -0.55), (0.22, 0), (-0.22, 0)])]
    if rng.random() < 0.7:
        pen.paint(pot, one(BRIGHT, rng), volume=0.8, softness=0.15, contact=0.25)
    for _ in range(rng.integers(5, 9)):
        lean, rise = rng.uniform(-0.8, 0.8), rng.uniform(0.6, 1.5)
        line = [(0, -0.5), (0.3 * lean, -0.5 - 0.6 * rise), (lean, -0.45 - rise)]
        shade = colour * rng.uniform(0.75, 1.2)
        leaf = shapes.limb(line, [0.025, 0.13, 0.1, 0.01])
        pen.paint(leaf, np.clip(shade, 0, 1), volume=0.5, softness=0.06, contact=0.1)


def books(stage: Stage, left: float, y: float, right: float) -> None:
    """Draw a shelf of books."""
    pen, rng = stage.pen, stage.rng
    x = left
    while x < right:
        wide, tall = rng.uniform(0.02, 0.05), rng.uniform(0.11, 0.18)
        pen.paint(shapes.box(x, y - tall, x + wide, y), one(BRIGHT, rng, 0.25) * 0.9)
        x += wide * 1.08
    pen.paint(shapes.box(left - 0.04, y, right + 0.06, y + 0.025), (0.55, 0.40, 0.29),
              contact=0.3, softness=0.02)  # fmt: skip


def picture(stage: Stage, x: float, y: float) -> None:
    """Draw a framed picture."""
    pen, rng = stage.pen.moved(x, y, scale=stage.rng.uniform(0.7, 1.2)), stage.rng
    pen.paint(shapes.box(-0.12, -0.1, 0.12, 0.1), one(FLOORS, rng) * 0.7, contact=0.3,
              softness=0.03)  # fmt: skip
    pen.paint(shapes.box(-0.1, -0.08, 0.1, 0.08), (0.95, 0.93, 0.88))
    hill = shapes.blob(
        (-0.07, 0.05), (-0.03, -0.02), (0.02, 0.02), (0.06, -0.03), (0.07, 0.05)
    )
    pen.paint(hill, one(BRIGHT, rng))


def window(stage: Stage, x: float, y: float) -> None:
    """Draw a window, with curtains or without."""
    pen, rng = stage.pen.moved(x, y), stage.rng
    pen.paint(
        shapes.box(-0.2, -0.28, 0.2, 0.28),
        (0.95, 0.94, 0.91),
        contact=0.2,
        softness=0.03,
    )
    pen.paint(
        shapes.box(-0.18, -0.26, 0.18, 0.26),
        coats.gradient((0.55, 0.75, 0.92), (0.90, 0.94, 0.93), -0.26, 0.26),
    )  # fmt: skip
    hill = shapes.blob(
        (-0.18, 0.26), (-0.18, 0.15), (0.0, 0.08), (0.18, 0.14), (0.18, 0.26)
    )
    pen.paint(hill, one(LEAVES, rng))
    for bar in (
        shapes.box(-0.012, -0.27, 0.012, 0.27),
        shapes.box(-0.19, -0.03, 0.19, 0.0),
    ):
        pen.paint(bar, (0.95, 0.94, 0.91))
    if rng.random() < 0.6:
        cloth = stage.cloth()
        for side in (-1, 1):
            drape = shapes.blob(
                (side * 0.3, -0.33), (side * 0.12, -0.33), (side * 0.14, 0.1),
                (side * 0.2, 0.38), (side * 0.32, 0.38),
            )  # fmt: skip
            pen.paint(drape, cloth, volume=0.6, softness=0.05, contact=0.2)


def sofa(stage: Stage, x: float, y: float, size: float) -> None:
    """Draw a sofa that stands at (x, y)."""
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    coat = stage.cloth()
    fur = coat if rng.random() < 0.4 else coat.plain(coat.base)
    soft = {"volume": 0.8, "softness": 0.08, "contact": 0.25}
    for foot in (-0.55, 0.5):
        pen.paint(shapes.box(foot, -0.1, foot + 0.06, 0), (0.3, 0.22, 0.17))
    pen.paint(shapes.rounded(-0.62, -0.75, 0.62, -0.1, 0.15), fur, **soft)
    pen.paint(shapes.rounded(-0.55, -0.4, 0.55, -0.2, 0.08), fur, **soft)
    for side in (-1, 1):
        arm = shapes.rounded(side * 0.64 - 0.12, -0.52, side * 0.64 + 0.12, -0.06, 0.1)
        pen.paint(arm, fur, **soft)


def rug(stage: Stage, x: float, y: float, wide: float, tall: float) -> None:
    """Draw a rug on the floor."""
    pen, rng = stage.pen.moved(x, y), stage.rng
    coat = stage.cloth()
    round_rug = rng.random() < 0.6
    for grow, surface in ((1.0, coat.plain(coat.mark)), (0.88, coat)):
        if round_rug:
            form = shapes.ellipse(0, 0, wide * grow, tall * grow)
            if grow == 1.0 and rng.random() < 0.6:
                form = shapes.ruffled(form, rng, tuft=0.05, depth=0.02)
        else:
            w, h = wide * grow, tall * (grow - 0.05)
            form = [np.array([(-0.8 * w, -h), (0.8 * w, -h), (w, h), (-w, h)])]
        pen.paint(form, surface, contact=0.15, softness=0.03)


def tree(stage: Stage, x: float, y: float, size: float) -> None:
    """Draw a tree that stands at (x, y)."""
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    trunk = shapes.limb([(0, 0), (0.03, -0.4), (0, -0.8)], [0.1, 0.06, 0.05])
    pen.paint(
        trunk, stage.coat.plain(one(FLOORS, rng) * 0.8), volume=0.6, softness=0.06
    )
    colour = one(LEAVES, rng)
    for _ in range(4):
        at = rng.uniform((-0.28, -1.15), (0.28, -0.7))
        crown = shapes.ellipse(*at, *rng.uniform(0.2, 0.34, 2))
        crown = shapes.ruffled(crown, rng, tuft=0.12, depth=0.035)
        pen.paint(
            crown, coats.speckled(colour * rng.uniform(0.85, 1.12), 0.08), volume=0.9,
            softness=0.12, contact=0.15,
        )  # fmt: skip


def bush(stage: Stage, x: float, y: float, size: float) -> None:
    """Draw a bush, or hay, that stands at (x, y)."""
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    own = rng.random() < 0.3  # hay, heather, dead leaves: the colours of fur
    surface = stage.cloth() if own else coats.speckled(one(LEAVES, rng), 0.12)
    form = shapes.blob((-1, 0), (-0.9, -0.5), (-0.4, -0.75), (0, -0.95), (0.45, -0.7),
                       (0.95, -0.55), (1, 0))  # fmt: skip
    form = shapes.ruffled(form, rng, tuft=0.2, depth=0.07)
    pen.paint(form, surface, volume=0.9, softness=0.3, contact=0.2)


def blades(stage: Stage, x: float, y: float, size: float, colour: np.ndarray) -> None:
    """Draw a tuft of grass."""
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    for _ in range(7):
        lean, rise, foot = (
            rng.uniform(-0.5, 0.5),
            rng.uniform(0.5, 1.0),
            rng.uniform(-0.3, 0.3),
        )
        line = [(foot, 0.05), (foot + 0.3 * lean, -0.5 * rise), (foot + lean, -rise)]
        pen.paint(shapes.limb(line, [0.07, 0.05, 0.01], steps=3),
                  np.clip(colour * rng.uniform(0.75, 1.25), 0, 1))  # fmt: skip


def shadow(pen: Pen, x: float, y: float, wide: float, strength: float) -> None:
    """Draw the soft shadow of something that stands at (x, y)."""
    pen.paint(
        shapes.ellipse(x, y, wide, 0.28 * wide), (0.12, 0.10, 0.14), opacity=strength,
        blur=0.12 * wide,
    )  # fmt: skip


def scatter(stage: Stage, between: tuple[float, float]) -> None:
    """Put balls and cushions on the floor."""
    rng = stage.rng
    for _ in range(rng.integers(1, 6)):
        x, y = rng.uniform(0, stage.wide), rng.uniform(*between)
        if rng.random() < 0.6:
            ball(stage, x, y, rng.uniform(0.04, 0.12))
        else:
            cushion(stage, x, y - 0.1, rng.uniform(0.1, 0.18))


def hide(stage: Stage, x: float, ground: float, size: float) -> None:
    """Draw something that stands before the animal.

    Args:
        stage: as for the scene.
        x: the animal's middle.
        ground: where the animal stands.
        size: a little less than half the animal's width.

    """
    rng = stage.rng
    at = x + size * rng.uniform(-0.9, 0.9)
    kind = rng.integers(5)
    if kind == 0:
        ball(stage, at, ground + 0.07, size * rng.uniform(0.2, 0.35))
    elif kind == 1:
        plant(stage, at, ground + 0.12, rng.uniform(0.2, 0.4))
    elif kind == 2:
        cushion(stage, at, ground + 0.02, size * rng.uniform(0.3, 0.45))
    elif kind == 3:
        colour = one(LEAVES, rng)
        for step in np.linspace(-0.8, 0.8, 6):
            blades(
                stage, x + size * step, ground + 0.06, rng.uniform(0.12, 0.22), colour
            )
    else:
        basket(stage, x, ground, size)


def basket(stage: Stage, x: float, ground: float, size: float) -> None:
    """Draw the front of a basket, `size` to either side of x."""
    pen, top = stage.pen, ground - size * stage.rng.uniform(0.25, 0.45)
    upper, lower, low = 1.15 * size, 1.05 * size, ground + 0.05 + 0.15 * size
    front = np.array(
        [(x - upper, top), (x + upper, top), (x + lower, low), (x - lower, low)]
    )
    light, dark = (0.72, 0.55, 0.36), (0.55, 0.40, 0.25)
    weave = coats.Coat("tabby", light, dark, light, 0.5, stage.rng.uniform(0, 2))
    pen.paint([front], weave, volume=0.5, softness=0.06, contact=0.3)
    edge = [(x - 1.02 * upper, top), (x, top + 0.01), (x + 1.02 * upper, top)]
    rim = shapes.limb(edge, [0.02, 0.02])
    pen.paint(rim, (0.78, 0.62, 0.42), volume=0.6, softness=0.02, contact=0.2)
