"""Which images a run of a cross-validation or of a bag is trained on and validated with.

Stone 1974, "Cross-Validatory Choice and Assessment of Statistical Predictions": k parts, each held out once.
Breiman 1996, "Bagging Predictors": as many draws with replacement as there are examples.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.training.recipe import Recipe
from snellen.training.splits import Example, SamplesError, Split, split_examples


def split_of(data: DataFacts, recipe: Recipe) -> Split:
    """The split of `split_examples`, and of it the fold or the bag that `recipe` names. Raises SamplesError as it does,
    and when there are fewer images than folds."""
    split = split_examples(data, recipe.seed, recipe.task)
    if recipe.folds:
        hashes = dict(data.images.select("image", "hash").drop_nulls().iter_rows())
        split = _fold(split, recipe, hashes)
    if recipe.bags:
        split = _bag(split, recipe)
    return split


def _fold(split: Split, recipe: Recipe, hashes: Mapping[str, str]) -> Split:
    """Train and val together, dealt out anew: copies of one file to one fold, the classes as evenly as they go."""
    pool = sorted([*split.train, *split.val], key=lambda e: e.image)
    groups: dict[str, list[Example]] = {}
    for example in pool:
        groups.setdefault(hashes.get(example.image, example.image), []).append(example)
    if len(groups) < recipe.folds:
        raise SamplesError(f"folds: {len(groups)} different images cannot be divided into {recipe.folds} folds")
    strata: dict[int, list[list[Example]]] = {}
    for group in groups.values():
        strata.setdefault(_stratum(group[0]), []).append(group)
    held: set[str] = set()
    dealt = 0
    for key in sorted(strata):
        order = np.random.default_rng((recipe.seed, key + 1, recipe.folds)).permutation(len(strata[key]))
        for i in order:
            # Going on where the class before ended keeps folds of many small classes the same size.
            if dealt % recipe.folds == recipe.fold:
                held |= {e.image for e in strata[key][i]}
            dealt += 1
    part = pl.when(pl.col("image").is_in(list(held))).then(pl.lit("val")).otherwise(pl.lit("train"))
    return replace(
        split,
        train=[e for e in pool if e.image not in held],
        val=[e for e in pool if e.image in held],
        ledger=split.ledger.with_columns(split=pl.when("used").then(part).otherwise("split")),
    )


def _stratum(example: Example) -> int:
    """Its class, or that of its first object, as the 80 : 20 split has it."""
    return example.label if example.label >= 0 else int(example.labels[0]) if len(example.labels) else -1


def _bag(split: Split, recipe: Recipe) -> Split:
    """The training images drawn with replacement by (seed, bag); validation stays as it is."""
    drawn = np.random.default_rng((recipe.seed, recipe.bag, recipe.bags)).integers(
        len(split.train), size=len(split.train)
    )
    train = [split.train[i] for i in sorted(drawn.tolist())]
    missed = sorted({e.image for e in split.train} - {e.image for e in train})
    out = pl.col("image").is_in(missed)
    return replace(
        split,
        train=train,
        ledger=split.ledger.with_columns(
            used=pl.col("used") & ~out,
            split=pl.when(~out).then("split"),
            reason=pl.when(out).then(pl.lit(f"not drawn in bag {recipe.bag}")).otherwise("reason"),
        ),
    )
