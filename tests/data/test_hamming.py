"""The search for near hashes finds exactly what comparing every pair finds, and stays bounded where most are near."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.data import hamming, hashes

Hashes = NDArray[np.uint64]


def scattered(seed: int, count: int, centres: int, flips: int) -> Hashes:
    """`count` hashes, each up to `flips` bits from one of `centres`."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 1 << 63, centres, dtype=np.uint64)[rng.integers(0, centres, count)]
    for _ in range(flips):
        out ^= np.uint64(1) << rng.integers(0, 63, count).astype(np.uint64)
    return out


def every_pair(radius: int, targets: Hashes, queries: Hashes, symmetric: bool) -> dict[tuple[int, int], int]:
    apart = np.bitwise_count(queries[:, None] ^ targets[None, :])
    return {
        (int(i), int(j)): int(apart[i, j])
        for i, j in zip(*np.nonzero(apart <= radius), strict=True)
        if i != j and (i < j or not symmetric)
    }


def found(near: hamming.Near) -> dict[tuple[int, int], int]:
    pairs = list(zip(near.first.tolist(), near.second.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, near.distance.tolist(), strict=True))


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000), radius=st.integers(0, 10), centres=st.integers(20, 200), flips=st.integers(0, 9),
    orientation=st.sampled_from(hashes.ORIENTATIONS),
)  # fmt: skip
def test_finds_what_comparing_every_pair_finds(
    seed: int, radius: int, centres: int, flips: int, orientation: str
) -> None:
    targets = scattered(seed, 200, centres, flips)
    queries = hashes.oriented(targets, orientation)
    symmetric = orientation not in ("turned by 90", "turned by 270")
    near = hamming.within(radius, targets, queries, symmetric=symmetric)
    expected = every_pair(radius, targets, queries, symmetric)
    assert near.radius == radius
    if near.crowded == 0:
        assert found(near) == expected
    else:
        assert found(near).items() <= expected.items()


def test_ten_thousand_alike_give_bounded_pairs_and_say_so() -> None:
    alike = np.unique(scattered(0, 10_000, 1, 5))
    near = hamming.within(8, alike, alike, symmetric=True)
    assert near.crowded > 0.9 * len(alike)
    assert len(near.first) <= hamming.MOST * len(alike)
    assert np.bincount(np.concatenate([near.first, near.second])).max() <= hamming.MOST


def test_a_search_that_would_take_too_long_is_narrowed_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming, "CHECKS", 100_000)
    targets = scattered(1, 2_000, 1_000, 2)
    near = hamming.within(8, targets, targets, symmetric=True)
    assert 0 <= near.radius < 8
    assert near.crowded > 0 or found(near) == every_pair(near.radius, targets, targets, True)


def test_no_hashes() -> None:
    none = np.empty(0, np.uint64)
    assert len(hamming.within(8, none, none, symmetric=True).first) == 0
