"""See EarlyLayersFillMemory."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class EarlyLayersFillMemory(Rule):
    """The first layers hold most of the activation memory.

    ## What it does
    Reports networks in which the layers on the finest maps hold more than the limit of all activation bytes.

    ## Why is this bad?
    These few layers decide how large a batch fits the card, though they hold few weights and are cheap to compute.

    ## How it is computed
    Bytes of the outputs of layers whose cells are less than `stride` input pixels apart, against those of all layers
    whose cell size is known.

    ## Example
        early-layers-fill-memory  12 layers below stride 4 hold 71 % of the activations

    ## Fix
    Checkpoint those layers (`torch.utils.checkpoint`): recomputing them costs little; or a strided stem.

    ## Known false positives
    U-Nets and other networks that have to end at full resolution.

    ## References
    Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, arXiv:1604.06174, sec. 4.
    """

    name = "early-layers-fill-memory"
    code = "NET024"
    category = Category.PEDANTIC

    class Options(RuleOptions):
        """Thresholds."""

        stride: float = 4.0
        """Input pixels between cells below which a layer counts as early; stems of classifiers end at 4."""
        share: float = 0.6
        """Share of the activation bytes, 0..1; ResNet-50 holds 0.06 there, VGG-16 0.69."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        known = network.layers.filter(pl.col("stride").is_not_null() & (pl.col("activation_bytes") > 0))
        early = known.filter(pl.col("stride") < self.options.stride)
        total, held = int(known["activation_bytes"].sum()), int(early["activation_bytes"].sum())
        if total == 0 or early.height == known.height or held <= self.options.share * total:
            return
        largest = early.sort("activation_bytes", descending=True, maintain_order=True)["layer"].to_list()
        macs = int(early["macs"].sum()) / max(network.macs, 1)
        yield Finding(
            message=f"{early.height} of {known.height} layers, on maps finer than stride {self.options.stride:g}, hold"
            f" {held / total:.0%} of the activation bytes (limit {self.options.share:.0%}) and {macs:.0%} of the"
            f" multiply-adds: they decide the batch size",
            place=Place(layer=largest[0]),
            evidence={"layers": largest[:20], "bytes": held, "total": total},
            affected=early.height,
            of=known.height,
        )
