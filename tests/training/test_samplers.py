"""How often images come, against the shares they are to have."""

import numpy as np
import pytest
import torch
from torch.utils.data import WeightedRandomSampler

from snellen.training.samplers import class_balanced, cut, epoch_rows, repeat_factors, weighted


def single(counts: list[int]) -> list[np.ndarray]:
    return [np.array([k]) for k, n in enumerate(counts) for _ in range(n)]


def test_balanced_classes_come_equally_often() -> None:
    labels = single([700, 250, 50])
    copies = class_balanced(labels, 3)
    assert copies.sum() == pytest.approx(1000)
    drawn = np.concatenate([epoch_rows(copies, 1000, 4, epoch) for epoch in range(20)]) % 1000
    shares = np.bincount([int(labels[i][0]) for i in drawn]) / len(drawn)
    assert np.abs(shares - 1 / 3).max() < 0.005
    weights = torch.tensor([1 / 700] * 700 + [1 / 250] * 250 + [1 / 50] * 50, dtype=torch.float64)
    torch.manual_seed(0)
    theirs = np.bincount([int(labels[i][0]) for i in WeightedRandomSampler(weights, 20000)]) / 20000
    assert np.abs(shares - theirs).max() < 0.02


def test_an_image_comes_its_expected_number_of_times() -> None:
    rng = np.random.default_rng(1)
    copies = rng.uniform(0, 3, 200)
    total = round(copies.sum())
    times = np.zeros(200)
    for epoch in range(400):
        rows = epoch_rows(copies, 200, 7, epoch)
        assert len(rows) == total
        assert len(set(rows.tolist())) == total  # copies have rows of their own
        here = np.bincount(rows % 200, minlength=200)
        assert (np.abs(here - copies * total / copies.sum()) < 1).all()
        times += here
    assert np.abs(times / 400 - copies * total / copies.sum()).max() < 0.12


def test_repeat_factors_are_those_of_lvis() -> None:
    # 10 images: class 0 in 8, class 1 in 2, class 2 in 1, and one image without objects.
    labels = [np.array([0])] * 6 + [np.array([0, 1]), np.array([0, 1, 1]), np.array([2]), np.array([], dtype=np.int64)]
    factors = repeat_factors(labels, 3, 0.4)
    assert factors.tolist() == pytest.approx([1] * 6 + [2**0.5] * 2 + [2.0, 1.0])
    assert (repeat_factors(labels, 3, 0.05) == 1).all()


def test_weights_of_classes() -> None:
    labels = [np.array([0]), np.array([1]), np.array([0, 1]), np.array([], dtype=np.int64)]
    assert weighted(labels, [1.0, 3.0]).tolist() == pytest.approx([4 / 9, 12 / 9, 12 / 9, 8 / 9])
    with pytest.raises(ValueError, match="class number 1"):
        weighted(labels, [1.0])


def test_rows_depend_on_seed_and_epoch_alone() -> None:
    copies = class_balanced(single([30, 10]), 2)
    first = epoch_rows(copies, 40, 1, 2)
    assert (first == epoch_rows(copies, 40, 1, 2)).all()
    assert not (first == epoch_rows(copies, 40, 1, 3)).all()
    assert not (first == epoch_rows(copies, 40, 2, 2)).all()
    assert sorted(epoch_rows(None, 40, 1, 2).tolist()) == list(range(40))
    assert {len(part) for part in cut(first, 7)} <= {6, 7}
    assert np.concatenate(cut(first, 7)).tolist() == first.tolist()
