"""See EvenKernel."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class EvenKernel(Rule):
    """A stride-1 convolution has an even kernel.

    ## What it does
    Reports convolutions of stride 1 with an even kernel side.

    ## Why is this bad?
    An even kernel has no centre: the map shifts by half a cell, or padding has to be uneven.

    ## How it is computed
    The kernel is even, above 1, and input and output map differ by less than a factor 1.5, so patch embeddings and
    strided
    down-sampling are passed over.

    ## Example
        even-kernel  conv3: kernel 4x4 at stride 1

    ## Fix
    Use 3 or 5.

    ## Known false positives
    GAN discriminators (PatchGAN) use 4x4 kernels throughout.

    ## References
    Wu et al. 2019, Convolution with even-sized kernels and symmetric padding, arXiv:1903.08385.
    """

    name = "even-kernel"
    code = "NET012"
    category = Category.PEDANTIC

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(
            pl.col("kind").str.contains("^Conv[123]d") & pl.col("kernel").list.eval(pl.element() % 2 == 0).list.any()
        )
        for r in rows.iter_rows(named=True):
            before, after = r["input_shape"], r["output_shape"]
            if before is None or after is None or before[-1] >= 1.5 * after[-1]:
                continue
            size = "x".join(map(str, r["kernel"]))
            yield Finding(
                message=f"{r['layer']} has an even kernel {size} at stride 1: it has no centre, so the map"
                f" shifts by half a cell",
                place=Place(layer=r["layer"]),
                evidence={"kernel": r["kernel"]},
            )
