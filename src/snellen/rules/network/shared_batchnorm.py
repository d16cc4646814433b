"""See SharedBatchnorm."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts


class SharedBatchnorm(Rule):
    """One BatchNorm is used in several places.

    ## What it does
    Reports BatchNorm layers that one forward pass calls more than once.

    ## Why is this bad?
    While training each call is normalised by its own batch statistics; the running averages mix all of them, and
    testing applies the mixture to every place. Each place then meets statistics that it never saw, and test accuracy
    falls far below what training showed.

    ## How it is computed
    The module is a BatchNorm and ran more than once in one pass. Frozen variants of other classes, which have no
    statistics of their own, are passed over.

    ## Example
        shared-batchnorm  head.norm is called 5 times in one pass

    ## Fix
    One BatchNorm for each place, with the convolution shared if it must be; or GroupNorm, which has no state.

    ## Known false positives
    Several views of the same kind of image through one backbone, whose statistics agree.

    ## References
    Wu & Johnson 2021, Rethinking "Batch" in BatchNorm, arXiv:2105.07576, sec. 5 (RetinaNet's shared head).
    """

    name = "shared-batchnorm"
    code = "NET020"
    category = Category.SUSPICIOUS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(pl.col("kind").str.contains(r"^(Sync)?BatchNorm") & (pl.col("calls") > 1))
        if rows.is_empty():
            return
        names, calls = rows["layer"].to_list(), int(rows["calls"].max())  # type: ignore[arg-type]
        yield Finding(
            message=f"{plural(len(names), 'BatchNorm layer runs', 'BatchNorm layers run')} up to {calls} times in one"
            f" pass (first: {names[0]}): its running averages mix those places, and testing meets the mixture",
            place=Place(layer=names[0]),
            evidence={"layers": names[:20], "calls": rows["calls"].to_list()[:20]},
            affected=len(names),
            of=network.layers.filter(pl.col("kind").str.contains("BatchNorm")).height,
            fix=Fix(FixSafety.UNSAFE, "use GroupNorm there", {"op": "batchnorm-to-groupnorm", "layers": names}),
        )
