"""See BiasBeforeNorm."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts
from snellen.network.pairs import norm_pairs


class BiasBeforeNorm(Rule):
    """A bias that the next BatchNorm takes away.

    ## What it does
    Reports convolution and linear layers with a bias whose only reader is a BatchNorm.

    ## Why is this bad?
    BatchNorm subtracts the channel's mean, and with it the bias: the parameter is dead weight, its gradient is zero.

    ## How it is computed
    The layer has a bias and the only consumer of its output is a BatchNorm.

    ## Example
        bias-before-norm  13 layers carry 4 224 biases that BatchNorm subtracts

    ## Fix
    Build the layer with `bias=False`, or `snellen.rewrite(model, ["drop-bias-before-norm"])` for a trained one.

    ## Known false positives
    None; VGG-BN as published does it.

    ## References
    Ioffe & Szegedy 2015, Batch Normalization, sec. 3.2 (the bias can be ignored).
    """

    name = "bias-before-norm"
    code = "NET007"
    category = Category.PEDANTIC

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(
            pl.col("has_bias")
            & pl.col("next_kind").str.contains("^(Sync)?BatchNorm")
            & pl.col("kind").str.contains("^(Conv|Linear)")
        )
        if rows.is_empty():
            return
        names = rows["layer"].to_list()
        plain = {layer for layer, kind in rows.select("layer", "kind").iter_rows() if kind in PLAIN}
        pairs = [list(pair) for pair in norm_pairs(network) if pair[0] in plain]
        edit = {"op": "drop-bias-before-norm", "pairs": pairs} if pairs else {}
        yield Finding(
            message=f"{plural(len(names), 'layer has', 'layers have')} a bias (first: {names[0]}) that the BatchNorm "
            "behind subtracts again: it learns nothing",
            place=Place(layer=names[0]),
            evidence={"layers": names[:20]},
            affected=len(names),
            of=network.layers.filter(pl.col("has_bias").is_not_null()).height,
            fix=Fix(FixSafety.SAFE, "drop the bias and take it from the running mean", edit),
        )


PLAIN = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
"""Kinds that surely use their bias as PyTorch does."""
