"""Places the animals are in, and things that stand before them.

The pen's origin is the picture's top left corner and its unit the picture's height.
A scene returns the height of the ground the animal stands on.
"""

import dataclasses

import numpy as np

from data.synthetic_pets import coats, shapes
from data.synthetic_pets.canvas import Pen

_WALLS = ((0.93, 0.87, 0.76), (0.74, 0.82, 0.80), (0.86, 0.73, 0.70), (0.70, 0.76, 0.84),
          (0.80, 0.80, 0.68), (0.56, 0.62, 0.66), (0.88, 0.80, 0.86))  # fmt: skip
_FLOORS = (
    (0.70, 0.53, 0.38),
    (0.80, 0.68, 0.52),
    (0.52, 0.40, 0.32),
    (0.74, 0.72, 0.70),
)
_BRIGHT = ((0.83, 0.36, 0.31), (0.95, 0.73, 0.32), (0.27, 0.50, 0.66), (0.42, 0.62, 0.46),
           (0.60, 0.44, 0.62), (0.90, 0.56, 0.40), (0.25, 0.36, 0.45))  # fmt: skip
_LEAVES = (
    (0.32, 0.52, 0.32),
    (0.45, 0.60, 0.30),
    (0.24, 0.42, 0.36),
    (0.62, 0.62, 0.30),
)


def _one(choices: tuple, rng: np.random.Generator, spread: float = 0.08) -> np.ndarray:
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
            base = _one(_BRIGHT, rng)
            coat = dataclasses.replace(coat, base=base, mark=base * 0.75)
        return coat


def _ball(stage: Stage, x: float, y: float, r: float) -> None:
    pen, rng = (
        stage.pen.moved(x, y - r, scale=r, angle=stage.rng.uniform(0, 3)),
        stage.rng,
    )
    shadow(stage.pen, x, y, r, 0.4)
    colour = _one(_BRIGHT, rng)
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


def _cushion(stage: Stage, x: float, y: float, size: float) -> None:
    pen = stage.pen.moved(x, y, scale=size, angle=stage.rng.uniform(-0.4, 0.4))
    form = shapes.blob((-1, -0.95), (0, -0.78), (1, -0.95), (0.85, 0), (1, 0.85), (0, 0.75),
                       (-1, 0.85), (-0.85, 0))  # fmt: skip
    pen.paint(form, stage.cloth(), volume=1.0, softness=0.4, contact=0.35)


def _plant(stage: Stage, x: float, y: float, size: float) -> None:
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    colour = _one(_LEAVES, rng)
    pot = [np.array([(-0.3, -0.55), (0.3, -0.55), (0.22, 0), (-0.22, 0)])]
    if rng.random() < 0.7:
        pen.paint(pot, _one(_BRIGHT, rng), volume=0.8, softness=0.15, contact=0.25)
    for _ in range(rng.integers(5, 9)):
        lean, rise = rng.uniform(-0.8, 0.8), rng.uniform(0.6, 1.5)
        line = [(0, -0.5), (0.3 * lean, -0.5 - 0.6 * rise), (lean, -0.45 - rise)]
        shade = colour * rng.uniform(0.75, 1.2)
        leaf = shapes.limb(line, [0.025, 0.13, 0.1, 0.01])
        pen.paint(leaf, np.clip(shade, 0, 1), volume=0.5, softness=0.06, contact=0.1)


def _books(stage: Stage, left: float, y: float, right: float) -> None:
    pen, rng = stage.pen, stage.rng
    x = left
    while x < right:
        wide, tall = rng.uniform(0.02, 0.05), rng.uniform(0.11, 0.18)
        pen.paint(shapes.box(x, y - tall, x + wide, y), _one(_BRIGHT, rng, 0.25) * 0.9)
        x += wide * 1.08
    pen.paint(shapes.box(left - 0.04, y, right + 0.06, y + 0.025), (0.55, 0.40, 0.29),
              contact=0.3, softness=0.02)  # fmt: skip


def _picture(stage: Stage, x: float, y: float) -> None:
    pen, rng = stage.pen.moved(x, y, scale=stage.rng.uniform(0.7, 1.2)), stage.rng
    pen.paint(shapes.box(-0.12, -0.1, 0.12, 0.1), _one(_FLOORS, rng) * 0.7, contact=0.3,
              softness=0.03)  # fmt: skip
    pen.paint(shapes.box(-0.1, -0.08, 0.1, 0.08), (0.95, 0.93, 0.88))
    hill = shapes.blob(
        (-0.07, 0.05), (-0.03, -0.02), (0.02, 0.02), (0.06, -0.03), (0.07, 0.05)
    )
    pen.paint(hill, _one(_BRIGHT, rng))


def _window(stage: Stage, x: float, y: float) -> None:
    pen, rng = stage.pen.moved(x, y), stage.rng
    pen.paint(
        shapes.box(-0.2, -0.28, 0.2, 0.28),
        (0.95, 0.94, 0.91),
        contact=0.2,
        softness=0.03,
    )
    pen.paint(shapes.box(-0.18, -0.26, 0.18, 0.26),
              coats.gradient((0.55, 0.75, 0.92), (0.90, 0.94, 0.93), -0.26, 0.26))  # fmt: skip
    hill = shapes.blob(
        (-0.18, 0.26), (-0.18, 0.15), (0.0, 0.08), (0.18, 0.14), (0.18, 0.26)
    )
    pen.paint(hill, _one(_LEAVES, rng))
    for bar in (
        shapes.box(-0.012, -0.27, 0.012, 0.27),
        shapes.box(-0.19, -0.03, 0.19, 0.0),
    ):
        pen.paint(bar, (0.95, 0.94, 0.91))
    if rng.random() < 0.6:
        cloth = stage.cloth()
        for side in (-1, 1):
            drape = shapes.blob((side * 0.3, -0.33), (side * 0.12, -0.33), (side * 0.14, 0.1),
                                (side * 0.2, 0.38), (side * 0.32, 0.38))  # fmt: skip
            pen.paint(drape, cloth, volume=0.6, softness=0.05, contact=0.2)


def _sofa(stage: Stage, x: float, y: float, size: float) -> None:
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


def _rug(stage: Stage, x: float, y: float, wide: float, tall: float) -> None:
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


def _tree(stage: Stage, x: float, y: float, size: float) -> None:
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    trunk = shapes.limb([(0, 0), (0.03, -0.4), (0, -0.8)], [0.1, 0.06, 0.05])
    pen.paint(
        trunk, stage.coat.plain(_one(_FLOORS, rng) * 0.8), volume=0.6, softness=0.06
    )
    colour = _one(_LEAVES, rng)
    for _ in range(4):
        at = rng.uniform((-0.28, -1.15), (0.28, -0.7))
        crown = shapes.ellipse(*at, *rng.uniform(0.2, 0.34, 2))
        crown = shapes.ruffled(crown, rng, tuft=0.12, depth=0.035)
        pen.paint(crown, coats.speckled(colour * rng.uniform(0.85, 1.12), 0.08), volume=0.9,
                  softness=0.12, contact=0.15)  # fmt: skip


def _bush(stage: Stage, x: float, y: float, size: float) -> None:
    pen, rng = stage.pen.moved(x, y, scale=size), stage.rng
    own = rng.random() < 0.3  # hay, heather, dead leaves: the colours of fur
    surface = stage.cloth() if own else coats.speckled(_one(_LEAVES, rng), 0.12)
    form = shapes.blob((-1, 0), (-0.9, -0.5), (-0.4, -0.75), (0, -0.95), (0.45, -0.7),
                       (0.95, -0.55), (1, 0))  # fmt: skip
    form = shapes.ruffled(form, rng, tuft=0.2, depth=0.07)
    pen.paint(form, surface, volume=0.9, softness=0.3, contact=0.2)


def _blades(stage: Stage, x: float, y: float, size: float, colour: np.ndarray) -> None:
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
    pen.paint(shapes.ellipse(x, y, wide, 0.28 * wide), (0.12, 0.10, 0.14), opacity=strength,
              blur=0.12 * wide)  # fmt: skip


def room(stage: Stage) -> float:
    """Draw a living room."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    floor = rng.uniform(0.52, 0.72)
    wall = _one(_WALLS, rng)
    if rng.random() < 0.4:
        paper = dataclasses.replace(
            stage.cloth(), base=wall, mark=wall * 0.88, fur=0.02
        )
        pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, floor), paper)
    else:
        fade = coats.gradient(wall * 1.04, wall * 0.86, 0, floor)
        pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, floor), fade)
    ground = _one(_FLOORS, rng) if rng.random() < 0.7 else stage.coat.base
    planks = coats.speckled(ground, 0.05, (60, 3))
    pen.paint(shapes.box(-0.1, floor, wide + 0.1, 1.1), planks)
    for _ in range(rng.integers(0, 6)):
        y = floor + (1 - floor) * rng.uniform(0.1, 1) ** 1.3
        pen.paint(shapes.box(-0.1, y, wide + 0.1, y + 0.008), np.array(ground) * 0.78)
    pen.paint(shapes.box(-0.1, floor - 0.035, wide + 0.1, floor + 0.005), (0.93, 0.90, 0.85),
              contact=0.3, softness=0.03)  # fmt: skip
    behind = [
        lambda x: _window(stage, x, rng.uniform(0.15, 0.3)),
        lambda x: _picture(stage, x, rng.uniform(0.1, 0.3)),
        lambda x: _books(stage, x - 0.2, rng.uniform(0.2, 0.4), x + 0.2),
        lambda x: _sofa(stage, x, floor + 0.06, rng.uniform(0.6, 0.9)),
        lambda x: _plant(stage, x, floor + 0.05, rng.uniform(0.25, 0.45)),
        lambda x: _sofa(stage, x, floor + 0.08, rng.uniform(0.6, 0.9)),
    ]
    count = rng.integers(2, 5)
    places = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * wide
    for place, kind in zip(places, rng.permutation(len(behind)), strict=False):
        behind[kind](place)
    if rng.random() < 0.65:
        _rug(stage, wide * rng.uniform(0.35, 0.65), rng.uniform(0.82, 0.9),
             rng.uniform(0.45, 0.75), rng.uniform(0.1, 0.16))  # fmt: skip
    _scatter(stage, (floor + 0.05, 0.95))
    return rng.uniform(0.85, 0.95)


def garden(stage: Stage) -> float:
    """Draw a garden, a meadow or a beach."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    horizon = rng.uniform(0.3, 0.6)
    skies = (((0.52, 0.74, 0.92), (0.88, 0.93, 0.93)), ((0.95, 0.78, 0.62), (0.98, 0.92, 0.80)),
             ((0.72, 0.76, 0.80), (0.90, 0.90, 0.88)))  # fmt: skip
    top, low = skies[rng.integers(3)]
    pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, horizon + 0.1),
              coats.gradient(top, low, 0, horizon))  # fmt: skip
    for _ in range(rng.integers(0, 3)):
        x, y = rng.uniform(0, wide), rng.uniform(0.03, 0.2)
        for dx in (-0.08, 0, 0.09):
            cloud = shapes.ellipse(x + dx, y + rng.uniform(-0.02, 0.02), 0.09, 0.045)
            pen.paint(cloud, (1, 1, 1), opacity=0.75, blur=0.008)
    grounds = ((0.50, 0.64, 0.34), (0.62, 0.68, 0.40), (0.85, 0.76, 0.58), (0.68, 0.58, 0.40),
               (0.90, 0.92, 0.94))  # fmt: skip
    ground = _one(grounds, rng)
    for layer in range(2):
        y = horizon - 0.06 + 0.05 * layer
        hill = [(-0.2, 1.2), (-0.2, y), *((wide * t, y + rng.uniform(-0.07, 0.07))
                for t in (0.2, 0.5, 0.8)), (wide + 0.2, y), (wide + 0.2, 1.2)]  # fmt: skip
        shade = ground * (0.75 + 0.12 * layer) * (0.95, 1.0, 1.05)
        pen.paint(shapes.blob(*hill), np.clip(shade, 0, 1))
    behind = [
        lambda x: _tree(stage, x, horizon + 0.12, rng.uniform(0.4, 0.75)),
        lambda x: _bush(stage, x, horizon + 0.12, rng.uniform(0.15, 0.3)),
        lambda x: _tree(stage, x, horizon + 0.1, rng.uniform(0.3, 0.5)),
        lambda x: _bush(stage, x, horizon + 0.15, rng.uniform(0.15, 0.3)),
    ]
    if rng.random() < 0.35:
        fence = np.array(_one(_FLOORS, rng))
        for x in np.arange(rng.uniform(-0.1, 0), wide + 0.1, 0.11):
            slat = [np.array([(x, horizon - 0.12), (x + 0.035, horizon - 0.16),
                              (x + 0.07, horizon - 0.12), (x + 0.07, horizon + 0.1),
                              (x, horizon + 0.1)])]  # fmt: skip
            pen.paint(slat, fence * rng.uniform(0.9, 1.05))
        pen.paint(
            shapes.box(-0.1, horizon - 0.06, wide + 0.1, horizon - 0.03), fence * 0.85
        )
    count = rng.integers(1, 5)
    places = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count * wide
    for place, kind in zip(places, rng.permutation(len(behind)), strict=False):
        behind[kind](place)
    pen.paint(shapes.box(-0.1, horizon + 0.1, wide + 0.1, 1.1),
              coats.speckled(ground, 0.06, (5, 9)), contact=0.1, softness=0.05)  # fmt: skip
    for _ in range(rng.integers(2, 6)):
        _blades(stage, rng.uniform(0, wide), rng.uniform(horizon + 0.15, 1.0),
                rng.uniform(0.06, 0.12), ground * 0.85)  # fmt: skip
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, wide), rng.uniform(horizon + 0.15, 1.0)
        pen.paint(shapes.ellipse(x, y, 0.014, 0.014), _one(_BRIGHT, rng) + 0.05)
    _scatter(stage, (horizon + 0.2, 0.95))
    return rng.uniform(0.85, 0.95)


def bed(stage: Stage) -> float:
    """Draw a sofa or a bed close by: blankets and cushions all around."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    edge = rng.uniform(0.4, 0.65)
    wall = _one(_WALLS, rng) * rng.uniform(0.75, 1.0)
    pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, edge + 0.1),
              coats.gradient(wall, wall * 0.85, 0, edge))  # fmt: skip
    back = stage.cloth()
    for x in np.arange(rng.uniform(-0.4, 0), wide, rng.uniform(0.5, 0.8)):
        rest = shapes.rounded(
            x, edge - rng.uniform(0.25, 0.32), x + 0.62, edge + 0.2, 0.1
        )
        pen.paint(rest, back, volume=0.7, softness=0.08, contact=0.3)
    for _ in range(rng.integers(1, 4)):
        _cushion(stage, rng.uniform(0, wide), edge - rng.uniform(0.0, 0.12),
                 rng.uniform(0.13, 0.22))  # fmt: skip
    seat = stage.cloth()
    pen.paint(shapes.box(-0.1, edge, wide + 0.1, 1.1), seat, contact=0.4, softness=0.06)
    for _ in range(rng.integers(1, 4)):  # folds
        x, y = rng.uniform(0, wide), rng.uniform(edge + 0.1, 1)
        fold = [(x - 0.3, y), (x, y + rng.uniform(-0.05, 0.05)), (x + 0.3, y + 0.03)]
        pen.paint(shapes.limb(fold, [0.005, 0.02, 0.005]), np.array(seat.base) * 0.6,
                  opacity=0.4, blur=0.01)  # fmt: skip
    if rng.random() < 0.5:
        _ball(stage, rng.uniform(0, wide), rng.uniform(edge + 0.15, 0.95), 0.06)
    return rng.uniform(0.84, 0.94)


def studio(stage: Stage) -> float:
    """Draw a plain backdrop with a few large shapes."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    cloth = stage.cloth()
    colour = np.array(stage.coat.base) if rng.random() < 0.4 else _one(_WALLS, rng)
    backdrop = coats.gradient(colour * 0.95, colour * 0.72, 0, 1, 0.03)
    if rng.random() < 0.4:  # a blanket hung up
        backdrop = dataclasses.replace(stage.cloth(), size=rng.uniform(1.5, 3))
    pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, 1.1), backdrop)
    for _ in range(rng.integers(2, 6)):
        x, y, size = rng.uniform(0, wide), rng.uniform(0, 0.75), rng.uniform(0.08, 0.3)
        shade = np.clip(colour * rng.uniform(0.8, 1.15, 3), 0, 1)
        disc = shapes.ellipse(x, y, size, size)
        pen.paint(disc, shade, opacity=0.8, blur=0.03 * rng.random())
    y = rng.uniform(0.6, 0.75)
    top = [
        (-0.3, 1.2),
        (-0.3, y + 0.03),
        (wide / 2, y),
        (wide + 0.3, y + 0.03),
        (wide + 0.3, 1.2),
    ]
    pen.paint(shapes.blob(*top), cloth, contact=0.25, softness=0.05)
    _scatter(stage, (y + 0.05, 0.95))
    return rng.uniform(0.85, 0.95)


SCENES = (room, room, garden, garden, bed, studio)


def _scatter(stage: Stage, between: tuple[float, float]) -> None:
    """Put balls and cushions on the floor."""
    rng = stage.rng
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, stage.wide), rng.uniform(*between)
        if rng.random() < 0.6:
            _ball(stage, x, y, rng.uniform(0.04, 0.12))
        else:
            _cushion(stage, x, y - 0.1, rng.uniform(0.1, 0.18))


def hide(stage: Stage, x: float, ground: float, size: float) -> None:
    """Draw something that stands before the animal.

    Args:
        stage: as for the scene.
        x: the animal's middle.
        ground: where the animal stands.
        size: a little less than half the animal's width.

    """
    rng, pen = stage.rng, stage.pen
    at = x + size * rng.uniform(-0.9, 0.9)
    kind = rng.integers(5)
    if kind == 0:
        _ball(stage, at, ground + 0.07, size * rng.uniform(0.2, 0.35))
    elif kind == 1:
        _plant(stage, at, ground + 0.12, rng.uniform(0.2, 0.4))
    elif kind == 2:
        _cushion(stage, at, ground + 0.02, size * rng.uniform(0.3, 0.45))
    elif kind == 3:
        colour = _one(_LEAVES, rng)
        for step in np.linspace(-0.8, 0.8, 6):
            _blades(
                stage, x + size * step, ground + 0.06, rng.uniform(0.12, 0.22), colour
            )
    else:  # a basket
        coat = stage.cloth()
        edge = ground - size * rng.uniform(0.25, 0.45)
        front = [np.array([(x - 1.1 * size, edge), (x + 1.1 * size, edge),
                           (x + 0.95 * size, ground + 0.05), (x - 0.95 * size, ground + 0.05)])]  # fmt: skip
        weave = dataclasses.replace(coat, pattern="tabby", size=0.5, base=(0.72, 0.55, 0.36),
                                    mark=(0.55, 0.40, 0.25), fur=0.03)  # fmt: skip
        pen.paint(front, weave, volume=0.5, softness=0.06, contact=0.3)
        rim = shapes.limb([(x - 1.12 * size, edge), (x, edge + 0.01), (x + 1.12 * size, edge)],
                          [0.02, 0.02])  # fmt: skip
        pen.paint(rim, (0.78, 0.62, 0.42), volume=0.6, softness=0.02, contact=0.2)
