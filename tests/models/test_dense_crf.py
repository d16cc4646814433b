"""Dense CRF: the lattice against sums over all pairs, the mean field against brute force, and what it is for."""

import numpy as np
import pytest
from scipy.special import softmax

from snellen.models.segmentation.dense_crf import CrfSettings, dense_crf
from snellen.models.segmentation.permutohedral import PermutohedralLattice


@pytest.mark.parametrize(("dimensions", "within"), [(2, 0.01), (3, 0.02), (5, 0.05)])
def test_the_lattice_filters_as_the_sum_over_all_pairs(dimensions, within):
    rng = np.random.default_rng(dimensions)
    features = rng.uniform(0, 4, (2000, dimensions))
    values = rng.uniform(0, 1, (2000, 3)).astype(np.float32)
    kernel = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(axis=-1))
    lattice = PermutohedralLattice(features)
    found, exact = lattice.filter(values), kernel @ values
    assert np.median(found / exact) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.99
    ones = lattice.filter(np.ones((2000, 1), np.float32))
    assert np.abs(found / ones - exact / kernel.sum(axis=1, keepdims=True)).max() < within


def test_the_lattice_is_linear_and_keeps_points_apart():
    rng = np.random.default_rng(0)
    far = np.concatenate([rng.normal(0, 0.1, (50, 4)), rng.normal(100, 0.1, (50, 4))])
    lattice = PermutohedralLattice(far)
    values = np.zeros((100, 1), np.float32)
    values[:50] = rng.uniform(0, 1, (50, 1))
    assert np.abs(lattice.filter(values)[50:]).max() == 0
    assert np.allclose(lattice.filter(3 * values), 3 * lattice.filter(values), rtol=1e-5)


def test_features_too_wide_to_number():
    features = np.random.default_rng(0).uniform(0, 1e6, (10, 5))
    with pytest.raises(ValueError, match="too many to number"):
        PermutohedralLattice(features)


def scene(seed: int = 0, noise: float = 1.2):
    """Two grey areas with an edge that is no straight line, and probabilities that know it badly."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :32]
    true = (x > 14 + 4 * np.sin(y / 4)).astype(np.int64)
    image = np.where(true[..., None], 170, 60) + rng.integers(-6, 7, (24, 32, 3))
    logits = np.stack([1 - true, true]) * 1.5 + rng.normal(0, noise, (2, 24, 32))
    return true, image.astype(np.uint8), softmax(logits, axis=0)


def brute_force(p, image, s: CrfSettings):
    """Mean field with sums over all pairs of pixels."""
    k, h, w = p.shape
    y, x = (g.ravel() for g in np.mgrid[:h, :w].astype(float))
    place = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    colour = ((image.reshape(-1, 1, 3).astype(float) - image.reshape(1, -1, 3)) ** 2).sum(axis=-1)
    kernels = [
        (s.spatial_weight, np.exp(-place / (2 * s.spatial_sigma**2))),
        (s.bilateral_weight, np.exp(-place / (2 * s.bilateral_sigma**2) - colour / (2 * s.colour_sigma**2))),
    ]
    unary = np.log(p.reshape(k, -1))
    q = p.reshape(k, -1)
    for _ in range(s.iterations):
        energy = unary.copy()
        for weight, kernel in kernels:
            norm = 1 / np.sqrt(kernel.sum(axis=1))
            energy = energy + weight * ((q * norm) @ kernel) * norm
        q = softmax(energy, axis=0)
    return q.reshape(k, h, w)


@pytest.mark.parametrize(
    "settings",
    [
        CrfSettings(bilateral_weight=0.0),
        CrfSettings(spatial_weight=1.0, bilateral_sigma=12.0, bilateral_weight=2.0, iterations=3),
        CrfSettings(iterations=0),
    ],
)
def test_the_mean_field_is_that_of_brute_force(settings):
    _, image, p = scene()
    found, exact = dense_crf(p, image, settings), brute_force(p, image, settings)
    assert found.shape == p.shape
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)
    assert np.abs(found - exact).mean() < 0.01
    assert (found.argmax(axis=0) == exact.argmax(axis=0)).mean() > 0.98


def test_it_mends_what_the_image_shows():
    true, image, p = scene()
    before = (p.argmax(axis=0) == true).mean()
    after = (dense_crf(p, image).argmax(axis=0) == true).mean()
    assert before < 0.9
    assert after > 0.99


def test_certain_probabilities_stay_finite():
    true, image, _ = scene()
    hard = np.stack([1 - true, true]).astype(np.float32)
    found = dense_crf(hard, image)
    assert np.isfinite(found).all()
    assert (found.argmax(axis=0) == true).all()


def test_sizes_must_agree():
    _, image, p = scene()
    with pytest.raises(ValueError, match="24 x 31"):
        dense_crf(p[..., :31], image)
    with pytest.raises(ValueError, match="above 0"):
        CrfSettings(colour_sigma=0)
