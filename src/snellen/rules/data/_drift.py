"""Tests of whether a split was drawn from the same images as train."""

from collections.abc import Iterator, Sequence
from math import erfc, sqrt

import numpy as np
import polars as pl

from snellen.findings import Finding, Place


def two_proportions(counts: tuple[int, int], sizes: tuple[int, int]) -> float:
    """Two-sided p value of the pooled z test that two shares are equal, with Yates' continuity correction."""
    pooled = sum(counts) / sum(sizes)
    deviation = sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    if deviation == 0:
        return 1.0
    slack = (1 / sizes[0] + 1 / sizes[1]) / 2
    apart = max(abs(counts[0] / sizes[0] - counts[1] / sizes[1]) - slack, 0.0)
    return erfc(apart / deviation / sqrt(2))


def drifts(
    rows: pl.DataFrame, columns: Sequence[str], min_statistic: float, max_p: float, what: str
) -> Iterator[Finding]:
    """Findings for the `columns` in which val or test differ from train; `rows` has a column split."""
    from scipy.stats import ks_2samp  # half a second to import, which small datasets are spared

    train = rows.filter(pl.col("split") == "train")
    for split in ("val", "test"):
        other = rows.filter(pl.col("split") == split)
        if min(train.height, other.height) < 20:  # below it no statistic of 0.2 reaches p = 1e-6
            continue
        tests = []
        for column in columns:
            pair = [part[column].drop_nulls().to_numpy() for part in (train, other)]
            if min(map(len, pair)):
                outcome = ks_2samp(*pair)
                tests.append((float(outcome.pvalue), column, float(outcome.statistic), pair))
        tests.sort(key=lambda t: t[0])
        for rank, (p, column, statistic, (there, here)) in enumerate(tests):
            if p * (len(tests) - rank) >= max_p:
                break
            if statistic > min_statistic:
                yield Finding(
                    message=f"{column} of {what} is {np.median(here):.3g} in {split} and {np.median(there):.3g} in "
                    "train "
                    f"(Kolmogorov-Smirnov {statistic:.2f}, limit {min_statistic:g}): {split} asks for what train does "
                    "not show",
                    place=Place(split=split),
                    evidence={"property": column, "statistic": statistic, "p": p * (len(tests) - rank)},
                    rank=statistic,
                )
