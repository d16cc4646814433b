"""See TieBroken."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.watching.facts import RunFacts


class TieBroken(Rule):
    """Embedding and head began with equal weights and part: the tie between them is broken.

    ## What it does
    Reports a linear layer whose weight equalled an embedding's before the first step, is another parameter, and no
    longer equals it.

    ## Why is this bad?
    Weights were copied where they should be shared: both train on their own, with twice the memory, and a checkpoint
    that ties them again loses one.

    ## How it is computed
    Values of trainable embeddings and linear layers of the same shape are compared before the first step and at the
    end. Random weights are never equal by chance.

    ## Example
        tie-broken head began equal to embed and is 3 % of its norm away from it now

    ## Fix
    `head.weight = embed.weight`, after the last `.to()`, initialisation or wrapping.

    ## Known false positives
    A copy that is meant as a mere start.

    ## References
    Press & Wolf 2017, Using the Output Embedding to Improve Language Models, arXiv:1608.05859.
    """

    name = "tie-broken"
    code = "RUN116"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield one finding for each pair."""
        for row in run.events.filter(pl.col("kind") == "tie-broken").iter_rows(named=True):
            yield Finding(
                message=f"{row['message']} (limit 0): the weights were copied, not shared, and train apart",
                place=Place(layer=row["layer"]),
                evidence={"distance": row["value"]},
                fix=Fix(FixSafety.UNSAFE, f"share the parameter: {row['layer']}.weight = embedding.weight"),
            )
