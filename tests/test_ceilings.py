"""What a coarse grid can hold: references against scikit-image, and properties."""

import numpy as np
import pytest
import skimage.measure
import skimage.transform

from tools.results import ceilings
from utils import metrics


def blobs(seed, photos=2, side=64):
    """Masks with curved outlines: the largest of three smooth random maps."""
    coarse = np.random.default_rng(seed).normal(size=(photos, 5, 5, 3))
    smooth = [skimage.transform.resize(one, (side, side), order=3) for one in coarse]
    return np.argmax(smooth, -1)


def mean_iou(mask, drawn, num_classes=3):
    matrix = metrics.confusion_matrix(mask, drawn, num_classes)
    return float(metrics.scores(matrix)["mean_iou"])


@pytest.mark.parametrize("stride", [4, 16])
def test_reduced_is_shares_enlarged_as_by_scikit_image(stride):
    mask = blobs(0)
    mask[0, :10, :10] = 255
    for one, drawn in zip(mask, ceilings.reduced(mask, stride, 3), strict=True):
        shares = np.stack([one == c for c in range(3)], -1).astype(float)
        cells = skimage.measure.block_reduce(shares, (stride, stride, 1), np.mean)
        enlarged = skimage.transform.resize(cells, shares.shape, order=1, mode="edge")
        first, second = np.sort(enlarged, -1)[..., :-3:-1].transpose(2, 0, 1)
        clear = first - second > 1e-5  # ties may go either way
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(drawn[clear], enlarged.argmax(-1)[clear])


@pytest.mark.parametrize("reference", [ceilings.reduced, ceilings.fitted])
def test_a_grid_of_single_pixels_holds_everything(reference):
    mask = blobs(1, side=32)
    np.testing.assert_array_equal(reference(mask, 1, 3), mask)


def drawn_from_a_grid(cells):
    """Return the mask that cells (B, h, w, C) of 16 pixels draw when enlarged."""
    enlarged = [
        skimage.transform.resize(one, (64, 64), order=1, mode="edge") for one in cells
    ]
    return np.argmax(enlarged, -1)


def test_fitted_finds_what_a_grid_can_hold():
    """A mask that was drawn from a grid, so the best is known: all of it."""
    mask = drawn_from_a_grid(np.random.default_rng(2).normal(size=(2, 4, 4, 3)))
    fitted = mean_iou(mask, ceilings.fitted(mask, 16, 3))
    assert fitted > 0.97
    assert fitted > mean_iou(mask, ceilings.reduced(mask, 16, 3)) + 0.05


def test_fitted_is_better_the_finer_the_grid_and_never_below_reduced():
    mask = blobs(3)
    mask[:, ::8] = np.where(mask[:, ::8] == 0, 2, mask[:, ::8])  # thin lines
    best = [mean_iou(mask, ceilings.fitted(mask, s, 3)) for s in (32, 16, 8)]
    shares = [mean_iou(mask, ceilings.reduced(mask, s, 3)) for s in (32, 16, 8)]
    assert best[0] < best[1] < best[2]
    assert all(fitted > reduced for fitted, reduced in zip(best, shares, strict=True))


def test_void_is_not_fitted():
    """A patch of noise spoils the fit around it; the same patch void does not."""
    generator = np.random.default_rng(4)
    mask = drawn_from_a_grid(generator.normal(size=(2, 4, 4, 3)))
    noisy, void = mask.copy(), mask.copy()
    noisy[:, 24:40, 24:40] = generator.integers(0, 3, (2, 16, 16))
    void[:, 24:40, 24:40] = 255
    scores = {
        name: mean_iou(void, ceilings.fitted(given, 16, 3))
        for name, given in (("void", void), ("noisy", noisy))
    }
    assert scores["void"] > 0.97
    assert scores["void"] > scores["noisy"] + 0.01


@pytest.mark.parametrize("reference", [ceilings.reduced, ceilings.fitted])
def test_a_mask_of_broken_cells_is_refused(reference):
    with pytest.raises(ValueError, match="whole cells of 32 pixels"):
        reference(np.zeros((1, 64, 65), int), 32, 3)
