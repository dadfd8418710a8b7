"""Draw README's first picture with the network that comes with the series.

    python -m tools.results.picture

Writes notebooks/figures/pretrained.jpg: scikit-image's cat, tinted where the pet is,
and without its background. A pixel that the network calls border goes to pet or
background, whichever has the larger logit.
"""

import sys

import numpy as np
import skimage.data
from PIL import Image

from utils import environment, networks, plots, predict

SIZE = 224  # of the square that the network sees; at 320 it misses some of her chest
GAP = 6  # white pixels between panels


def panels(photo: np.ndarray, model) -> np.ndarray:
    """Return a photo (H, W, 3), tinted where the pet is, and cut out, side by side."""
    logits = predict.predict(model, photo, image_size=SIZE)  # (H, W, 3)
    ids = logits[..., :2].argmax(-1)  # (H, W): 0 pet, 1 background
    tinted = plots.overlay(photo, ids, names=("pet", "background"))
    cut_out = np.where(ids[..., None] == 0, photo, 255)
    gap = np.full((len(photo), GAP, 3), 255)
    return np.uint8(np.concatenate([photo, gap, tinted, gap, cut_out], axis=1))


def main() -> int:
    path = environment.ROOT / "notebooks" / "figures" / "pretrained.jpg"
    try:
        picture = Image.fromarray(panels(skimage.data.chelsea(), networks.pretrained()))
        with environment.replacing(path) as temporary:
            picture.save(temporary, "JPEG", quality=85)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(path.relative_to(environment.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
