"""Places the animals are in; each returns the height of the ground they stand on."""

import dataclasses

import numpy as np

from data.synthetic_pets import coats, shapes, things


def room(stage: things.Stage) -> float:
    """Draw a living room."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    floor = rng.uniform(0.52, 0.72)
    wall = things.one(things.WALLS, rng)
    if rng.random() < 0.4:
        paper = dataclasses.replace(
            stage.cloth(), base=wall, mark=wall * rng.uniform(0.6, 0.9)
        )
        pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, floor), paper)
    else:
        fade = coats.gradient(
            wall * 1.04, wall * 0.86, 0, floor, rng.uniform(0.01, 0.06)
        )
        pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, floor), fade)
    ground = things.one(things.FLOORS, rng) if rng.random() < 0.7 else stage.coat.base
    planks = coats.speckled(ground, rng.uniform(0.02, 0.08), (60, 3))
    pen.paint(shapes.box(-0.1, floor, wide + 0.1, 1.1), planks)
    for _ in range(rng.integers(0, 6)):
        y = floor + (1 - floor) * rng.uniform(0.1, 1) ** 1.3
        pen.paint(shapes.box(-0.1, y, wide + 0.1, y + 0.008), np.array(ground) * 0.78)
    pen.paint(
        shapes.box(-0.1, floor - 0.035, wide + 0.1, floor + 0.005), (0.93, 0.90, 0.85),
        contact=0.3, softness=0.03,
    )  # fmt: skip
    behind = [
        lambda x: things.window(stage, x, rng.uniform(0.15, 0.3)),
        lambda x: things.picture(stage, x, rng.uniform(0.1, 0.3)),
        lambda x: things.books(stage, x - 0.2, rng.uniform(0.2, 0.4), x + 0.2),
        lambda x: things.sofa(stage, x, floor + 0.06, rng.uniform(0.6, 0.9)),
        lambda x: things.plant(stage, x, floor + 0.05, rng.uniform(0.25, 0.45)),
        lambda x: things.sofa(stage, x, floor + 0.08, rng.uniform(0.6, 0.9)),
    ]
    count = rng.integers(2, 5)
    places = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count * wide
    for place, kind in zip(places, rng.permutation(len(behind)), strict=False):
        behind[kind](place)
    if rng.random() < 0.65:
        things.rug(stage, wide * rng.uniform(0.35, 0.65), rng.uniform(0.82, 0.9),
             rng.uniform(0.45, 0.75), rng.uniform(0.1, 0.16))  # fmt: skip
    things.scatter(stage, (floor + 0.05, 0.95))
    return rng.uniform(0.85, 0.95)


def garden(stage: things.Stage) -> float:
    """Draw a garden, a meadow or a beach."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    horizon = rng.uniform(0.3, 0.6)
    skies = (
        ((0.52, 0.74, 0.92), (0.88, 0.93, 0.93)),
        ((0.95, 0.78, 0.62), (0.98, 0.92, 0.80)),
        ((0.72, 0.76, 0.80), (0.90, 0.90, 0.88)),
    )  # fmt: skip
    top, low = skies[rng.integers(3)]
    pen.paint(shapes.box(-0.1, -0.1, wide + 0.1, horizon + 0.1),
              coats.gradient(top, low, 0, horizon))  # fmt: skip
    for _ in range(rng.integers(0, 3)):
        x, y = rng.uniform(0, wide), rng.uniform(0.03, 0.2)
        for dx in (-0.08, 0, 0.09):
            cloud = shapes.ellipse(x + dx, y + rng.uniform(-0.02, 0.02), 0.09, 0.045)
            pen.paint(cloud, (1, 1, 1), opacity=0.75, blur=0.008)
    grounds = (
        (0.50, 0.64, 0.34), (0.62, 0.68, 0.40), (0.85, 0.76, 0.58), (0.68, 0.58, 0.40),
        (0.90, 0.92, 0.94),
    )  # fmt: skip
    ground = things.one(grounds, rng)
    for layer in range(2):
        y = horizon - 0.06 + 0.05 * layer
        hill = [
            (-0.2, 1.2), (-0.2, y),
            *((wide * t, y + rng.uniform(-0.07, 0.07)) for t in (0.2, 0.5, 0.8)),
            (wide + 0.2, y), (wide + 0.2, 1.2),
        ]  # fmt: skip
        shade = ground * (0.75 + 0.12 * layer) * (0.95, 1.0, 1.05)
        pen.paint(shapes.blob(*hill), np.clip(shade, 0, 1))
    behind = [
        lambda x: things.tree(stage, x, horizon + 0.12, rng.uniform(0.4, 0.75)),
        lambda x: things.bush(stage, x, horizon + 0.12, rng.uniform(0.15, 0.3)),
        lambda x: things.tree(stage, x, horizon + 0.1, rng.uniform(0.3, 0.5)),
        lambda x: things.bush(stage, x, horizon + 0.15, rng.uniform(0.15, 0.3)),
    ]
    if rng.random() < 0.35:
        fence = np.array(things.one(things.FLOORS, rng))
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
    pen.paint(
        shapes.box(-0.1, horizon + 0.1, wide + 0.1, 1.1),
        coats.speckled(ground, rng.uniform(0.02, 0.08), (5, 9)), contact=0.1,
        softness=0.05,
    )  # fmt: skip
    for _ in range(rng.integers(2, 6)):
        things.blades(stage, rng.uniform(0, wide), rng.uniform(horizon + 0.15, 1.0),
                rng.uniform(0.06, 0.12), ground * 0.85)  # fmt: skip
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, wide), rng.uniform(horizon + 0.15, 1.0)
        pen.paint(
            shapes.ellipse(x, y, 0.014, 0.014), things.one(things.BRIGHT, rng) + 0.05
        )
    things.scatter(stage, (horizon + 0.2, 0.95))
    return rng.uniform(0.85, 0.95)


def bed(stage: things.Stage) -> float:
    """Draw a sofa or a bed close by: blankets and cushions all around."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    edge = rng.uniform(0.4, 0.65)
    wall = things.one(things.WALLS, rng) * rng.uniform(0.75, 1.0)
    pen.paint(
        shapes.box(-0.1, -0.1, wide + 0.1, edge + 0.1),
        coats.gradient(wall, wall * 0.85, 0, edge, rng.uniform(0.01, 0.06)),
    )  # fmt: skip
    back = stage.cloth()
    for x in np.arange(rng.uniform(-0.4, 0), wide, rng.uniform(0.5, 0.8)):
        rest = shapes.rounded(
            x, edge - rng.uniform(0.25, 0.32), x + 0.62, edge + 0.2, 0.1
        )
        pen.paint(rest, back, volume=0.7, softness=0.08, contact=0.3)
    for _ in range(rng.integers(1, 4)):
        things.cushion(stage, rng.uniform(0, wide), edge - rng.uniform(0.0, 0.12),
                 rng.uniform(0.13, 0.22))  # fmt: skip
    seat = stage.cloth()
    pen.paint(shapes.box(-0.1, edge, wide + 0.1, 1.1), seat, contact=0.4, softness=0.06)
    for _ in range(rng.integers(1, 4)):  # folds
        x, y = rng.uniform(0, wide), rng.uniform(edge + 0.1, 1)
        fold = [(x - 0.3, y), (x, y + rng.uniform(-0.05, 0.05)), (x + 0.3, y + 0.03)]
        pen.paint(shapes.limb(fold, [0.005, 0.02, 0.005]), np.array(seat.base) * 0.6,
                  opacity=0.4, blur=0.01)  # fmt: skip
    if rng.random() < 0.5:
        things.ball(stage, rng.uniform(0, wide), rng.uniform(edge + 0.15, 0.95), 0.06)
    return rng.uniform(0.84, 0.94)


def studio(stage: things.Stage) -> float:
    """Draw a plain backdrop with a few large shapes."""
    pen, rng, wide = stage.pen, stage.rng, stage.wide
    cloth = stage.cloth()
    colour = (
        np.array(stage.coat.base)
        if rng.random() < 0.4
        else things.one(things.WALLS, rng)
    )
    backdrop = coats.gradient(
        colour * 0.95, colour * 0.72, 0, 1, rng.uniform(0.01, 0.06)
    )
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
    things.scatter(stage, (y + 0.05, 0.95))
    return rng.uniform(0.85, 0.95)


SCENES = (room, room, garden, garden, bed, studio)
