"""See MissingNonlinearity."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts

WEIGHTED = r"^(Conv|Linear|aten\.(convolution|addmm|mm)$)"
LINEAR = (
    r"^(Conv|Linear$|NonDynamicallyQuantizableLinear$|(Sync)?BatchNorm[123]?d?$|AvgPool|AdaptiveAvgPool|MaxPool|Identity$"
    r"|Dropout|Flatten$|Unflatten$|Upsample|ZeroPad|ConstantPad|ReflectionPad|ReplicationPad|PixelShuffle|PixelUnshuffle"
    r"|Sequential$|aten\.(convolution|addmm|mm|add|add_|sub|sub_|cat|mean|sum|upsample_.*|native_batch_norm|avg_pool2d"
    r"|_adaptive_avg_pool2d|max_pool2d_with_indices|neg|native_dropout)$)"
)
"""Kinds that are linear, or (max pooling) no activation."""


class MissingNonlinearity(Rule):
    """The network has weight layers and no activation function.

    ## What it does
    Reports a network of two or more weight layers with nothing non-linear before the last of them.

    ## Why is this bad?
    A chain of linear maps is one linear map: the depth costs compute and buys nothing.

    ## How it is computed
    Every layer and operator that ran before the last convolution or linear layer is of a kind known to be linear
    or affine
    (convolution, linear, batch norm, average pooling, sum, concatenation ...). Max pooling alone does not count as an
    activation. Anything unknown counts as one, so the rule speaks only when it is sure.

    ## Example
        missing-nonlinearity  5 weight layers and no activation between them

    ## Fix
    Put an activation such as ReLU after every layer but the last.

    ## Known false positives
    Networks that are linear on purpose, such as linear autoencoders and studies of deep linear nets.

    ## References
    Goodfellow, Bengio & Courville 2016, Deep Learning, sec. 6.1; 6.1's XOR example.
    """

    name = "missing-nonlinearity"
    code = "NET008"
    category = Category.CORRECTNESS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        ran = network.layers.filter(pl.col("order").is_not_null()).sort("order")
        weighted = ran.filter((pl.col("macs") > 0) & pl.col("kind").str.contains(WEIGHTED))
        if weighted.height < 2:
            return
        before = ran.filter(pl.col("order") < weighted["order"][-1])
        if (before["kind"].str.contains(LINEAR)).all():
            names = weighted["layer"].to_list()
            yield Finding(
                message=f"{len(names)} weight layers from {names[0]} to {names[-1]} and no activation function"
                f" between them: together"
                " they are one linear layer",
                place=Place(layer=names[0]),
                evidence={"layers": names[:20]},
                affected=len(names),
                of=len(names),
            )
