"""Heads of cats and dogs, frontal, half turned and in profile.

Each function draws with a pen whose origin is the head's middle and whose unit is the
head's radius.
"""

import dataclasses

import numpy as np

from data.synthetic_pets import shapes
from data.synthetic_pets.animals import Animal
from data.synthetic_pets.canvas import Pen

_INK = (0.13, 0.10, 0.11)
_PINK = (0.90, 0.62, 0.60)
_TONGUE = (0.91, 0.47, 0.50)


def _stroke(pen: Pen, points: list, width: float, colour=_INK) -> None:
    pen.paint(shapes.limb(points, [width, width], steps=4), colour)


def _eye(pen: Pen, x: float, y: float, animal: Animal, width: float = 1.0) -> None:
    """Draw an eye; `width` below 1 turns it away."""
    if animal.asleep:
        lid = [(x - 0.2 * width, y), (x, y + 0.1), (x + 0.2 * width, y)]
        return _stroke(pen, lid, 0.035)
    cat = animal.species == "cat"
    size = 0.235 if cat else 0.17
    slant = 0.25 * np.sign(x) if cat else 0.0
    pen.paint(shapes.ellipse(x, y, size * width, size * 0.95, slant), _INK)
    iris = animal.iris if cat else 0.62 * np.array(animal.iris) * (0.9, 0.7, 0.6)
    size *= 0.83
    pen.paint(shapes.ellipse(x, y + 0.01, size * width, size, slant), iris)
    pupil = (0.09, 0.17) if cat else (0.105, 0.11)
    pen.paint(shapes.ellipse(x, y + 0.01, pupil[0] * width, pupil[1]), _INK)
    glint = shapes.ellipse(x - 0.06, y - 0.07, 0.055, 0.055)
    return pen.paint(glint, (1, 1, 1))


def _whiskers(pen: Pen, x: float, side: float) -> None:
    free = dataclasses.replace(pen, truth=None)  # too thin for a mask, as in photos
    for rise in (-0.16, 0.02, 0.2):
        line = [(x, 0.42), (x + side * 0.5, 0.38 + rise * 0.7), (x + side, 0.42 + rise)]
        free.paint(
            shapes.limb(line, [0.016, 0.006], steps=4), (0.97, 0.96, 0.94), opacity=0.75
        )


def frontal(pen: Pen, animal: Animal, yaw: float, rng: np.random.Generator) -> None:
    """Draw a head that looks at the viewer, turned by `yaw` (-1 left .. 1 right)."""
    (_cat if animal.species == "cat" else _dog)(pen, animal, yaw, rng)


def _skull(pen: Pen, animal: Animal, outline: shapes.Shape, rng) -> None:
    if animal.tufted:
        outline = shapes.ruffled(outline, rng, tuft=0.3, depth=animal.tufted)
    face = pen.moved(0, 0, angle=np.pi / 2)  # stripes run around the head
    outline = [polygon[:, ::-1] * (1, -1) for polygon in outline]
    face.paint(outline, animal.coat, volume=0.8, softness=0.3, contact=0.3)


def _pointed(pen: Pen, animal: Animal, ear: tuple, side: float, shift: float) -> None:
    """Draw an ear that stands; `ear` holds inner foot, tip and outer foot."""
    feet = [(side * x + shift, y) for x, y in ear]
    whole = shapes.ear(*feet)
    pen.paint(whole, animal.coat, volume=0.5, softness=0.15)
    centre = np.mean(feet, 0)
    inner = [centre + 0.62 * (polygon - centre) + (0, 0.06) for polygon in whole]
    pink = 0.55 * np.array(_PINK) + 0.45 * np.array(animal.coat.base)
    pen.paint(inner, pink * 0.92, volume=-0.3, softness=0.15)


def _cat(pen: Pen, animal: Animal, yaw: float, rng: np.random.Generator) -> None:
    coat = animal.coat
    for side in (-1, 1):
        near = 1 - 0.15 * max(side * yaw, 0)
        ear = ((0.2, -0.7), (0.78 * near, -1.42), (0.98, -0.2))
        _pointed(pen, animal, ear, side, 0.08 * yaw)
    skull = shapes.symmetric(
        (0, -0.85), (0.5, -0.79), (0.9, -0.4), (1.08, 0.12), (0.96, 0.5), (0.6, 0.78),
        (0, 0.88),
    )  # fmt: skip
    _skull(pen, animal, skull, rng)
    x = 0.3 * yaw
    if coat.pattern == "tabby":
        for at in (-0.24, 0.0, 0.24):
            line = [(x + at, -0.5 + abs(at) * 0.3), (x + 1.25 * at, -0.8)]
            pen.paint(shapes.limb(line, [0.03, 0.065], steps=4), coat.plain(coat.mark))
        for side in (-1, 1):
            for drop in (0.12, 0.36):
                line = [(x * 0.5 + side * 0.68, drop), (side * 0.98, drop - 0.08)]
                stripe = shapes.limb(line, [0.02, 0.06], steps=4)
                pen.paint(stripe, coat.plain(coat.mark))
    if animal.blaze:
        blaze = shapes.blob((x, -0.75), (x + 0.12, -0.1), (x + 0.3, 0.4),
                            (x - 0.3, 0.4), (x - 0.12, -0.1))  # fmt: skip
        pen.paint(blaze, coat.plain(coat.pale), blur=0.03)
    pen.paint(shapes.ellipse(x, 0.62, 0.26, 0.18), coat.plain(coat.pale), volume=0.3)
    for side in (-1, 1):
        puff = shapes.ellipse(1.15 * x + side * 0.2, 0.43, 0.27, 0.2, -0.15 * side)
        pen.paint(puff, coat.plain(coat.pale), volume=0.35, softness=0.1, contact=0.12)
    for side in (-1, 1):
        _eye(pen, 0.9 * x + side * 0.44, -0.03, animal, 1 - 0.25 * max(side * yaw, 0))
    x *= 1.25
    nose = shapes.blob((x - 0.13, 0.2), (x, 0.17), (x + 0.13, 0.2), (x, 0.33))
    pen.paint(nose, animal.nose, volume=0.4, softness=0.05)
    _stroke(pen, [(x, 0.32), (x, 0.42)], 0.022)
    for side in (-1, 1):
        smile = [(x, 0.42), (x + side * 0.12, 0.49), (x + side * 0.24, 0.45)]
        _stroke(pen, smile, 0.022)
        _whiskers(pen, x + side * 0.32, side)


def _dog(pen: Pen, animal: Animal, yaw: float, rng: np.random.Generator) -> None:
    coat = animal.coat
    if animal.ears == "pointed":
        for side in (-1, 1):
            ear = ((0.18, -0.75), (0.72, -1.5), (0.86, -0.3))
            _pointed(pen, animal, ear, side, 0.08 * yaw)
    skull = shapes.symmetric(
        (0, -0.95), (0.46, -0.89), (0.8, -0.52), (0.86, -0.05), (0.76, 0.42),
        (0.48, 0.8), (0, 0.95),
    )  # fmt: skip
    _skull(pen, animal, skull, rng)
    x = 0.42 * yaw
    if animal.blaze:
        blaze = shapes.blob(
            (0.5 * x, -0.95), (0.7 * x + 0.16, -0.3), (x + 0.3, 0.3), (x - 0.3, 0.3),
            (0.7 * x - 0.16, -0.3),
        )  # fmt: skip
        pen.paint(blaze, coat.plain(coat.pale), blur=0.03)
    if animal.happy:
        tongue = shapes.blob((x - 0.17, 0.6), (x + 0.17, 0.6), (x + 0.17, 0.98),
                             (x, 1.12), (x - 0.17, 0.98))  # fmt: skip
        pen.paint(shapes.ellipse(x, 0.72, 0.3, 0.22), (0.35, 0.13, 0.15))
        pen.paint(tongue, _TONGUE, volume=0.3, softness=0.1)
    muzzle = shapes.symmetric((0, 0.02), (0.3, 0.08), (0.5, 0.4), (0.44, 0.7),
                              (0.2, 0.74), (0, 0.66))  # fmt: skip
    muzzle = [polygon + np.array([x, 0]) for polygon in muzzle]
    pen.paint(muzzle, coat.plain(coat.pale), volume=0.6, softness=0.2, contact=0.25)
    for side in (-1, 1):
        at = 0.7 * x + side * 0.4
        _eye(pen, at, -0.16, animal, 1 - 0.25 * max(side * yaw, 0))
        if not animal.asleep:
            brow = [(at - 0.12, -0.42), (at, -0.46), (at + 0.12, -0.42)]
            _stroke(pen, brow, 0.035, 0.75 * np.array(coat.mark))
    x *= 1.15
    nose = shapes.blob((x - 0.22, 0.12), (x, 0.06), (x + 0.22, 0.12), (x + 0.13, 0.28),
                       (x, 0.33), (x - 0.13, 0.28))  # fmt: skip
    pen.paint(nose, _INK, volume=0.9, softness=0.08)
    pen.paint(shapes.ellipse(x - 0.06, 0.13, 0.07, 0.035), (0.6, 0.58, 0.6))
    _stroke(pen, [(x, 0.32), (x, 0.52)], 0.025)
    for side in (-1, 1):
        _stroke(
            pen, [(x, 0.52), (x + side * 0.16, 0.6), (x + side * 0.34, 0.54)], 0.025
        )
    for side in (-1, 1):
        if animal.ears != "pointed":
            _flap(pen, animal, side, 0.1 * yaw)


def _flap(pen: Pen, animal: Animal, side: float, shift: float) -> None:
    """Draw an ear that hangs, or one whose tip folds over."""
    if animal.ears == "hanging":
        flap = [(0.42, -0.86), (0.86, -0.84), (1.16, -0.3), (1.2, 0.35), (0.98, 0.68),
                (0.76, 0.4), (0.72, -0.25)]  # fmt: skip
    else:
        flap = [(0.22, -0.88), (0.5, -1.2), (0.92, -1.02), (1.12, -0.45), (1.0, -0.2),
                (0.74, -0.42)]  # fmt: skip
    flap = shapes.blob(*[(side * x + shift, y) for x, y in flap])
    coat = animal.coat
    dark = 0.35 * np.array(coat.base) + 0.65 * np.array(coat.mark)
    pen.paint(flap, coat.plain(dark), volume=0.6, softness=0.2, contact=0.3)


def profile(pen: Pen, animal: Animal, rng: np.random.Generator) -> None:
    """Draw a head seen from the side, looking right."""
    coat = animal.coat
    if animal.species == "cat":
        far = ((-0.15, -0.7), (0.22, -1.38), (0.5, -0.6))
        skull = shapes.blob((-0.88, 0.0), (-0.6, -0.72), (0.0, -0.93), (0.5, -0.72),
                            (0.82, -0.2), (1.1, 0.05), (1.12, 0.3), (0.9, 0.6),
                            (0.3, 0.85), (-0.5, 0.72))  # fmt: skip
        near = ((-0.62, -0.5), (-0.36, -1.42), (0.12, -0.75))
    else:
        far = ((-0.2, -0.8), (0.0, -1.5), (0.35, -0.75))
        skull = shapes.blob((-0.85, -0.05), (-0.62, -0.7), (-0.05, -0.95),
                            (0.45, -0.78), (0.72, -0.34), (1.3, -0.2), (1.62, -0.05),
                            (1.62, 0.25), (1.25, 0.5), (0.6, 0.66), (0.1, 0.88),
                            (-0.55, 0.72))  # fmt: skip
        near = ((-0.62, -0.55), (-0.42, -1.5), (0.12, -0.85))
    if animal.ears == "pointed":
        pen.paint(shapes.ear(*far), coat.plain(0.7 * np.array(coat.base)))
    if animal.happy and animal.species == "dog":
        tongue = shapes.blob((0.95, 0.4), (1.3, 0.38), (1.34, 0.8), (1.15, 0.95),
                             (1.0, 0.75))  # fmt: skip
        pen.paint(tongue, _TONGUE, volume=0.4, softness=0.1)
    _skull(pen, animal, skull, rng)
    if animal.species == "cat":
        pale = shapes.blob((1.08, 0.16), (1.1, 0.34), (0.88, 0.58), (0.45, 0.62),
                           (0.5, 0.3), (0.8, 0.15))  # fmt: skip
        pen.paint(pale, coat.plain(coat.pale), volume=0.3)
        _eye(pen, 0.52, -0.1, animal, 0.7)
        nose = shapes.ellipse(1.08, 0.08, 0.09, 0.08)
        pen.paint(nose, animal.nose)
        _stroke(pen, [(1.06, 0.3), (0.9, 0.38), (0.72, 0.36)], 0.025)
        _whiskers(pen, 0.85, -0.8)
        _whiskers(pen, 1.05, 0.6)
    else:
        pale = shapes.blob((0.75, -0.2), (1.3, -0.14), (1.58, 0.0), (1.58, 0.24),
                           (1.22, 0.47), (0.6, 0.6), (0.5, 0.2))  # fmt: skip
        pen.paint(pale, coat.plain(coat.pale), volume=0.4, blur=0.02)
        _eye(pen, 0.42, -0.3, animal, 0.85)
        pen.paint(shapes.ellipse(1.56, -0.04, 0.17, 0.15), _INK, volume=0.9,
                  softness=0.08)  # fmt: skip
        _stroke(pen, [(1.6, 0.26), (1.2, 0.33), (0.75, 0.3)], 0.028)
    if animal.ears == "pointed":
        _pointed(pen, animal, near, 1, 0)
    else:
        drop = 0.75 if animal.ears == "hanging" else 0.0
        flap = shapes.blob((-0.5, -0.75), (0.05, -0.82), (0.22, -0.3), (0.12, drop),
                           (-0.2, drop + 0.08), (-0.48, drop - 0.35))  # fmt: skip
        dark = 0.35 * np.array(coat.base) + 0.65 * np.array(coat.mark)
        pen.paint(flap, coat.plain(dark), volume=0.6, softness=0.2, contact=0.3)
