"""Whether images that a name or a clock links are truly more alike than images that nothing links."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.data.hashes import ORIENTATIONS, oriented

SAMPLES = 20_000
"""Pairs drawn at random, from which it is learnt how far apart images are."""
RARE = 2.33
"""Standard deviations below the median distance of unrelated pairs from which a pair is alike: one in a hundred is, of
a normal distribution. Both are robust (median, and 1.4826 times the median deviation), for some of the pairs drawn are
related."""
ODDS = 10.0
"""Least ratio of the odds that a linked pair and a pair drawn at random are alike. In a set of few looks many are."""
TOO_FEW = 8
"""Images in either split below which nothing is learnt."""


class Resemblance:
    """Judges links between splits by the images' hashes; deterministic."""

    def __init__(self, data: DataFacts, *, turned: bool = False) -> None:
        """`turned`: images laid in any of the eight orientations count as alike."""
        known = data.images.drop_nulls("phash").select("image", "phash", "class_name")
        self._hashes = dict(known.select("image", "phash").iter_rows())
        self._classes = dict(known.select("image", "class_name").iter_rows())
        self._orientations = ORIENTATIONS if turned else ORIENTATIONS[:1]

    def alike(
        self, links: Sequence[tuple[str, str]], earlier: Sequence[str], later: Sequence[str]
    ) -> list[tuple[str, str]]:
        """Those of `links` that are alike, where links make alike; else none.

        Alike: as near in hash as few pairs drawn at random from the two splits, and from one class where images have
        classes. None too where there are too few to learn from.
        """
        links = [link for link in links if link[0] in self._hashes and link[1] in self._hashes]
        drawn = self._drawn(earlier, later)
        if not links or not drawn:
            return []
        apart, usual = self._distances(links), self._distances(drawn)
        middle = np.median(usual)
        limit = middle - RARE * 1.4826 * np.median(np.abs(usual - middle))
        alike = apart <= limit
        if _odds(alike) < ODDS * _odds(usual <= limit):
            return []
        return [link for link, yes in zip(links, alike.tolist(), strict=True) if yes]

    def _drawn(self, earlier: Sequence[str], later: Sequence[str]) -> list[tuple[str, str]]:
        pools: dict[str | None, list[str]] = {}
        for image in earlier:
            if image in self._hashes:
                pools.setdefault(self._classes[image], []).append(image)
        known = [image for image in later if image in self._hashes and pools.get(self._classes[image])]
        if min(len(known), sum(map(len, pools.values()))) < TOO_FEW:
            return []
        rng = np.random.default_rng(0)
        draws = []
        for position in rng.integers(0, len(known), SAMPLES).tolist():
            pool = pools[self._classes[known[position]]]
            draws.append((pool[int(rng.integers(len(pool)))], known[position]))
        return draws

    def _distances(self, links: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
        first = np.array([self._hashes[one] for one, _ in links], np.uint64)
        second = np.array([self._hashes[other] for _, other in links], np.uint64)
        apart = [np.bitwise_count(oriented(first, o) ^ second) for o in self._orientations]
        return np.min(apart, axis=0).astype(np.int64)


def _odds(yes: NDArray[np.bool_]) -> float:
    """Of a yes, half a yes and half a no added."""
    return (float(yes.sum()) + 0.5) / (float((~yes).sum()) + 0.5)


def by_split(data: DataFacts) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Each two splits, the earlier first, and the images of both."""
    images = {
        split: data.images.filter(pl.col("split") == split)["image"].to_list() for split in ("train", "val", "test")
    }
    present = [split for split, names in images.items() if names]
    for index, first in enumerate(present):
        for second in present[index + 1 :]:
            yield first, second, images[first], images[second]
