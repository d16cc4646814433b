"""See NormWithoutShift."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts
from snellen.rules.network._graph import ACTIVATIONS, LayerGraph


class NormWithoutShift(Rule):
    """A norm without scale and shift feeds a layer that has no bias.

    ## What it does
    Reports normalisation layers without affine parameters whose only reader is an activation function, or a
    convolution or linear layer without a bias.

    ## Why is this bad?
    Every channel enters the activation with mean 0 and variance 1 for ever: no unit can move its threshold, so about
    half of each channel is cut whatever it stands for.

    ## How it is computed
    BatchNorm, GroupNorm or LayerNorm with no parameters, which ran, and whose only reader adds no constant.
    Instance norm, whose published use in style transfer is without parameters, is passed over.

    ## Example
        norm-without-shift  bn1 (affine=False) -> relu

    ## Fix
    Build the norm with `affine=True`, or give the next layer a bias.

    ## Known false positives
    Whitening layers of self-supervised heads, where the constant is not wanted.

    ## References
    Ioffe & Szegedy 2015, Batch Normalization, arXiv:1502.03167, sec. 3 (scale and shift restore what the layer can
    represent).
    """

    name = "norm-without-shift"
    code = "NET022"
    category = Category.STYLE

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        graph = LayerGraph(network)
        norms = network.layers.filter(
            pl.col("kind").str.contains(r"^((Sync)?BatchNorm[123]?d?|GroupNorm|LayerNorm)$") & (pl.col("calls") > 0)
        )
        names = []
        for r in norms.filter(pl.col("params") == 0).iter_rows(named=True):
            reader = graph.only_reader((r["layer"], r["kind"], 1))
            if reader is not None and (reader[1] in ACTIVATIONS or graph.rows[reader[:2]]["has_bias"] is False):
                names.append((r["layer"], reader[0]))
        if names:
            yield Finding(
                message=f"{plural(len(names), 'norm')} without scale and shift (first: {names[0][0]}) feed layers"
                f" without a bias (first: {names[0][1]}): no unit can move its threshold",
                place=Place(layer=names[0][0]),
                evidence={"norms": [n for n, _ in names[:20]], "readers": [n for _, n in names[:20]]},
                affected=len(names),
                of=norms.height,
            )
