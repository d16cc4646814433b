"""See BatchnormTinyBatch."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts
from snellen.watching.facts import RunFacts


class BatchnormTinyBatch(Rule):
    """BatchNorm is trained with very few images per batch.

    ## What it does
    Reports a run that trains BatchNorm layers with fewer images per batch than the limit.

    ## Why is this bad?
    The batch mean and variance are noise at that size: training is unstable and testing, with running averages,
    meets other
    statistics. ResNet-50 on ImageNet loses 10 points of accuracy from batch 32 to 2 per device.

    ## How it is computed
    The median batch size of the run's steps against `images`, when the network has BatchNorm layers. One image
    with a large
    map gives many values, yet they are correlated.

    ## Example
        batchnorm-tiny-batch  53 BatchNorm layers, batches of 2

    ## Fix
    Larger batches, GroupNorm, synchronised or frozen BatchNorm.

    ## Known false positives
    Frozen BatchNorm, which keeps its statistics.

    ## References
    Wu & He 2018, Group Normalization, arXiv:1803.08494, table 2.
    """

    name = "batchnorm-tiny-batch"
    code = "NET106"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        images: int = 4
        """Fewest images per batch; Wu & He see the error rise steeply below 8 and without bound at 2."""

    def check(self, run: RunFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        norms = network.layers.filter(
            pl.col("kind").str.contains("BatchNorm") & (pl.col("calls") > 0) & (pl.col("trainable_params") > 0)
        )
        sizes = run.steps["batch_size"].drop_nulls()
        if norms.is_empty() or sizes.is_empty():
            return
        size = float(sizes.median())  # type: ignore[arg-type]
        if size < self.options.images:
            yield Finding(
                message=f"{plural(norms.height, 'BatchNorm layer is', 'BatchNorm layers are')} trained on batches of "
                f"{size:g} images (fewest: {self.options.images}): batch statistics are noise, and testing meets "
                f"others",
                place=Place(layer=norms["layer"][0]),
                evidence={"batch_size": size, "layers": norms["layer"].to_list()[:20]},
                affected=norms.height,
                of=norms.height,
                fix=Fix(
                    FixSafety.UNSAFE,
                    "use GroupNorm instead",
                    {"op": "batchnorm-to-groupnorm", "layers": norms["layer"].to_list()},
                ),
            )
