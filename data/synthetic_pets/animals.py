"""Who is drawn: species, coat and build of a cat or dog."""

import dataclasses

import numpy as np

from data.synthetic_pets import coats
from data.synthetic_pets.coats import Coat

_COLLARS = (
    (0.80, 0.24, 0.24),
    (0.20, 0.46, 0.72),
    (0.25, 0.60, 0.42),
    (0.93, 0.74, 0.25),
)


@dataclasses.dataclass(frozen=True)
class Animal:
    """What stays the same about an animal whatever it does; lengths in body units.

    Attributes:
        species: "cat" or "dog".
        coat: of body, head and legs.
        ears: "pointed", "folded" or "hanging".
        iris: colour of the eyes.
        nose: colour of the nose.
        collar: its colour, or None.
        socks: whether the paws are pale.
        blaze: whether a pale stripe runs down the face.
        asleep: whether the eyes are closed.
        happy: whether the mouth is open.
        tufted: how far the fur stands out from the outline.
        length: of the trunk.
        depth: of the trunk, from back to belly.
        leg: length of the legs below the trunk.
        thick: radius of the legs.
        head: radius of the head.
        tail: length of the tail.

    """

    species: str
    coat: Coat
    ears: str
    iris: tuple[float, float, float]
    nose: tuple[float, float, float]
    collar: tuple[float, float, float] | None
    socks: bool
    blaze: bool
    asleep: bool
    happy: bool
    tufted: float
    length: float
    depth: float
    leg: float
    thick: float
    head: float
    tail: float


def random_animal(species: str, pattern: str, rng: np.random.Generator) -> Animal:
    """Return an animal of a species, with a coat of a pattern."""
    cat = species == "cat"
    shared = dict(
        species=species,
        coat=coats.random_coat(rng, pattern),
        iris=coats.EYES[rng.integers(len(coats.EYES))],
        nose=((0.86, 0.52, 0.52), (0.35, 0.24, 0.24))[rng.integers(2)],
        collar=_COLLARS[rng.integers(4)] if rng.random() < 0.35 else None,
        socks=rng.random() < 0.5,
        blaze=rng.random() < 0.4,
        asleep=rng.random() < 0.03,
        happy=rng.random() < 0.5,
        tufted=rng.uniform(0.04, 0.09) if rng.random() < 0.35 else 0.0,
    )
    if cat:
        return Animal(
            **shared,
            ears="pointed",
            length=rng.uniform(1.7, 2.1),
            depth=rng.uniform(0.6, 0.72),
            leg=rng.uniform(0.55, 0.75),
            thick=rng.uniform(0.11, 0.14),
            head=rng.uniform(0.47, 0.56),
            tail=rng.uniform(1.2, 1.6),
        )
    short = rng.random() < 0.25  # legs like a dachshund's
    return Animal(
        **shared,
        ears=("pointed", "folded", "hanging", "hanging")[rng.integers(4)],
        length=rng.uniform(2.1, 2.4) if short else rng.uniform(1.6, 1.95),
        depth=rng.uniform(0.68, 0.85),
        leg=rng.uniform(0.3, 0.4) if short else rng.uniform(0.65, 0.95),
        thick=rng.uniform(0.14, 0.19),
        head=rng.uniform(0.46, 0.55),
        tail=rng.uniform(0.6, 1.0),
    )
