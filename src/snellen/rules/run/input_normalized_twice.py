"""See InputNormalizedTwice."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import number
from snellen.watching.facts import RunFacts


class InputNormalizedTwice(Rule):
    """The input was normalised two times.

    ## What it does
    Undoes the same normalisation twice and looks whether raw data comes out.

    ## Why is this bad?
    The second time squeezes the data by the deviation of the raw one and moves it off 0; a pretrained network sees
    images it never saw, another one learns slowly or not at all.

    ## How it is computed
    Normalising data of mean m and deviation s gives mean 0 and deviation 1; doing it again gives mean -m/s and
    deviation 1/s. So s = 1/std and m = -mean s are known, and (z s + m) s + m is the raw data. Fires when m is
    positive, the mean is at least `least_offset`, and the raw data begins at 0 (within `tolerance` of its range)
    and either ends at 1 or 255 or the mean of what the network gets is more than `far` deviations below 0. Fires, too,
    when the deviation of the training inputs changes from epoch to epoch by one factor, `factor` or more each time in
    at least `changes` of them: the data itself is scaled anew in each epoch, in place.

    ## Example
        input-normalized-twice inputs have mean -2 and std 4.4; undone twice they run from 0 to 1

    ## Fix
    Normalise in one place: the transform of the dataset, the loop, or the network's first layer.

    ## Known false positives
    None known; data that was normalised once has mean 0 and is never meant.

    ## References
    TheDeepChecker (input normalised twice: deviation far below 1 and mean far off).
    """

    name = "input-normalized-twice"
    code = "RUN131"
    category = Category.SUSPICIOUS
    causes = ("constant-input",)

    class Options(RuleOptions):
        """Options of this rule."""

        tolerance: float = 0.06
        """Share of the raw range by which its ends may miss 0, 1 or 255: three channels have different constants."""
        least_offset: float = 0.4
        """|mean| from which anything is said; MNIST's 0.1307 / 0.3081 gives 0.42."""
        far: float = 4.0
        """Deviations below 0 that no data has that was normalised once."""

        factor: float = 2.0
        """Change of the inputs' deviation in one epoch; that of normalising images is 3 to 255."""
        changes: int = 3
        """Epochs in a row with the same change."""
        alike: float = 0.1
        """Relative difference of the changes' logarithms within which they are one."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        again = self._every_epoch(run)
        if again:
            yield again
            return
        o = self.options
        mean, std = (number(run, f"input-{name}", "training") for name in ("mean", "std"))
        low, high = (number(run, f"input-{name}", "training") for name in ("min", "max"))
        if not (std > 0 and mean <= -o.least_offset and high > low):
            return
        s = 1 / std
        m = -mean * s
        raw_low, raw_high = ((z * s + m) * s + m for z in (low, high))
        reach = raw_high - raw_low
        familiar = any(abs(raw_high - end) <= o.tolerance * end for end in (1.0, 255.0))
        if abs(raw_low) > o.tolerance * reach or not (familiar or -mean > o.far * std):
            return
        yield Finding(
            message=(
                f"the input has mean {mean:.3g} and std {std:.3g} (normalised data has 0 and 1); undone twice by mean "
                f"{m:.3g} and std {s:.3g} it runs from {raw_low:.2g} to {raw_high:.3g}, so it was normalised twice"
            ),
            place=Place(layer="input"),
            evidence={
                "mean": mean,
                "std": std,
                "raw": [raw_low, raw_high],
                "chain": [
                    f"inputs run from {low:.3g} to {high:.3g} with mean {mean:.3g} and std {std:.3g}",
                    f"mean -m/s and std 1/s of a second normalisation give m {m:.3g}, s {s:.3g}",
                    f"undone twice: {raw_low:.2g} to {raw_high:.3g}, which is raw data",
                ],
            },
            fix=Fix(FixSafety.UNSAFE, "normalise once"),
        )

    def _every_epoch(self, run: RunFacts) -> Finding | None:
        """The finding for inputs whose scale changes by one factor in each epoch."""
        o = self.options
        rows = run.batches.filter(
            (pl.col("phase") == "training") & (pl.col("role") == "input") & (pl.col("name") == "") & (pl.col("std") > 0)
        )
        scales = rows.join(run.steps.select("step", "epoch"), on="step").group_by("epoch").agg(pl.col("std").median())
        scales = scales.drop_nulls().sort("epoch")
        if scales.height <= o.changes:
            return None
        logs = np.diff(np.log(scales["std"].to_numpy())) / np.diff(scales["epoch"].to_numpy())
        typical = float(np.median(logs))
        if abs(typical) < np.log(o.factor) or np.abs(logs - typical).max() > o.alike * abs(typical):
            return None
        first, last = float(scales["std"][0]), float(scales["std"][-1])
        return Finding(
            message=(
                f"the std of the training inputs went from {first:.3g} to {last:.3g} in {scales.height} epochs, by a "
                f"factor of {np.exp(abs(typical)):.3g} in each (limit {o.factor:g}): the data is scaled anew in every "
                "epoch, in place"
            ),
            place=Place(layer="input"),
            evidence={
                "factor": float(np.exp(typical)),
                "chain": [f"std {std:.3g} in epoch {epoch}" for epoch, std in scales.head(4).rows()],
            },
            fix=Fix(
                FixSafety.UNSAFE, "scale a copy, as x / 255, or scale once before the loop; x /= 255 changes the data"
            ),
        )
