"""One picture and its trimap, from nothing but a seed and a number.

image, trimap = draw("tabby_cat", seed=0, index=17)
"""

import math

import numpy as np
from PIL import Image, ImageFilter
from skimage import morphology

from data.synthetic_pets import animals, bodies, coats, scenes, things
from data.synthetic_pets.canvas import Canvas, Pen, Sketch, spread

PET, BACKGROUND, BORDER = 1, 2, 3
BREEDS = tuple(
    f"{pattern}_{species}" for species in ("cat", "dog") for pattern in coats.PATTERNS
)
_INSIDE, _OUTSIDE = 2.0, 3.0  # the border, in pixels to either side of the outline
_SHARES = (0.12, 0.62)  # how much of a picture the pet's silhouette may fill


def draw(breed: str, *, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture of a cat or dog.

    Args:
        breed: one of `BREEDS`.
        seed: of the set.
        index: of the picture in the set.

    Returns:
        (H, W, 3) uint8 picture and (H, W) uint8 trimap of 1 pet, 2 background, 3
        border; the longer side has 144 to 184 px.

    Introduced in notebook 00.

    """
    for attempt in range(100):
        rng = np.random.default_rng([seed, index, attempt])
        canvas = _compose(breed, rng)
        if _SHARES[0] < (canvas.pet > 0.5).mean() < _SHARES[1]:
            break
    return _photographed(canvas.rgb, rng), trimap(canvas.pet > 0.5)


def trimap(pet: np.ndarray) -> np.ndarray:
    """Return 1 pet, 2 background and 3 border, a band of 5 px along the outline.

    Args:
        pet: (H, W) bool.

    Returns:
        (H, W) uint8.

    Introduced in notebook 00.

    """
    inside = morphology.isotropic_erosion(pet, _INSIDE)
    reached = morphology.isotropic_dilation(pet, _OUTSIDE)
    return np.where(inside, PET, np.where(reached, BORDER, BACKGROUND)).astype(np.uint8)


def _compose(breed: str, rng: np.random.Generator) -> Canvas:
    """Draw scene, animal and what hides it."""
    long = int(rng.integers(144, 185))
    short = int(long * rng.uniform(0.66, 0.95))
    width, height = (long, short) if rng.random() < 0.6 else (short, long)
    turn = math.radians(rng.uniform(-155, -25))
    canvas = Canvas(width, height, (math.cos(turn), math.sin(turn)))
    pattern, species = breed.split("_")
    animal = animals.random_animal(species, pattern, rng)
    pose = bodies.POSES[rng.integers(len(bodies.POSES))]

    pen = Pen(canvas, np.array([[height, 0, 0], [0, height, 0]], float))
    stage = things.Stage(pen, width / height, animal.coat, rng)
    ground = scenes.SCENES[rng.integers(len(scenes.SCENES))](stage)
    if rng.random() < 0.3:  # out of focus
        _blur(canvas, rng.uniform(0.3, 1.3))

    sketch = Sketch()
    start = Pen(sketch, np.eye(2, 3), truth=1.0)
    body = start.moved(
        0, 0, angle=rng.normal(0, 0.07), mirrored=bool(rng.random() < 0.5)
    )
    head = body.matrix @ (*pose(body, animal, rng), 1)
    bounds = sketch.bounds()
    x, y, size = _place(bounds, head, animal.head, width / height, ground, rng)
    feet = x + size * bounds[:, 0].mean()
    reach = size * np.diff(bounds[:, 0])[0] / 2
    things.shadow(pen, feet, y, 0.95 * reach, 0.45)
    sketch.onto(pen.moved(x, y, scale=size))
    if rng.random() < 0.3:
        things.hide(stage, feet, y, 0.8 * reach)
    if rng.random() < 0.3:  # a shaky hand
        _blur(canvas, rng.uniform(0.3, 0.8))
    return canvas


def _place(
    bounds: np.ndarray,
    head: np.ndarray,
    radius: float,
    wide: float,
    ground: float,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Decide where an animal goes: all of it, or the head from close by.

    Args:
        bounds: ((left, top), (right, bottom)) of the animal, in its own unit.
        head: (x, y) of its head.
        radius: of its head.
        wide: width of the picture; its height is 1.
        ground: the height of the scene's ground, from the top.
        rng: decides.

    Returns:
        Where its origin goes (x, y), and how long its unit becomes.

    """
    (left, top), (right, bottom) = bounds
    fits = min(wide / (right - left), 0.95 / (bottom - top))
    if rng.random() < 0.28:
        size = min(fits * rng.uniform(1.25, 2.2), 0.27 * min(wide, 1) / radius)
        at = (wide * rng.uniform(0.35, 0.65), rng.uniform(0.36, 0.48))
        x, y = at - size * head
        return x, max(y, ground), size  # never above the ground
    size = fits * rng.uniform(0.78, 1.12)
    slack = wide - size * (right - left)
    x = slack * (rng.uniform(0.1, 0.9) if slack > 0 else 0.5) - size * left
    return x, max(ground, 0.03 - size * top), size


def _blur(canvas: Canvas, radius: float) -> None:
    picture = Image.fromarray(_bytes(canvas.rgb)).filter(
        ImageFilter.GaussianBlur(radius)
    )
    canvas.rgb[:] = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255


def _bytes(rgb: np.ndarray) -> np.ndarray:
    """Return (3, H, W) of 0..1 as (H, W, 3) uint8."""
    rounded = (rgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def _photographed(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return bytes after what light and a camera do: falloff, tint, exposure, noise."""
    height, width = rgb.shape[1:]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    lit = 1 - rng.uniform(0, 0.18) * (x**2 + y**2) + rng.normal(0, 0.07) * x
    tint = spread(rng.uniform(0.88, 1.1) * (1 + rng.normal(0, 0.02, 3)))
    noise = rng.standard_normal((height, width), np.float32) * rng.uniform(0.003, 0.014)
    return _bytes(rgb * lit * tint + noise)
