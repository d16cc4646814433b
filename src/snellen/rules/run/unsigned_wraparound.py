"""See UnsignedWraparound."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class UnsignedWraparound(Rule):
    """A subtraction in unsigned bytes wrapped around: what should be -1 is 255.

    ## What it does
    Looks whether byte images, given or asked for, get smooth again when the circle of their 256 values is cut
    elsewhere.

    ## Why is this bad?
    Pixels a little darker than the mean come out brighter than all others: shades that were neighbours are at opposite
    ends.

    ## How it is computed
    The mean difference of horizontal neighbours is taken with the values as they are, and with the circle of 256 values
    cut at other places. Fires when another cut lowers it by at least `saved` in at least `batches` batches. Only for
    images with more than 100 of the 256 values and without peaks of pure black and white.

    ## Example
        unsigned-wraparound the input is 71 % smoother when its 256 values are cut elsewhere

    ## Fix
    Convert to float before subtracting: `x.float() - mean`.

    ## Known false positives
    Images of angles and phases, which are circular by nature.

    ## References
    NumPy and PyTorch: arithmetic of uint8 is modulo 256.
    """

    name = "unsigned-wraparound"
    code = "RUN056"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        saved: float = 0.3
        """Share of the roughness; unspoiled images save below 0.05, as their ends are no neighbours."""
        batches: int = 2
        """Batches that have to show it."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the inputs and one for the targets."""
        for role in ("input", "target"):
            yield from self._judge(run, role)

    def _judge(self, run: RunFacts, role: str) -> Iterator[Finding]:
        rows = run.batches.filter((pl.col("role") == role) & (pl.col("phase") == "training")).drop_nulls("wrapped")
        bad = rows.filter(pl.col("wrapped") >= self.options.saved)
        if not bad.height or bad.height < self.options.batches or bad.height < rows.height / 2:
            return
        saved = float(bad["wrapped"].to_numpy().mean())
        yield Finding(
            message=(
                f"the {role} is {saved:.0%} smoother (limit {self.options.saved:.0%}) when the circle of its 256 "
                "values is cut elsewhere: a subtraction of unsigned bytes wrapped around"
            ),
            place=Place(layer=role),
            evidence={"saved": saved, "dtype": bad["dtype"][0], "batches": bad.height},
            fix=Fix(FixSafety.UNSAFE, "x.float() before the subtraction"),
        )
