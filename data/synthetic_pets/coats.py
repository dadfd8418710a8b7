"""Coats and other surfaces: functions from coordinates to colours, and palettes."""

import dataclasses
import functools

import numpy as np

from data.synthetic_pets.canvas import Colour, Material, spread

TILE = 256  # side of the repeating noise tiles
_DENSITY = 128  # tile pixels per unit of the pen

PATTERNS = ("plain", "tabby", "patched", "spotted")

# What fur looks like, cats and dogs alike: main colour, markings, pale parts.
FURS = (
    ((0.91, 0.62, 0.33), (0.72, 0.38, 0.16), (0.99, 0.93, 0.83)),  # ginger
    ((0.60, 0.58, 0.57), (0.33, 0.32, 0.33), (0.93, 0.92, 0.90)),  # grey
    ((0.55, 0.41, 0.30), (0.29, 0.20, 0.15), (0.90, 0.81, 0.70)),  # brown
    ((0.25, 0.24, 0.27), (0.12, 0.11, 0.13), (0.94, 0.93, 0.92)),  # black
    ((0.95, 0.91, 0.84), (0.66, 0.52, 0.38), (1.00, 0.98, 0.95)),  # cream
    ((0.82, 0.68, 0.50), (0.50, 0.36, 0.24), (0.98, 0.94, 0.87)),  # sand
    ((0.50, 0.56, 0.64), (0.30, 0.34, 0.42), (0.92, 0.94, 0.96)),  # blue grey
    ((0.95, 0.94, 0.93), (0.27, 0.25, 0.26), (1.00, 1.00, 1.00)),  # white
)
EYES = ((0.62, 0.72, 0.28), (0.88, 0.68, 0.20), (0.38, 0.64, 0.78), (0.74, 0.50, 0.20))


def smoothstep(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Rise softly from 0 at `low` to 1 at `high`."""
    t = ((values - low) * (1 / (high - low))).clip(0, 1)
    return t * t * (3 - 2 * t)


@functools.cache
def _noise(along: float, across: float, seed: int) -> np.ndarray:
    """Return a repeating tile of noise, mean 0 and spread 1, as fine as asked.

    `along` and `across` are the sizes of its grains, in tile pixels.
    """
    white = np.random.default_rng([seed]).standard_normal((TILE, TILE))
    frequency = np.fft.fftfreq(TILE)
    keep = np.exp(-2 * (np.pi * frequency[None] * along) ** 2 / 4) * np.exp(
        -2 * (np.pi * frequency[:, None] * across) ** 2 / 4
    )
    keep[0, 0] = 0
    tile = np.fft.ifft2(np.fft.fft2(white) * keep).real
    return (tile / tile.std()).astype(np.float32)


@functools.cache
def _dots() -> np.ndarray:
    """Return a repeating tile of blots: 1 in their middles, 0 halfway between them."""
    cell, rng = 32, np.random.default_rng([7])
    at = np.stack(np.meshgrid(*[np.arange(0, TILE, cell)] * 2), -1).reshape(-1, 2)
    at = at + rng.uniform(4, cell - 4, at.shape)
    size = rng.uniform(0.55, 1.15, len(at))
    x = np.arange(TILE)
    dx = np.abs(x[None] - at[:, :1])
    dy = np.abs(x[None] - at[:, 1:])
    dx, dy = np.minimum(dx, TILE - dx), np.minimum(dy, TILE - dy)
    apart = np.sqrt(dx[:, None] ** 2 + dy[:, :, None] ** 2) / (size * 16)[:, None, None]
    return np.clip(1 - apart.min(0), 0, 1).astype(np.float32)


def _at(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Look a repeating tile up, at tile pixels."""
    row, column = y.astype(np.int32) & (TILE - 1), x.astype(np.int32) & (TILE - 1)
    return tile.ravel().take(row * TILE + column)


def marks(
    pattern: str, x: np.ndarray, y: np.ndarray, size: float, offset: float
) -> np.ndarray:
    """Return how much each point belongs to the markings, 0..1.

    Args:
        pattern: one of `PATTERNS`.
        x: coordinates along the part; stripes run across it.
        y: coordinates across it.
        size: 1.0 for ordinary markings, 2.0 for markings twice as large.
        offset: moves the pattern, so that two animals differ.

    """
    density = _DENSITY / size
    u, v = (x + offset) * density, (y - offset) * density
    if pattern == "tabby":
        bend = _at(_noise(30, 30, 1), u * 0.7, v * 0.7)
        gaps = _at(_noise(18, 40, 2), u, v)
        waves = np.sin(u * (2 * np.pi / 26) + 1.3 * bend)
        return smoothstep(0.0, 0.55, waves + 0.35 * gaps)
    if pattern == "spotted":
        bend = 5 * _at(_noise(12, 12, 3), u, v)
        return smoothstep(0.38, 0.52, _at(_dots(), u + bend, v - bend))
    if pattern == "patched":
        return smoothstep(0.05, 0.25, _at(_noise(40, 40, 4), u * 0.6, v * 0.6))
    return 0.25 * smoothstep(0.2, 1.5, _at(_noise(40, 40, 5), u, v))


def _grain(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Return factors (h, w) around 1: hairs, threads, the grain of a wall."""
    hairs = _at(_noise(2, 7, 6), x * _DENSITY, y * _DENSITY)
    return 1 + strength * hairs


@dataclasses.dataclass(frozen=True)
class Coat:
    """What an animal, a cushion or a rug is covered with.

    Attributes:
        pattern: one of `PATTERNS`.
        base: main colour, RGB in 0..1.
        mark: colour of the markings.
        pale: colour of chest, paws and muzzle.
        size: of the markings.
        offset: where the pattern starts.
        fur: how much single hairs show, 0.01 (short hair) to 0.06.

    """

    pattern: str
    base: Colour
    mark: Colour
    pale: Colour
    size: float
    offset: float
    fur: float = 0.04

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return colours (3, h, w) at coordinates: a `Material`."""
        amount = marks(self.pattern, x, y, self.size, self.offset)
        base, mark = spread(self.base), spread(self.mark)
        return (base + (mark - base) * amount) * _grain(x, y, self.fur)

    def plain(self, colour: Colour) -> Material:
        """Return the same fur in one colour."""
        return lambda x, y: spread(colour) * _grain(x, y, self.fur)

    def darker(self, factor: float) -> "Coat":
        """Return the coat in shade."""
        dark = (tuple(factor * np.array(c)) for c in (self.base, self.mark, self.pale))
        return dataclasses.replace(
            self, **dict(zip(("base", "mark", "pale"), dark, strict=True))
        )


def fur_colours(rng: np.random.Generator) -> list[np.ndarray]:
    """Return main, marking and pale colour of a fur, slightly varied."""
    return [
        np.clip(np.array(colour) * rng.uniform(0.88, 1.06), 0, 1)
        for colour in FURS[rng.integers(len(FURS))]
    ]


def random_coat(rng: np.random.Generator, pattern: str) -> Coat:
    """Return a coat of a pattern in any of the furs' colours."""
    base, mark, pale = fur_colours(rng)
    if pattern == "patched" and rng.random() < 0.6:
        base = pale  # white with patches
        mark = fur_colours(rng)[0] if rng.random() < 0.5 else mark
    if rng.random() < 0.3:
        pale = 0.75 * base + 0.25 * pale  # no white parts
    size, offset = rng.uniform(0.9, 1.5), rng.uniform(0, 2)
    fur = rng.uniform(0.01, 0.06)
    return Coat(pattern, base, mark, pale, size, offset, fur)


def speckled(
    colour: Colour,
    strength: float,
    grain: tuple[float, float] = (6, 6),
) -> Material:
    """Return a surface of one colour with noise: plaster, sand, grass, wood grain."""
    tile = _noise(*grain, 8)
    return lambda x, y: (
        spread(colour) * (1 + strength * _at(tile, x * _DENSITY, y * _DENSITY))
    )


def gradient(
    top: Colour,
    bottom: Colour,
    start: float,
    end: float,
    strength: float = 0.01,
) -> Material:
    """Return a surface that fades from one colour to another between two heights."""

    def material(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        t = ((y - start) * (1 / (end - start))).clip(0, 1)
        colour = spread(top) + (spread(bottom) - spread(top)) * t
        return colour * _grain(x, y, strength)

    return material
