"""Bodies and poses. The pen stands on the ground (y = 0); x points where they look.

A pose is drawn by one function, which returns where the head's middle is.
"""

import dataclasses

import numpy as np

from data.synthetic_pets import heads, shapes
from data.synthetic_pets.animals import Animal
from data.synthetic_pets.canvas import Pen

Place = tuple[float, float]


def _tube(pen: Pen, animal: Animal, points: list, radii: list, **how) -> None:
    """Draw a limb in the coat, stripes across it."""
    start, end = np.array(points[0]), np.array(points[-1])
    turn = np.arctan2(*(end - start)[::-1])
    along = pen.moved(*start, angle=turn)
    cos, sin = np.cos(turn), np.sin(turn)
    local = (np.array(points) - start) @ np.array([[cos, -sin], [sin, cos]])
    how = {"volume": 0.7, "softness": max(radii) * 0.8, "contact": 0.2, **how}
    along.paint(shapes.limb(local, radii), how.pop("coat", animal.coat), **how)


def _leg(
    pen: Pen, animal: Animal, points: list, radii: list, far: bool = False
) -> None:
    """Draw a leg down to its paw, which points to the right."""
    coat = animal.coat.darker(0.72) if far else animal.coat
    _tube(pen, animal, points, radii, coat=coat, contact=0.0 if far else 0.2)
    x, y = points[-1]
    r = animal.thick
    colour = coat.pale if animal.socks else coat.base
    if animal.socks:
        (nx, ny), mix = points[-2], 0.35
        top = (x + mix * (nx - x), y + mix * (ny - y))
        _tube(pen, animal, [top, (x, y)], [radii[-1] * 1.04] * 2, contact=0.0,
              coat=coat.plain(colour))  # fmt: skip
    paw = shapes.rounded(x - 1.0 * r, -1.25 * r, x + 1.75 * r, 0.0, 0.6 * r)
    pen.paint(paw, coat.plain(colour), volume=0.6, softness=r * 0.6)
    for toe in (0.75, 1.2):
        line = [(x + toe * r, -0.55 * r), (x + (toe + 0.05) * r, -0.05)]
        mark = 0.6 * np.array(colour)
        pen.paint(shapes.limb(line, [0.02, 0.02], steps=2), mark, opacity=0.8)


def _front_paw(pen: Pen, animal: Animal, x: float, size: float = 1.0) -> None:
    """Draw a paw that points at the viewer."""
    r = size * animal.thick
    colour = animal.coat.pale if animal.socks else animal.coat.base
    fur = animal.coat.plain(colour)
    pen.paint(
        shapes.ellipse(x, -0.8 * r, 1.45 * r, 0.85 * r), fur, volume=0.6,
        softness=r * 0.6, contact=0.2,
    )  # fmt: skip
    for toe in (-0.45, 0.45):
        line = [(x + toe * r, -0.75 * r), (x + toe * r * 1.1, -0.1 * r)]
        pen.paint(
            shapes.limb(line, [0.02, 0.02], steps=2),
            0.6 * np.array(colour),
            opacity=0.8,
        )


def _tail(pen: Pen, animal: Animal, points: list) -> None:
    if animal.species == "cat":
        radii = [0.1, 0.085, 0.085, 0.075]
    else:
        radii = [0.13, 0.11, 0.08, 0.03]
    if animal.tufted:
        radii = [radii[0], *(1.7 * r for r in radii[1:])]
    _tube(pen, animal, points, radii, contact=0.1)


def _trunk(pen: Pen, animal: Animal, outline: shapes.Shape, rng, **how) -> None:
    if animal.tufted:
        outline = shapes.ruffled(outline, rng, tuft=0.16, depth=animal.tufted * 0.6)
    how = {"volume": 0.9, "softness": 0.3, **how}
    pen.paint(outline, animal.coat, **how)


def _head(pen: Pen, animal: Animal, x: float, y: float, rng, sideways: bool) -> Place:
    """Draw the head and return where it is."""
    head = pen.moved(x, y, scale=animal.head, angle=rng.uniform(-0.2, 0.2))
    if sideways and rng.random() < 0.45:
        heads.profile(head, animal, rng)
    else:
        yaw = rng.uniform(0.0, 0.8) if sideways else rng.uniform(-0.6, 0.6)
        heads.frontal(head, animal, yaw, rng)
    return x, y


def _collar(pen: Pen, animal: Animal, left: tuple, right: tuple) -> None:
    if animal.collar:
        middle = (0.5 * (left[0] + right[0]), 0.5 * (left[1] + right[1]) + 0.1)
        pen.paint(shapes.limb([left, middle, right], [0.05, 0.05]), animal.collar,
                  volume=0.5, softness=0.06, contact=0.2)  # fmt: skip
        pen.paint(shapes.ellipse(middle[0], middle[1] + 0.09, 0.065, 0.065),
                  (0.93, 0.79, 0.36), volume=0.6, softness=0.05)  # fmt: skip


def stand(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it standing or walking, from the side."""
    half, depth, r = animal.length / 2, animal.depth, animal.thick
    top = -(animal.leg + depth)
    hip, shoulder = (-0.8 * half, top + 0.45 * depth), (0.72 * half, top + 0.5 * depth)
    lift = rng.uniform(-0.28, 0.28)
    cat = animal.species == "cat"

    def hind(swing: float, far: bool) -> None:
        x, y = hip
        foot = x - 0.08 + swing
        _leg(pen, animal, [
            (x, y), (x + 0.12 + 0.4 * swing, y + 0.45 * depth),
            (foot - 0.1, -0.42 * animal.leg), (foot, -r),
        ], [2.1 * r, 1.7 * r, 0.95 * r, 0.85 * r], far)  # fmt: skip

    def fore(swing: float, far: bool) -> None:
        x, y = shoulder
        _leg(pen, animal, [
            (x, y), (x + 0.3 * swing, y + 0.5 * depth), (x + swing, -r),
        ], [1.7 * r, 1.25 * r, 0.85 * r], far)  # fmt: skip

    hind(0.16 - lift, True)
    fore(0.14 + lift, True)
    root = (-half * 0.95, top + 0.22 * depth)
    t = animal.tail
    if cat and rng.random() < 0.7:  # up, with a hook
        sway = rng.uniform(-0.25, 0.3)
        line = [root, (-half - 0.3 * t, top - 0.05), (-half - 0.35 * t, top - 0.5 * t),
                (-half - (0.35 + sway) * t, top - 0.85 * t)]  # fmt: skip
    elif cat:
        line = [root, (-half - 0.3 * t, top + 0.35), (-half - 0.5 * t, top + 0.75),
                (-half - 0.8 * t, top + 0.65)]  # fmt: skip
    else:
        rise = rng.uniform(0.1, 0.9)
        line = [root, (-half - 0.35 * t, top - 0.15 * rise),
                (-half - 0.6 * t, top - 0.6 * rise * t),
                (-half - 0.6 * t, top - 1.0 * rise * t)]  # fmt: skip
    _tail(pen, animal, line)
    tuck = 0.82 if cat else 0.72
    trunk = shapes.blob(
        (-1.02 * half, top + 0.4 * depth), (-0.85 * half, top + 0.06 * depth),
        (-0.3 * half, top), (0.3 * half, top + 0.02 * depth), (0.8 * half, top - 0.04),
        (1.05 * half, top + 0.35 * depth), (0.9 * half, top + 0.85 * depth),
        (0.4 * half, top + depth), (-0.3 * half, top + tuck * depth),
        (-0.8 * half, top + 0.85 * depth),
    )  # fmt: skip
    head = (half + rng.uniform(0.12, 0.3), top - rng.uniform(0.15, 0.45))
    neck = [(0.68 * half, top + 0.4 * depth), (head[0] - 0.08, head[1] + 0.05)]
    _tube(pen, animal, neck, [0.46 * depth, 0.62 * animal.head], contact=0.0)
    _trunk(pen, animal, trunk, rng)
    hind(-0.1 + lift, False)
    fore(-0.06 - lift, False)
    _collar(
        pen, animal, (head[0] - 0.42, head[1] + 0.28), (head[0] + 0.1, head[1] + 0.5)
    )
    return _head(pen, animal, *head, rng, sideways=True)


def sit(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it sitting, from the side."""
    r, size = animal.thick, animal.depth / 0.7
    top = -1.42 * (0.8 + 0.3 * animal.leg)
    if animal.species == "cat" and rng.random() < 0.5:
        line = [(-0.55, -0.15), (-1.0, -0.1), (-1.3, -0.35), (-1.15, -0.75)]
    elif animal.species == "cat":
        line = [(-0.5, -0.12), (-1.0, -0.12), (-0.5 - animal.tail, -0.1),
                (-0.7 - animal.tail, -0.25)]  # fmt: skip
    else:
        line = [
            (-0.55, -0.2),
            (-0.9, -0.2),
            (-1.1, -0.45),
            (-1.15, -0.5 - 0.3 * animal.tail),
        ]
    _tail(pen, animal, line)
    _leg(pen, animal, [(0.4, top + 0.75), (0.52, -0.5), (0.56, -r)],
         [1.6 * r, 1.15 * r, 0.85 * r], True)  # fmt: skip
    trunk = shapes.blob(
        (-0.72 * size, -0.22), (-0.62 * size, -0.75), (-0.2, top + 0.3),
        (0.12, top - 0.05), (0.5, top + 0.1), (0.62, top + 0.5), (0.5, -0.5),
        (0.2, -0.12), (-0.4, -0.02),
    )  # fmt: skip
    _trunk(pen, animal, trunk, rng)
    chest = shapes.blob(
        (0.42, top + 0.25), (0.58, top + 0.5), (0.47, -0.5), (0.34, top + 0.6)
    )
    pen.paint(chest, animal.coat.plain(animal.coat.pale), blur=0.04, opacity=0.9)
    haunch = shapes.ellipse(-0.22, -0.42, 0.5 * size, 0.4, 0.25)
    pen.paint(haunch, animal.coat, volume=0.7, softness=0.25, contact=0.25)
    foot = [(-0.1, -0.1), (0.16, -r)]
    _leg(pen, animal, foot, [r, 0.9 * r])
    _leg(pen, animal, [(0.3, top + 0.7), (0.37, -0.5), (0.36, -r)],
         [1.6 * r, 1.15 * r, 0.85 * r])  # fmt: skip
    head = (0.36 + rng.uniform(-0.05, 0.12), top - 0.28)
    _collar(pen, animal, (head[0] - 0.36, top + 0.05), (head[0] + 0.3, top + 0.18))
    return _head(pen, animal, *head, rng, sideways=True)


def sit_front(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it sitting, facing the viewer."""
    r, side = animal.thick, (-1, 1)[rng.integers(2)]
    wide, top = animal.depth / 0.7, -1.35 * (0.8 + 0.3 * animal.leg)
    if animal.species == "cat":
        line = [
            (0.5, -0.15),
            (1.0, -0.1),
            (1.25, -0.4),
            (1.1, -0.4 - 0.35 * animal.tail),
        ]
        if rng.random() < 0.3:  # around the paws
            line = [(0.7, -0.3), (0.95, -0.12), (0.4, 0.02), (-0.35, 0.0)]
    else:
        line = [
            (0.5, -0.2),
            (0.85, -0.25),
            (1.05, -0.5),
            (1.1, -0.45 - 0.4 * animal.tail),
        ]
    line = [(side * x, y) for x, y in line]
    wraps = abs(line[-1][1]) < 0.1
    if not wraps:
        _tail(pen, animal, line)
    for at in (-1, 1):
        haunch = shapes.ellipse(at * 0.5 * wide, -0.36, 0.36 * wide, 0.36, 0.3 * at)
        pen.paint(haunch, animal.coat, volume=0.7, softness=0.25)
        _front_paw(pen, animal, at * 0.62 * wide, 1.2)
    trunk = shapes.symmetric(
        (0, top - 0.15), (0.3, top - 0.05), (0.46 * wide, top + 0.4),
        (0.56 * wide, -0.55), (0.46 * wide, -0.12), (0, -0.05),
    )  # fmt: skip
    upright = pen.moved(0, 0, angle=np.pi / 2)  # stripes run around the trunk
    turned = [polygon[:, ::-1] * (1, -1) for polygon in trunk]
    _trunk(upright, animal, turned, rng, contact=0.2)
    chest = shapes.symmetric(
        (0, top), (0.24, top + 0.2), (0.3, top + 0.5), (0.13, top + 0.85),
        (0, top + 0.95),
    )  # fmt: skip
    if animal.tufted:
        chest = shapes.ruffled(chest, rng, tuft=0.14, depth=0.05)
    pen.paint(chest, animal.coat.plain(animal.coat.pale), blur=0.02, volume=0.3)
    for at in (-1, 1):
        leg = [(at * 0.24, top + 0.6), (at * 0.25, -0.5), (at * 0.24, -r)]
        _tube(pen, animal, leg, [1.3 * r, 1.15 * r, 1.05 * r])
        _front_paw(pen, animal, at * 0.25)
    if wraps:
        _tail(pen, animal, line)
    lean = rng.uniform(-0.12, 0.12)
    _collar(pen, animal, (-0.36 + lean, top + 0.08), (0.36 + lean, top + 0.08))
    return _head(pen, animal, lean, top - 0.28, rng, sideways=False)


def lie(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it lying on its belly, from the side, head up."""
    r, half, depth = animal.thick, animal.length / 2, animal.depth
    if animal.species == "cat":
        drop = rng.uniform(-0.5, -0.1)
        line = [(-half, -0.2), (-half - 0.4, -0.1), (-half - 0.75 * animal.tail, -0.12),
                (-half - animal.tail, drop)]  # fmt: skip
    else:
        line = [(-half, -0.25), (-half - 0.3, -0.15), (-half - 0.8 * animal.tail, -0.2),
                (-half - animal.tail, -0.3)]  # fmt: skip
    _tail(pen, animal, line)
    reach = half + rng.uniform(0.25, 0.55)
    _leg(pen, animal, [(0.6 * half, -0.3), (half, -r * 1.2), (reach + 0.12, -r)],
         [1.3 * r, 1.1 * r, 0.9 * r], True)  # fmt: skip
    trunk = shapes.blob(
        (-1.02 * half, -0.3), (-0.85 * half, -0.85 * depth),
        (-0.3 * half, -1.0 * depth), (0.4 * half, -1.08 * depth),
        (0.85 * half, -1.05 * depth), (1.0 * half, -0.55 * depth), (0.8 * half, -0.06),
        (-0.2 * half, 0.0), (-0.85 * half, -0.02),
    )  # fmt: skip
    head = (0.92 * half + 0.1, -1.05 * depth - 0.3 - rng.uniform(0.0, 0.2))
    _tube(pen, animal, [(0.6 * half, -0.7 * depth), (head[0] - 0.05, head[1] + 0.1)],
          [0.42 * depth, 0.6 * animal.head], contact=0.0)  # fmt: skip
    _trunk(pen, animal, trunk, rng)
    haunch = shapes.ellipse(-0.62 * half, -0.5 * depth, 0.42, 0.46 * depth, 0.2)
    pen.paint(haunch, animal.coat, volume=0.7, softness=0.25, contact=0.25)
    _leg(pen, animal, [(-0.5 * half, -0.12), (-0.18 * half, -r)], [r, 0.9 * r])
    _leg(
        pen, animal,
        [(0.55 * half, -0.32), (0.8 * half, -r * 1.3), (reach - 0.08, -r)],
        [1.35 * r, 1.15 * r, 0.9 * r],
    )  # fmt: skip
    _collar(
        pen, animal, (head[0] - 0.38, head[1] + 0.3), (head[0] + 0.2, head[1] + 0.48)
    )
    return _head(pen, animal, *head, rng, sideways=True)


def loaf(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it lying, facing the viewer, paws tucked in."""
    wide = 1.35 * animal.depth
    side = (-1, 1)[rng.integers(2)]
    trunk = shapes.symmetric(
        (0, -1.02), (0.5 * wide, -0.96), (0.95 * wide, -0.5), (0.92 * wide, -0.1),
        (0.5 * wide, 0.0), (0, 0.0),
    )  # fmt: skip
    trunk = [polygon + np.array([0.25 * side, 0]) for polygon in trunk]
    _tail(pen, animal, [(side * wide, -0.2), (side * (wide + 0.35), -0.12),
                        (side * (wide + 0.35), -0.4),
                        (side * (wide + 0.2), -0.3 - 0.3 * animal.tail)])  # fmt: skip
    _trunk(pen, animal, trunk, rng)
    chest = shapes.ellipse(0, -0.4, 0.4, 0.36)
    pen.paint(chest, animal.coat.plain(animal.coat.pale), blur=0.04, volume=0.3)
    for at in (-1, 1):
        _front_paw(pen, animal, at * 0.3, 1.25)
    return _head(pen, animal, rng.uniform(-0.1, 0.1), -0.88, rng, sideways=False)


def curl(pen: Pen, animal: Animal, rng: np.random.Generator) -> Place:
    """Draw it asleep, curled up."""
    animal = dataclasses.replace(animal, asleep=True, happy=False)
    trunk = shapes.blob(
        (-1.05, -0.35), (-0.8, -0.82), (-0.1, -1.0), (0.65, -0.88), (1.05, -0.42),
        (0.8, -0.06), (0, 0.02), (-0.8, -0.04),
    )  # fmt: skip
    _trunk(pen, animal, trunk, rng)
    haunch = shapes.ellipse(-0.45, -0.42, 0.5, 0.36, -0.2)
    pen.paint(haunch, animal.coat, volume=0.7, softness=0.25, contact=0.25)
    _leg(pen, animal, [(-0.3, -0.12), (0.1, -animal.thick)], [animal.thick] * 2)
    at = _head(pen, animal, 0.62, -0.52, rng, sideways=False)
    reach = 0.1 + 0.35 * animal.tail
    _tail(pen, animal, [(-0.98, -0.3), (-0.75, 0.0), (-0.3, 0.08), (reach - 0.2, 0.02)])
    return at


POSES = (
    stand,
    stand,
    stand,
    sit,
    sit,
    sit_front,
    sit_front,
    sit_front,
    lie,
    lie,
    loaf,
    curl,
)
