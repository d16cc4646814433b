"""Gaussian filtering in any number of dimensions, by the permutohedral lattice.

Adams, Baek and Davis 2010, "Fast high-dimensional filtering using the permutohedral lattice" (Computer Graphics Forum
29(2)). Points are spread over the corners of the simplex they lie in, the corners are blurred along the lattice's
axes, and the points read them again: linear in the number of points, whatever the width of the Gaussian.

Shapes: P points, D features, C values, V corners in use.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float32]


class PermutohedralLattice:
    """The lattice under a set of points; `filter` approximates sum_j exp(-|f_i - f_j|^2 / 2) v_j."""

    def __init__(self, features_PD: NDArray[Any]) -> None:
        """`features_PD`: positions in units of the Gaussian's standard deviation, of any float dtype.

        Raises ValueError where they span more than the lattice can number: 2^62 cells of the box around them.
        """
        points, d = features_PD.shape
        elevated = _elevated(features_PD.astype(np.float64))
        nearest, rank = _simplex(elevated)
        weights = _barycentric(elevated, nearest, rank)
        # Section 3.1: the corner of remainder r lies r steps up in the first coordinates, in order of rank.
        corners = np.arange(d + 1)
        steps = np.where(rank[:, None, :] <= d - corners[:, None], corners[:, None], corners[:, None] - (d + 1))
        keys = (nearest[:, None, :] + steps)[..., :d]
        packed, shifts = _packed(keys.reshape(-1, d))
        self.corners, at = np.unique(packed, return_inverse=True)
        indptr = np.arange(0, points * (d + 1) + 1, d + 1)
        shape = (points, len(self.corners))
        self.splat = csr_array((weights.astype(np.float32).ravel(), at.ravel(), indptr), shape=shape)
        self.neighbours = [(_found(self.corners, -shift), _found(self.corners, shift)) for shift in shifts]
        # The blur weights 1/2, 1, 1/2 add up to 2 along each of the axes, and a corner stands for a volume of
        # (3/2)^(d/2) / sqrt(d + 1): evenly spread points shall add up to the Gaussian's integral, (2 pi)^(d/2).
        self.scale = (4 * np.pi / 3) ** (d / 2) * np.sqrt(d + 1) / 2 ** (d + 1)

    def filter(self, values_PC: Floats) -> Floats:
        """(P, C) -> (P, C) float32."""
        held = self.splat.T @ values_PC
        padded = np.zeros((len(held) + 1, held.shape[1]), np.float32)
        for below, above in self.neighbours:
            # The last row stands for corners that no point touches.
            padded[:-1] = held
            held = held + 0.5 * (padded[below] + padded[above])
        return np.asarray(self.splat @ held * np.float32(self.scale), dtype=np.float32)


def _elevated(x_PD: NDArray[np.float64]) -> NDArray[np.float64]:
    """Onto the plane whose coordinates add up to 0, (P, D + 1), scaled so that one blur is one standard deviation."""
    d = x_PD.shape[1]
    axes = np.arange(1, d + 1)
    scaled = x_PD * ((d + 1) * np.sqrt(2 / 3) / np.sqrt(axes * (axes + 1)))
    tail = np.cumsum(scaled[:, ::-1], axis=1)[:, ::-1]
    elevated = np.zeros((len(x_PD), d + 1))
    elevated[:, :d] = tail
    elevated[:, 1:] -= axes * scaled
    return elevated


def _simplex(elevated: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The remainder-0 corner (P, D + 1) of the simplex around each point, and the rank of each of its coordinates."""
    d = elevated.shape[1] - 1
    rounded = np.rint(elevated / (d + 1)).astype(np.int64)
    over = rounded.sum(axis=1, keepdims=True)
    nearest = rounded * (d + 1)
    order = np.argsort(nearest - elevated, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(d + 1), order.shape), axis=1)
    # Corners must add up to 0: the coordinates rounded the farthest are taken back.
    rank += over
    low, high = rank < 0, rank > d
    nearest += (d + 1) * (low.astype(np.int64) - high.astype(np.int64))
    rank += (d + 1) * (low.astype(np.int64) - high.astype(np.int64))
    return nearest, rank


def _barycentric(
    elevated: NDArray[np.float64], nearest: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(P, D + 1) weights of the simplex's corners, by remainder; they add up to 1."""
    points, columns = elevated.shape
    d = columns - 1
    delta = (elevated - nearest) / (d + 1)
    ordered = np.empty_like(delta)
    np.put_along_axis(ordered, d - rank, delta, axis=1)
    # ordered[k] is the delta of rank d - k: the weights are its differences.
    weights = np.empty((points, d + 1))
    weights[:, 1:] = ordered[:, 1:] - ordered[:, :-1]
    weights[:, 0] = 1 + ordered[:, 0] - ordered[:, d]
    return weights


def _packed(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Each key (M, D) as one number, and how much a step along each of the D + 1 axes of the lattice adds to it."""
    d = keys.shape[1]
    low = keys.min(axis=0) - (d + 1)
    # A margin of a step on either side: no neighbour's number is that of another cell.
    spans = keys.max(axis=0) + (d + 1) - low + 1
    if float(np.prod(spans.astype(np.float64))) > 2.0**62:
        raise ValueError(f"features span {spans.tolist()} cells, too many to number")
    radix = np.concatenate([[1], np.cumprod(spans[:-1])]).astype(np.int64)
    every = int(radix.sum())
    shifts = [every - (d + 1) * int(radix[j]) if j < d else every for j in range(d + 1)]
    return (keys - low) @ radix, shifts


def _found(corners: NDArray[np.int64], shift: int) -> NDArray[np.intp]:
    """Where the corner `shift` further stands; one past the last where it is not in use."""
    wanted = corners + shift
    at = np.searchsorted(corners, wanted)
    at[at == len(corners)] = 0
    return np.where(corners[at] == wanted, at, len(corners))
