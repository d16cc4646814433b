"""Where a model fails: segments found by a decision tree in one half of the images and confirmed in the other half.

A tree of depth 3 proposes (Chung et al., Slice Finder, ICDE 2019, section 3.1); every proposal is tested on images
that the tree did not see, with a standard error that takes the objects of one image for one draw, and the p-values are
adjusted by Holm: if the failures have nothing to do with the properties, the chance of any segment is below alpha.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from snellen.evaluation.facts import SEGMENTS
from snellen.evaluation.pairs import Bools, Floats, Ints
from snellen.evaluation.properties import numeric_columns
from snellen.evaluation.significance import holm, two_sided
from snellen.facts import table

ALPHA = 0.05
DEPTH = 3
MIN_COUNT = 20
"""Records and images of a segment in either half; fewer are not tested."""
MIN_FAILED = 20
"""Failures in all: with fewer there is nothing to divide."""
MIN_RATIO = 1.3
"""Share failed against that of the rest, in the half that proposes: smaller differences are not worth a test."""
MAX_SHARE = 0.5
"""Of the records: of a larger segment the rest is the exception."""
MOST_RECORDS = 50_000
MOST_SEGMENTS = 5
UNITS = {"size": " px", "width": " px", "height": " px"}


@dataclass(frozen=True)
class _Condition:
    feature: str
    low: float
    """The values are above it."""
    high: float
    """And at most this."""

    def words(self) -> str:
        if "=" in self.feature:
            name, value = self.feature.split("=", 1)
            return f"{name} is {'not ' if self.high < 1 else ''}{value}"
        if self.feature == "border":
            return "inside the image" if self.high < 1 else "at the border"
        unit, low, high = UNITS.get(self.feature, ""), f"{self.low:g}", f"{self.high:g}"
        if self.low == -np.inf:
            return f"{self.feature} up to {high}{unit}"
        if self.high == np.inf:
            return f"{self.feature} above {low}{unit}"
        return f"{self.feature} {low} to {high}{unit}"


def object_segments(
    objects: pl.DataFrame,
    threshold: float | None,
    image_properties: pl.DataFrame | None,
    seed: int = 0,
) -> pl.DataFrame:
    """Segments of the objects that are not found at `threshold`; `objects` is the facts' table.

    Properties: size (square root of the area, px), aspect, border, neighbours, crowding, class and the numeric columns
    of `image_properties`.
    """
    real = objects.filter(~pl.col("crowd"))
    shown = pl.col("found") & (pl.col("score") >= (2.0 if threshold is None else threshold))
    features: dict[str, Any] = {
        "size": real["area"].sqrt(),
        **{name: real[name] for name in ("aspect", "border", "neighbours", "crowding")},
    }
    failed = real.select((~shown).fill_null(True)).to_series().to_numpy()
    return find_segments(_columns(features, real, image_properties), failed, real["image"].to_list(), seed=seed)


def image_segments(predictions: pl.DataFrame, image_properties: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Segments of the images that are wrongly classified; `predictions` is the facts' table of a classifier."""
    failed = (predictions["outcome"] != "correct").to_numpy()
    columns = _columns(
        {}, predictions.rename({"class_name": "predicted", "true_class": "class_name"}), image_properties
    )
    return find_segments(columns, failed, predictions["image"].to_list(), seed=seed)


def find_segments(
    features: Mapping[str, Floats], failed: Bools, images: Sequence[str], *, seed: int = 0
) -> pl.DataFrame:
    """The table `segments` of records with `features` (each (n,), a name with `=` is 0 or 1) and `failed` (n,).

    `images` (n,) names the image of each record: halves are made of whole images.
    """
    names, codes = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    if len(failed) > MOST_RECORDS:
        share = MOST_RECORDS / len(failed)
        kept = np.flatnonzero((rng.random(len(names)) < share)[codes])
    else:
        kept = np.arange(len(failed))
    codes, fails = codes[kept], failed[kept].astype(np.float64)
    columns = {name: values[kept] for name, values in features.items()}
    columns = {name: v for name, v in columns.items() if len(v) and not np.isnan(v).any() and v.min() < v.max()}
    if fails.sum() < MIN_FAILED or not columns:
        return table(SEGMENTS)
    proposing = (rng.permutation(len(names)) % 2 == 0)[codes]
    proposals = _propose(columns, fails, codes, proposing)
    tested = []
    for conditions in proposals:
        inside = _inside(columns, conditions)[~proposing]
        result = _difference(fails[~proposing], inside, codes[~proposing])
        if result is not None:
            tested.append((conditions, inside, *result))
    adjusted = holm([p for *_, p in tested])
    rows: list[dict[str, Any]] = []
    taken = np.zeros(int((~proposing).sum()), dtype=bool)
    own, own_codes = fails[~proposing], codes[~proposing]
    order = sorted(range(len(tested)), key=lambda i: -tested[i][2])
    for i in order:
        conditions, inside, t, _ = tested[i]
        # A part of a segment, or a whole that a part explains, is not told again.
        if t <= 0 or adjusted[i] > ALPHA or (inside & taken).any() or len(rows) == MOST_SEGMENTS:
            continue
        taken |= inside
        rate = own[~inside].mean()
        worst = own_codes[inside & (own == 1)]
        shown = [str(names[c]) for c in dict.fromkeys(worst.tolist())][:10]
        rows.append(
            {
                "segment": " and ".join(c.words() for c in conditions),
                "count": int(inside.sum()),
                "failed": int(own[inside].sum()),
                "others": int((~inside).sum()),
                "others_failed": int(own[~inside].sum()),
                "p": adjusted[i],
                "excess": float((own[inside].sum() - rate * inside.sum()) / own.sum()),
                "images": shown,
            }
        )
    return table(SEGMENTS, sorted(rows, key=lambda row: -row["excess"]))


def _columns(
    features: dict[str, Any], records: pl.DataFrame, image_properties: pl.DataFrame | None
) -> dict[str, Floats]:
    """Float columns; classes with enough records as `class=name`."""
    columns = {name: v.cast(pl.Float64).fill_null(float("nan")).to_numpy() for name, v in features.items()}
    counts = records["class_name"].value_counts(sort=True).filter(pl.col("count") >= 2 * MIN_COUNT)
    if records["class_name"].n_unique() > 1:
        for name in counts["class_name"].head(100).to_list():
            columns[f"class={name}"] = (records["class_name"] == name).cast(pl.Float64).to_numpy()
    if image_properties is not None:
        wanted = numeric_columns(image_properties)
        joined = records.select("image").join(
            image_properties.select("image", *wanted).unique("image", keep="first"),
            on="image", how="left", maintain_order="left",
        )  # fmt: skip
        columns |= {name: joined[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in wanted}
    return columns


def _propose(columns: Mapping[str, Floats], failed: Floats, codes: Ints, proposing: Bools) -> list[list[_Condition]]:
    """Every node of a tree on one half that fails more than the rest, as conditions with rounded thresholds."""
    from sklearn.tree import DecisionTreeClassifier

    names = list(columns)
    x = np.stack([columns[name][proposing] for name in names], axis=1)
    y = failed[proposing]
    least = max(MIN_COUNT, len(y) // 50)
    if len(y) < 2 * least or y.min() == y.max():
        return []
    tree = DecisionTreeClassifier(max_depth=DEPTH, min_samples_leaf=least, random_state=0).fit(x, y).tree_
    found: list[list[_Condition]] = []

    def walk(node: int, bounds: dict[str, tuple[float, float]]) -> None:
        if bounds:
            conditions = [_Condition(name, *limits) for name, limits in bounds.items()]
            inside = _inside(columns, conditions) & proposing
            rest = proposing & ~inside
            small = 0 < inside.sum() <= MAX_SHARE * proposing.sum()
            if small and rest.any() and failed[inside].mean() > MIN_RATIO * failed[rest].mean():
                found.append(conditions)
        if tree.children_left[node] < 0:
            return
        name = names[tree.feature[node]]
        cut = float(f"{tree.threshold[node]:.3g}")
        low, high = bounds.get(name, (-np.inf, np.inf))
        walk(tree.children_left[node], {**bounds, name: (low, min(high, cut))})
        walk(tree.children_right[node], {**bounds, name: (max(low, cut), high)})

    walk(0, {})
    return found


def _inside(columns: Mapping[str, Floats], conditions: Sequence[_Condition]) -> Bools:
    inside = np.ones(len(next(iter(columns.values()))), dtype=bool)
    for c in conditions:
        inside &= (columns[c.feature] > c.low) & (columns[c.feature] <= c.high)
    return inside


def _difference(failed: Floats, inside: Bools, codes: Ints) -> tuple[float, float] | None:
    """(t, p) of the share failed inside minus outside; None with too few records or images on either side.

    The standard error is the larger of that of independent records under no difference and that of the difference
    linearised, summed by image (Taylor linearisation for clusters); degrees of freedom: images inside - 1.
    """
    counts = int(inside.sum()), int((~inside).sum())
    clusters = len(np.unique(codes[inside])), len(np.unique(codes[~inside]))
    if min(*counts, *clusters) < MIN_COUNT:
        return None
    one, other, both = failed[inside].mean(), failed[~inside].mean(), failed.mean()
    pull = np.where(inside, (failed - one) / counts[0], -(failed - other) / counts[1])
    by_image = np.bincount(codes, pull)
    images = len(np.unique(codes))
    clustered = np.sum(by_image**2) * images / (images - 1)
    pooled = both * (1 - both) * (1 / counts[0] + 1 / counts[1])
    error = float(np.sqrt(max(clustered, pooled)))
    difference = float(one - other)
    if error == 0:
        return None
    return difference / error, two_sided(difference, error, min(clusters) - 1)
