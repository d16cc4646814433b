"""See TrainValInputsDiffer."""

from collections.abc import Iterator
from math import nan
from statistics import median

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import indexed, measure, number, validated
from snellen.watching.facts import RunFacts


class TrainValInputsDiffer(Rule):
    """Validation inputs are prepared in another way than training inputs.

    ## What it does
    Compares mean and deviation of each input channel in training and in validation forward passes.

    ## Why is this bad?
    The network is judged on inputs that it was not trained for: validation is worse than the model is, and the wrong
    epoch is kept.

    ## How it is computed
    Channel means are those of single samples, so their difference has a standard error. Fires when a mean differs by
    more than `shift` pixel deviations, `z` standard errors and `apart` deviations of the training samples' own means (a
    later time or random brightness stays within these), or when the median over channels of the ratio of the
    deviations is beyond `spread` and, in standard errors of its logarithm, beyond `z`. When the channel means agree in
    reverse order, the finding says so. Mixup, noise and colour jitter stay inside these limits. Only where validation
    results are given: a pass without gradients may be a policy that acts or a model that draws.

    ## Example
        train-val-inputs-differ channel 0 has mean 0.02 in training and 1.71 in validation

    ## Fix
    Build both transforms from one list; only random augmentation belongs to training alone.

    ## Known false positives
    A validation set taken from another domain on purpose.

    ## References
    PyTorch forum and mmdetection threads on BGR and RGB; Breck et al. 2019, Data Validation for Machine Learning.
    """

    name = "train-val-inputs-differ"
    code = "RUN132"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        shift: float = 1.0
        """Difference of the means in deviations of the training pixels; erasing a quarter of each image gives 0.6."""
        apart: float = 3.0
        """The same in deviations of the means of training samples; the last fifth of evenly spaced times has 2.2."""
        z: float = 8.0
        """The same in standard errors of the difference; 32 channels of healthy runs stay below 4."""
        spread: float = 1.6
        """Ratio of the deviations, either way; mixup gives 1.3, noise as strong as the signal 1.4."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        shifts = indexed(run, "channel-shift")
        if not validated(run) or not shifts:
            return
        spreads = [row["value"] for row in indexed(run, "channel-spread") if row["of"] >= 32]
        apart = {row["index"]: row["value"] for row in indexed(run, "channel-apart")}
        moved = [
            row
            for row in shifts
            if abs(row["value"]) > o.shift and abs(row["of"]) > o.z and apart.get(row["index"], o.apart) >= o.apart
        ]
        sure = [row["value"] for row in indexed(run, "channel-spread-z")]
        ratio = median(spreads) if spreads and (not sure or median(sure) > o.z) else 1.0
        turned = measure(run, "channels-reversed")
        reverse = turned is not None and turned["of"] > o.z and turned["value"] < 0.35
        if not moved and not reverse and 1 / o.spread <= ratio <= o.spread:
            return
        worst = max(moved or shifts, key=lambda row: abs(row["of"]))
        channel = worst["index"]
        means = {
            phase: next((r["value"] for r in indexed(run, "channel-mean", phase) if r["index"] == channel), nan)
            for phase in ("training", "validation")
        }
        if reverse:
            what = "validation has the channels in reverse order (BGR against RGB)"
        elif moved:
            what = (
                f"channel {channel} has mean {means['training']:.3g} in training and {means['validation']:.3g} in "
                f"validation ({abs(worst['value']):.2g} deviations apart, limit {o.shift:g})"
            )
        else:
            what = (
                f"validation inputs have {ratio:.2g} times the deviation of training inputs (limits "
                f"{1 / o.spread:.2g} and {o.spread:g})"
            )
        yield Finding(
            message=f"{what}: the model is judged on inputs it was not trained for",
            place=Place(layer="input", split="validation"),
            evidence={
                "channel": channel,
                "means": means,
                "z": worst["of"],
                "ratio_of_deviations": ratio,
                "chain": [
                    f"training input: mean {number(run, 'input-mean', 'training'):.3g}",
                    f"channel {channel}: {abs(worst['of']):.0f} standard errors apart",
                ],
            },
            affected=max(len(moved), 1),
            of=len(shifts),
            fix=Fix(FixSafety.UNSAFE, "prepare validation inputs as training inputs"),
        )
