"""See FrozenBatchnormUpdates."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed, plural
from snellen.watching.facts import RunFacts


class FrozenBatchnormUpdates(Rule):
    """Batch norm with frozen weights still updates its running statistics.

    ## What it does
    Compares the running mean of batch norm layers whose weights are frozen with that at the start.

    ## Why is this bad?
    The frozen features drift in evaluation: requires_grad does not stop the statistics, only eval() does.

    ## How it is computed
    Fires when the running mean of a batch norm with no trainable weight moved.

    ## Example
        frozen-batchnorm-updates 20 frozen batch norm layers updated their running statistics

    ## Fix
    Put the frozen layers in eval() after every `model.train()`.

    ## Known false positives
    Adapting the statistics to the new data on purpose.

    ## References
    mmpretrain issue 702 (frozen_stages); Keras issue 6977.
    """

    name = "frozen-batchnorm-updates"
    code = "RUN107"
    category = Category.STYLE

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.events.filter(pl.col("kind") == "frozen-statistics-moved")
        if rows.is_empty():
            return
        names = [str(n) for n in rows["layer"]]
        yield Finding(
            message=(
                f"{plural(len(names), 'batch norm layer')} ({listed(names, 3)}) with frozen weights updated their "
                f"running "
                "statistics (limit 0); the frozen layers answer differently in evaluation"
            ),
            place=Place(layer=names[0]),
            evidence={"layers": names[:20], "chain": ["weights frozen", "module in train()", "running mean moved"]},
            affected=len(names),
            fix=Fix(FixSafety.UNSAFE, "call eval() on the frozen layers after model.train()"),
        )
