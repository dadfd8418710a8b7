"""A picture, its truth beside it, and a pen that paints soft round shapes on both."""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data.synthetic_pets.shapes import Shape

Colour = tuple[float, float, float] | np.ndarray
Material = Callable[[np.ndarray, np.ndarray], np.ndarray]
SUPERSAMPLING = 3  # each pixel's coverage is counted on 3 x 3 points


def spread(colour: Colour) -> np.ndarray:
    """Return a colour as (3, 1, 1) float32, which broadcasts over pixels."""
    return np.asarray(colour, np.float32)[:, None, None]


_SHADOW = spread((0.62, 0.58, 0.48))  # shadows keep a little blue
_HIGHLIGHT = spread((0.42, 0.40, 0.34))  # light is a little warm


class Canvas:
    """A picture in the making.

    Attributes:
        rgb: (3, H, W) float32 in 0..1; colours first makes the arithmetic fast.
        pet: (H, W) float32 in 0..1, how much of each pixel is pet.
        light: unit vector from the scene towards the light, in pixels.

    """

    def __init__(self, width: int, height: int, light: tuple[float, float]):
        self.rgb = np.zeros((3, height, width), np.float32)
        self.pet = np.zeros((height, width), np.float32)
        self.light = light

    def fill(
        self,
        pen: "Pen",
        shape: Shape,
        material: Material | Colour,
        *,
        volume: float = 0.0,
        softness: float = 0.15,
        contact: float = 0.0,
        opacity: float = 1.0,
        blur: float = 0.0,
    ) -> None:
        """Fill a shape.

        Args:
            pen: whose coordinates and units count, and whose truth.
            shape: what to fill.
            material: a colour, or a function from coordinates to colours (3, h, w).
            volume: how round it looks: light on one side, shadow on the other.
            softness: how far in the rounding reaches, in the pen's unit.
            contact: how dark a shadow it throws on what lies around it.
            opacity: 1.0 hides what is below.
            blur: softens the edge, in the pen's unit.

        """
        reach, edge = float(pen.scale * softness), float(pen.scale * blur)
        margin = 1 + int(2 * max(edge, reach if contact else 0))
        sizes = [len(polygon) for polygon in shape]
        found = self._coverage(pen.pixels(shape), sizes, margin)
        if found is None:
            return
        rows, columns, cover = found
        if blur:
            cover = cover.filter(ImageFilter.GaussianBlur(edge))
        alpha = np.asarray(cover, np.float32) * np.float32(opacity / 255)
        rgb = self.rgb[:, rows, columns]
        if volume or contact:
            soft = cover.filter(ImageFilter.GaussianBlur(reach))
            soft = np.asarray(soft, np.float32) / np.float32(255)
        if contact:
            shade = _shifted(soft, self.light, -0.6 * reach)
            rgb *= 1 - np.float32(contact * opacity) * shade
        if callable(material):
            colour = material(*pen.coordinates(rows, columns))
        else:
            colour = spread(material)
        if volume:
            away = _shifted(soft, self.light, 0.8 * reach)
            lit = away - _shifted(soft, self.light, -0.8 * reach)
            lit *= np.float32(volume)
            colour = colour * (1 + np.minimum(lit, 0) * _SHADOW)
            colour += (1 - colour) * np.maximum(lit, 0) * _HIGHLIGHT
        rgb += alpha * (colour - rgb)
        if pen.truth is not None:
            pet = self.pet[rows, columns]
            pet += alpha * (pen.truth - pet)

    def _coverage(
        self, points: np.ndarray, sizes: list[int], margin: int
    ) -> tuple[slice, slice, Image.Image] | None:
        """Return rows, columns and anti-aliased coverage (0..255) of filled polygons.

        Args:
            points: (n, 2) corners of all polygons, in pixels.
            sizes: how many of them belong to each polygon.
            margin: pixels to add around them, for what blurs.

        Returns:
            None when nothing of them lies in the picture.

        """
        height, width = self.pet.shape
        (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
        left, top = max(int(left) - margin, 0), max(int(top) - margin, 0)
        right, bottom = int(right) + 1 + margin, int(bottom) + 1 + margin
        right, bottom = min(right, width), min(bottom, height)
        if left >= right or top >= bottom:
            return None
        fine = Image.new(
            "L", ((right - left) * SUPERSAMPLING, (bottom - top) * SUPERSAMPLING)
        )
        draw = ImageDraw.Draw(fine)
        corners = ((points - (left, top)) * SUPERSAMPLING - 0.5).ravel().tolist()
        start = 0
        for size in sizes:
            draw.polygon(corners[2 * start : 2 * (start + size)], fill=255)
            start += size
        return slice(top, bottom), slice(left, right), fine.reduce(SUPERSAMPLING)


class Sketch:
    """Shapes that wait until it is known where they go."""

    def __init__(self):
        self._shapes = []

    def fill(
        self, pen: "Pen", shape: Shape, material: Material | Colour, **how
    ) -> None:
        """Remember a shape; the arguments are those of `Canvas.fill`."""
        self._shapes.append((pen, shape, material, how))

    def bounds(self) -> np.ndarray:
        """Return ((left, top), (right, bottom)) of all shapes that count as pet."""
        drawn = [pen.pixels(shape) for pen, shape, *_ in self._shapes if pen.truth]
        points = np.concatenate(drawn)
        return np.stack([points.min(0), points.max(0)])

    def onto(self, target: "Pen") -> None:
        """Draw all shapes with a pen, whose unit becomes the sketch's."""
        for pen, shape, material, how in self._shapes:
            placed = dataclasses.replace(
                pen, surface=target.surface, matrix=_chained(target.matrix, pen.matrix)
            )
            placed.paint(shape, material, **how)


def _chained(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the (2, 3) matrix that does `inner`, then `outer`."""
    chained = outer[:, :2] @ inner
    chained[:, 2] += outer[:, 2]
    return chained


@dataclasses.dataclass(frozen=True, eq=False)
class Pen:
    """Draws on a canvas or a sketch in its own coordinates.

    Attributes:
        surface: what it draws on.
        matrix: (2, 3), from the pen's coordinates to the surface's.
        truth: what it paints counts as 1.0 pet, 0.0 background; None leaves the truth.

    """

    surface: Canvas | Sketch
    matrix: np.ndarray
    truth: float | None = 0.0

    @functools.cached_property
    def scale(self) -> float:
        """Pixels per unit."""
        (a, b, _), (c, d, _) = self.matrix.tolist()
        return math.sqrt(abs(a * d - b * c))

    def moved(
        self,
        x: float,
        y: float,
        *,
        scale: float = 1.0,
        angle: float = 0.0,
        mirrored: bool = False,
    ) -> "Pen":
        """Return a pen whose origin is at (x, y), turned by `angle` radians."""
        cos, sin = scale * math.cos(angle), scale * math.sin(angle)
        flip = -1.0 if mirrored else 1.0
        moved = np.array([[cos * flip, -sin, x], [sin * flip, cos, y]])
        return dataclasses.replace(self, matrix=_chained(self.matrix, moved))

    def pixels(self, shape: Shape) -> np.ndarray:
        """Return all corners of a shape, (n, 2), in the surface's coordinates."""
        return np.concatenate(shape) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def coordinates(self, rows: slice, columns: slice) -> list[np.ndarray]:
        """Return the pen's x and y, each (h, w) float32, of the pixels' centres."""
        (a, b, left), (c, d, top) = self.matrix.tolist()
        x = np.arange(columns.start, columns.stop, dtype=np.float32) + (0.5 - left)
        y = np.arange(rows.start, rows.stop, dtype=np.float32) + (0.5 - top)
        det = a * d - b * c
        inverse = ((d / det, -b / det), (-c / det, a / det))
        return [p * x + (q * y)[:, None] for p, q in inverse]

    def paint(self, shape: Shape, material: Material | Colour, **how: float) -> None:
        """Fill a shape; `how` as for `Canvas.fill`."""
        self.surface.fill(self, shape, material, **how)


def _shifted(
    values: np.ndarray, direction: tuple[float, float], distance: float
) -> np.ndarray:
    """Return at each pixel the value `-distance` along a direction from it."""
    dx, dy = (round(distance * d) for d in direction)
    height, width = values.shape
    rows = np.arange(-dy, height - dy).clip(0, height - 1)
    columns = np.arange(-dx, width - dx).clip(0, width - 1)
    return values.take(rows, 0).take(columns, 1)
