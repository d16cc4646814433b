"""See NormalizationMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions, Tier
from snellen.training.recipe import Recipe


class NormalizationMismatch(Rule):
    """Inputs that are not centred by the recipe's mean and deviation.

    ## What it does
    Reports recipes trained from scratch whose mean and standard deviation are far from those of the images.

    ## Why is this bad?
    The first layer then sees inputs of large mean or tiny variance: training starts slowly, and BatchNorm has to undo
    in its statistics what two numbers could have done. The usual cause is a division by 255 too many or too few, or
    another dataset's numbers.

    ## How it is computed
    For each channel z = (mean of the images - recipe's mean) / recipe's deviation, and the ratio of the deviations.
    Reported when |z| is above `max_shift`, or the ratio is outside 1/`max_ratio` .. `max_ratio`. Pretrained networks
    keep the numbers they were trained with, and are passed over.

    ## Example
        normalization-mismatch  red is 3.2 deviations from 0 after normalisation ...

    ## Fix
    Set `mean` and `std` to the measured numbers.

    ## Known false positives
    Images that are nearly one colour.

    ## References
    LeCun et al. 1998, Efficient BackProp, sec. 4.3.
    """

    name = "normalization-mismatch"
    code = "CFG001"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS

    class Options(RuleOptions):
        """Thresholds."""

        max_shift: float = 2.0
        """Recipe's deviations by which the mean may lie off; ImageNet's numbers are 1.1 off on dark pictures."""
        max_ratio: float = 4.0
        """Measured over stated deviation, or its inverse."""

    def check(self, data: DataFacts, recipe: Recipe) -> Iterator[Finding]:
        """Yield the findings."""
        images = data.images.filter("decoded")
        if recipe.pretrained or images.is_empty():
            return
        means, deviations = [], []
        for channel in "rgb":
            means.append(float(images.select(pl.col(f"mean_{channel}").mean()).item()))
            # Variance of all pixels: within the images and between their means.
            within, between = pl.col(f"std_{channel}").pow(2).mean(), pl.col(f"mean_{channel}").var(ddof=0)
            deviations.append(float(images.select((within + between).sqrt()).item()))
        edit = {"op": "set-recipe", "mean": [round(v, 4) for v in means], "std": [round(v, 4) for v in deviations]}
        for name, measured, deviation, mean, std in zip(
            ("red", "green", "blue"), means, deviations, recipe.mean, recipe.std, strict=True
        ):
            shift, ratio = (measured - mean) / std, deviation / std
            if abs(shift) > self.options.max_shift or not 1 / self.options.max_ratio <= ratio <= self.options.max_ratio:
                yield Finding(
                    message=f"{name} has mean {measured:.2f} and deviation {deviation:.2f}, the recipe says "
                    f"{mean:.2f} and {std:.2f}: "
                    f"the network gets inputs of mean {shift:.1f} and deviation {ratio:.2f} instead of 0 and 1",
                    evidence={"channel": name, "mean": measured, "std": deviation, "shift": shift, "ratio": ratio},
                    fix=Fix(FixSafety.UNSAFE, "set mean and std to the measured numbers", edit),
                    rank=abs(shift),
                )
                return
