"""Exact search for pairs of 64-bit hashes that differ in few bits, without comparing every pair.

Multi-index hashing (Norouzi, Punjani, Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", 2014,
arXiv:1307.2982): the bits are dealt to four bands of 16. Where two hashes differ in at most r bits, some band b differs
in at most t_b, as soon as the sum of the t_b + 1 is r + 1: only hashes whose band values are that close are compared.
The t_b are chosen for the least work on the hashes at hand, a band that nearly all share being left out (t_b = -1).
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numba import njit
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

BANDS = 4
MOST = 12
"""Pairs a hash may be in: low-information pictures resemble thousands, and more of them tell nothing new."""
CHECKS = 6_000_000_000
"""Comparisons a search may take, about 6 s of one core; above it, the radius is lowered. A million hashes that are
spread evenly take half of it at a radius of 8."""


@dataclass(frozen=True)
class Near:
    """Pairs: (P,) positions `first` and `second`, and their `distance` in bits; each pair once."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    distance: NDArray[np.int32]
    radius: int
    """The radius that was searched: the one asked for, or less where that had taken more than CHECKS comparisons."""
    crowded: int
    """Hashes that have MOST others or more near them; only MOST pairs of each are given."""


def within(radius: int, targets_T: Hashes, queries_Q: Hashes, *, symmetric: bool) -> Near:
    """All pairs of a query and a target that differ in at most `radius` bits, save those of equal position.

    Queries and targets are numbered alike: query i is made of what target i is made of. `symmetric` says that query i
    is as far from target j as query j from target i (the queries are the targets, or all mirrored); then the pair
    is given once, with the lower position first. Else `first` are the queries.
    """
    target_bands, query_bands = _bands(targets_T), _bands(queries_Q)
    costs = _costs(query_bands, target_bands, *_masks())
    radius, thresholds = _plan(radius, costs / (2 if symmetric else 1))
    first, second, distance, crowded = _join(
        queries_Q, query_bands, targets_T, target_bands, radius, thresholds, *_masks(), _band_bits(), symmetric, MOST
    )
    return Near(first, second, distance, radius, int(crowded))


def _plan(radius: int, costs_BT: NDArray[np.float64]) -> tuple[int, Ints]:
    """The largest radius that can be afforded, and the cheapest thresholds that find all within it."""
    for lower in range(radius, -1, -1):
        plans = [p for p in product(range(-1, costs_BT.shape[1]), repeat=BANDS) if sum(p) + BANDS == lower + 1]
        cost, plan = min((sum(costs_BT[b, t] for b, t in enumerate(p) if t >= 0), p) for p in plans)
        if cost <= CHECKS:
            return lower, np.array(plan, np.int64)
    return -1, np.full(BANDS, -1, np.int64)


@cache
def _masks() -> tuple[NDArray[np.uint16], Ints]:
    """All 16-bit numbers of up to 3 ones, fewest first, and how many there are of up to 0, 1, 2 and 3 ones."""
    ones = np.array([n.bit_count() for n in range(1 << 16)])
    order = np.argsort(ones, kind="stable").astype(np.uint16)
    return order[: np.count_nonzero(ones <= 3)], np.array([np.count_nonzero(ones <= t) for t in range(4)])


@cache
def _band_bits() -> Hashes:
    """(4,) the bits of each band. Diagonals of the coefficients, so that each has high and low frequencies."""
    bits = [
        sum(1 << (63 - 8 * u - v) for u in range(8) for v in range(8) if (u + v) % BANDS == b) for b in range(BANDS)
    ]
    return np.array(bits, np.uint64)


def _bands(hashes_N: Hashes) -> NDArray[np.uint16]:
    """(4, N) the value of each band."""
    return np.stack([_gather(hashes_N, bits) for bits in _band_bits()])


@njit(cache=True)
def _gather(hashes_N, bits):  # type: ignore[no-untyped-def]
    """The bits of each hash that are set in `bits`, moved together."""
    out = np.empty(len(hashes_N), dtype=np.uint16)
    for n in range(len(hashes_N)):
        value = 0
        for bit in range(64):
            if (bits >> np.uint64(bit)) & np.uint64(1):
                value = 2 * value + int((hashes_N[n] >> np.uint64(bit)) & np.uint64(1))
        out[n] = value
    return out


@njit(cache=True)
def _costs(query_bands, target_bands, masks, upto):  # type: ignore[no-untyped-def]
    """(4, 4) comparisons that band b takes when it may differ in up to t bits."""
    costs = np.zeros((BANDS, len(upto)))
    for b in range(BANDS):
        queries, targets = np.zeros(1 << 16), np.zeros(1 << 16)
        for value in query_bands[b]:
            queries[value] += 1
        for value in target_bands[b]:
            targets[value] += 1
        for value in np.nonzero(queries)[0]:
            for t in range(len(upto)):
                for m in range(0 if t == 0 else upto[t - 1], upto[t]):
                    # A lookup costs about as much as a comparison, even of an empty bucket.
                    costs[b, t] += queries[value] * targets[value ^ masks[m]] + 1
    for t in range(1, len(upto)):
        costs[:, t] += costs[:, t - 1]
    return costs


@njit(cache=True, inline="always")
def _ones(x):  # type: ignore[no-untyped-def]
    """Number of bits set; LLVM knows this form and makes one instruction of it."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True)
def _bucketed(hashes_N, values_N):  # type: ignore[no-untyped-def]
    """Hashes sorted by band value, their positions, and the start of every value."""
    starts = np.zeros((1 << 16) + 1, dtype=np.int64)
    for value in values_N:
        starts[value + 1] += 1
    starts = np.cumsum(starts)
    place = starts[:-1].copy()
    ordered, position = np.empty_like(hashes_N), np.empty(len(hashes_N), dtype=np.int64)
    for n in range(len(hashes_N)):
        at = place[values_N[n]]
        ordered[at], position[at] = hashes_N[n], n
        place[values_N[n]] += 1
    return ordered, position, starts


@njit(cache=True)
def _scan(query, targets, start, end, limit, hits):  # type: ignore[no-untyped-def]
    """Positions of targets[start:end] within `limit` bits of `query`, into `hits` until that is full; their number."""
    found = 0
    for j in range(start, end):
        hits[found] = j
        found += _ones(query ^ targets[j]) <= limit
        if found == len(hits):
            break
    return found


@njit(cache=True, nogil=True)
def _join(queries_Q, query_bands, targets_T, target_bands, radius, thresholds, masks, upto, bits, symmetric, most):  # type: ignore[no-untyped-def]
    pairs = np.empty((1024, 3), dtype=np.int32)
    found = 0
    degree = np.zeros(len(targets_T), dtype=np.int64)
    met = np.zeros(len(targets_T), dtype=np.int64)
    hits = np.empty(16 * most, dtype=np.int64)
    limit = np.uint64(max(radius, 0))
    for b in range(BANDS):
        if thresholds[b] < 0:
            continue
        queries, query_at, query_start = _bucketed(queries_Q, query_bands[b])
        targets, target_at, target_start = _bucketed(targets_T, target_bands[b])
        # In the order of the buckets, so that the innermost loop reads neighbours in memory.
        full = np.empty(len(queries), dtype=np.bool_)
        for i in range(len(full)):
            full[i] = degree[query_at[i]] >= most or met[query_at[i]] >= len(hits)
        for value in range(1 << 16):
            if query_start[value] == query_start[value + 1]:
                continue
            for m in range(upto[thresholds[b]]):
                other = value ^ np.int64(masks[m])
                start, end = target_start[other], target_start[other + 1]
                if start == end:
                    continue
                for i in range(query_start[value], query_start[value + 1]):
                    query, close = queries[i], False
                    # Nearly no bucket holds a neighbour, and this form the compiler turns into vector instructions.
                    for j in range(start, end):
                        close |= _ones(query ^ targets[j]) <= limit
                    if not close or full[i]:
                        continue
                    count = _scan(query, targets, start, end, limit, hits)
                    one = query_at[i]
                    met[one] += count
                    if found + count > len(pairs):
                        pairs = _grown(pairs, 2 * (found + count))
                    found = _keep(
                        one, query, hits[:count], targets, target_at, b, thresholds, bits, symmetric, most,
                        degree, pairs, found,
                    )  # fmt: skip
                    full[i] = degree[one] >= most or met[one] >= len(hits)
    return pairs[:found, 0], pairs[:found, 1], pairs[:found, 2], ((degree >= most) | (met >= len(hits))).sum()


@njit(cache=True)
def _keep(one, query, hits, targets, target_at, b, thresholds, bits, symmetric, most, degree, pairs, found):  # type: ignore[no-untyped-def]
    """Append the hits of query `one` that no earlier band had, as long as neither side has `most` pairs."""
    for j in hits:
        two = target_at[j]
        if one == two or (symmetric and one > two) or degree[one] >= most or degree[two] >= most:
            continue
        apart = query ^ targets[j]
        seen = False
        for earlier in range(b):
            seen |= thresholds[earlier] >= 0 and _ones(apart & bits[earlier]) <= np.uint64(max(thresholds[earlier], 0))
        if not seen:
            pairs[found, 0] = one
            pairs[found, 1] = two
            pairs[found, 2] = _ones(apart)
            found += 1
            degree[one] += 1
            degree[two] += 1
    return found


@njit(cache=True)
def _grown(pairs, size):  # type: ignore[no-untyped-def]
    out = np.empty((size, 3), dtype=np.int32)
    out[: len(pairs)] = pairs
    return out
