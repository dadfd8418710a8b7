"""Outlines: smooth curves, ellipses, limbs and tufts, as polygons of (n, 2) points.

A shape is a list of polygons that are filled together. x grows to the right and y
downwards, in whatever unit the pen that draws them uses.
"""

import numpy as np

Polygon = np.ndarray
Shape = list[Polygon]
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def curve(points: list | np.ndarray, *, closed: bool, steps: int = 6) -> Polygon:
    """Draw a smooth line through points (a Catmull-Rom spline).

    Args:
        points: (n, 2), at least two.
        closed: whether the line returns to its first point.
        steps: how many pieces each span is cut into.

    Returns:
        (m, 2) points on the line, ends included when it is open.
    """
    points = np.asarray(points, float)
    if closed:
        around = np.concatenate([points[-1:], points, points[:2]])
    else:
        first, last = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
        around = np.concatenate([[first], points, [last]])
    before, here, there, after = (around[i : len(around) - 3 + i] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    before, here, there, after = (p[:, None] for p in (before, here, there, after))
    line = 0.5 * (
        2 * here
        + (there - before) * t
        + (2 * before - 5 * here + 4 * there - after) * t**2
        + (3 * here - before - 3 * there + after) * t**3
    )
    line = line.reshape(-1, 2)
    return line if closed else np.concatenate([line, points[-1:]])


def blob(*points: tuple[float, float]) -> Shape:
    """Return the smooth closed outline through points."""
    return [curve(points, closed=True)]


def symmetric(*points: tuple[float, float]) -> Shape:
    """Return a smooth outline mirrored at x = 0, from the top (x = 0) to the bottom."""
    left = [(-x, y) for x, y in reversed(points) if x]
    return [curve([*points, *left], closed=True)]


def ellipse(
    x: float, y: float, width: float, height: float, angle: float = 0.0
) -> Shape:
    """Return an ellipse by its centre and half axes; `angle` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos * width, sin * width], [-sin * height, cos * height]])
    return [_CIRCLE @ turn + (x, y)]


def box(left: float, top: float, right: float, bottom: float) -> Shape:
    """Return a rectangle."""
    return [np.array([(left, top), (right, top), (right, bottom), (left, bottom)])]


def rounded(
    left: float, top: float, right: float, bottom: float, radius: float
) -> Shape:
    """Return a rectangle with round corners."""
    turn = np.linspace(0, np.pi / 2, 6)
    corner = radius * np.stack([np.cos(turn), np.sin(turn)], 1)
    x, y = corner.T
    return [
        np.concatenate(
            [
                np.stack([right - radius + x, bottom - radius + y], 1),
                np.stack([left + radius - y, bottom - radius + x], 1),
                np.stack([left + radius - x, top + radius - y], 1),
                np.stack([right - radius + y, top + radius - x], 1),
            ]
        )
    ]


def limb(points: list | np.ndarray, radii: list | np.ndarray, steps: int = 5) -> Shape:
    """Return a tube along a smooth line, for legs, tails, stalks and pen strokes.

    Args:
        points: (n, 2) of the middle line.
        radii: its radius, evenly spread along the points.
        steps: how many pieces each span is cut into.
    """
    line = curve(points, closed=False, steps=steps)
    along = np.linspace(0, len(radii) - 1, len(line))
    radius = np.interp(along, np.arange(len(radii)), radii)
    step = np.diff(line, axis=0)
    step = np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]])
    normal = np.stack([-step[:, 1], step[:, 0]], 1)
    normal *= (radius / (np.sqrt((normal**2).sum(1)) + 1e-9))[:, None]
    one, other = line + normal, line - normal
    pieces = np.stack([one[:-1], one[1:], other[1:], other[:-1]], 1)
    ends = line[[0, -1], None] + radius[[0, -1], None, None] * _CIRCLE
    return [*pieces, *ends]


def ear(
    inner: tuple[float, float], tip: tuple[float, float], outer: tuple[float, float]
) -> Shape:
    """Return a pointed ear with gently bulging sides."""
    inner, tip, outer = (np.array(p, float) for p in (inner, tip, outer))
    centre = (inner + tip + outer) / 3
    t = np.linspace(0, 1, 7)[:, None]

    def side(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        bend = (start + end) / 2 + 0.3 * ((start + end) / 2 - centre)
        return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end

    return [np.concatenate([side(inner, tip), side(tip, outer)])]


def ruffled(
    shape: Shape, rng: np.random.Generator, *, tuft: float, depth: float
) -> Shape:
    """Turn the first polygon's smooth edge into tufts of fur or leaves.

    Args:
        shape: its outline runs clockwise or not; tufts point away from its middle.
        rng: decides how the tufts differ.
        tuft: length of a tuft along the edge.
        depth: how far tufts stand out.
    """
    line = np.concatenate([shape[0], shape[0][:1]])
    length = np.concatenate(
        [[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    )
    count = max(int(length[-1] / tuft), 6)
    at = (np.arange(2 * count) + 0.3 * rng.random(2 * count)) / (2 * count) * length[-1]
    edge = np.stack([np.interp(at, length, line[:, i]) for i in (0, 1)], 1)
    away = edge - edge.mean(0)
    away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-9
    out = np.where(np.arange(2 * count) % 2, rng.uniform(0.5, 1, 2 * count), -0.3)
    return [edge + depth * out[:, None] * away, *shape[1:]]
