"""See CheckerboardUpsampling."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class CheckerboardUpsampling(Rule):
    """A transposed convolution's kernel is not divisible by its stride.

    ## What it does
    Reports transposed convolutions of a stride above 1 whose kernel is no multiple of the stride.

    ## Why is this bad?
    Neighbouring output cells are then made by different numbers of kernel elements, so that a constant input comes out
    as a checkerboard before anything is learned, and gradients carry the same pattern into the layers in front.

    ## How it is computed
    Along each axis an output cell is reached by ceil(k/s) or floor(k/s) kernel elements; they differ when k mod s > 0.

    ## Example
        checkerboard-upsampling  up1: a kernel of 3x3 at stride 2x2 reaches cells 4, 2 or 1 times

    ## Fix
    A kernel of s or 2s, or nearest-neighbour upsampling followed by a stride-1 convolution.

    ## Known false positives
    Generators that learn the pattern away; CycleGAN and DCGAN variants use 3x3 at stride 2.

    ## References
    Odena, Dumoulin & Olah 2016, Deconvolution and Checkerboard Artifacts, Distill, doi:10.23915/distill.00003.
    """

    name = "checkerboard-upsampling"
    code = "NET017"
    category = Category.SUSPICIOUS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(pl.col("kind").str.contains("ConvTranspose") & (pl.col("calls") > 0))
        for r in rows.iter_rows(named=True):
            pairs = list(zip(r["kernel"] or [], r["step"] or [], strict=False))
            uneven = [(k, s) for k, s in pairs if s > 1 and k % s]
            if not uneven:
                continue
            kernel, stride = ("x".join(str(pair[i]) for pair in pairs) for i in (0, 1))
            yield Finding(
                message=f"{r['layer']} has a kernel of {kernel} at stride {stride}, not a multiple of it: along an axis"
                f" {-(-uneven[0][0] // uneven[0][1])} kernel elements reach one output cell and"
                f" {uneven[0][0] // uneven[0][1]} the next, a checkerboard",
                place=Place(layer=r["layer"]),
                evidence={"kernel": r["kernel"], "stride": r["step"]},
            )
