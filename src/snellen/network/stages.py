"""Which layers stand for a network that names no levels: the last one at each stride."""

from math import prod

import polars as pl

from snellen.network.facts import NetworkFacts

MOST = 4


def stages(facts: NetworkFacts) -> list[str]:
    """The last module at each stride that gives a map or tokens of more than one place, the coarsest `MOST`."""
    last: dict[float, str] = {}
    modules = facts.layers.filter(pl.col("order").is_not_null() & ~pl.col("kind").str.contains(".", literal=True))
    for row in modules.sort("order").iter_rows(named=True):
        shape = row["output_shape"] or []
        places = prod(shape[2:]) if len(shape) == 4 else shape[1] if len(shape) == 3 else 1
        if row["stride"] is not None and places > 1 and row["stride"] > 1:
            last[row["stride"]] = row["layer"]
    return [last[stride] for stride in sorted(last)][-MOST:]
