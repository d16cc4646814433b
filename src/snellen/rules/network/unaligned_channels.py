"""See UnalignedChannels."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.network.facts import NetworkFacts


class UnalignedChannels(Rule):
    """Channel counts are no multiples of 8.

    ## What it does
    Reports convolution and linear layers with a channel count that is not divisible by `multiple`.

    ## Why is this bad?
    Half-precision matrix units work on blocks of 8 channels; other counts are padded or take slower kernels.

    ## How it is computed
    Rows and columns of the weights of ungrouped layers, from `least` channels up. The number of image channels and the
    head's number of classes are given, and passed over.

    ## Example
        unaligned-channels  6 layers, first conv2: 54 channels

    ## Fix
    Round the width up to the next multiple of 8.

    ## Known false positives
    Networks that never run in half precision, and libraries that pad by themselves at no cost.

    ## References
    NVIDIA, Deep Learning Performance Guide: Convolutional Layers (channels divisible by 8 for FP16).
    """

    name = "unaligned-channels"
    code = "NET025"
    category = Category.PEDANTIC

    class Options(RuleOptions):
        """Thresholds."""

        multiple: int = 8
        """Channels of a block: 8 for FP16 and BF16, 16 for INT8."""
        least: int = 16
        """Channels; narrower layers do not fill the unit anyway."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(
            pl.col("kind").str.contains(r"^(Conv|Linear)") & (pl.col("groups").fill_null(1) == 1)
        )
        shapes = network.parameters.filter(pl.col("parameter").str.ends_with("weight")).select("layer", "shape")
        odd = {}
        joined = rows.select("layer").join(shapes, on="layer", maintain_order="left")
        for layer, shape in joined.iter_rows():
            widths = [
                n
                for n in shape[:2]
                if n >= self.options.least and n % self.options.multiple and n != network.num_outputs
            ]
            if widths:
                odd[layer] = widths[0]
        if odd:
            layer, width = next(iter(odd.items()))
            yield Finding(
                message=f"{plural(len(odd), 'layer has', 'layers have')} a channel count that is no multiple of"
                f" {self.options.multiple} (first: {layer} with {width}): half-precision matrix units idle",
                place=Place(layer=layer),
                evidence={"layers": dict(list(odd.items())[:20])},
                affected=len(odd),
                of=rows.height,
            )
