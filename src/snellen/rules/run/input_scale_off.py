"""See InputScaleOff."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class InputScaleOff(Rule):
    """The first layer with weights gets numbers far from the scale that its initialisation is made for.

    ## What it does
    Measures what the first layer with weights is given in the first forward pass. A layer that normalises before it
    ends the matter: then the scale of the data is of no account.

    ## Why is this bad?
    Initialisations keep a signal of mean 0 and deviation 1 at that size. Larger inputs make larger outputs and
    gradients in proportion, so that a usual learning rate overshoots; a large offset makes all gradients of a neuron
    point one way; tiny inputs leave nothing but the biases.

    ## How it is computed
    Fires when the root mean square of these inputs is above `largest`, when their mean is more than `offset` standard
    deviations from 0 and their root mean square is above 1, or when no number of them is above `smallest`. 0..1 images,
    0..16 digits and standardised data are far inside: their root mean square is at most 8.

    ## Example
        input-scale-off layer stem.0 gets inputs of mean 114 and std 62 (rms 130, limit 30)

    ## Fix
    Subtract the mean and divide by the standard deviation of the training set; for 0..255 images divide by 255 first.

    ## Known false positives
    Networks that divide inside a function rather than a layer are measured behind it, and are silent.

    ## References
    LeCun et al. 1998, Efficient BackProp, section 4.3; torch-audit flags |input| above 50, UMLAUT outside -1..1.
    """

    name = "input-scale-off"
    code = "RUN130"
    category = Category.SUSPICIOUS
    causes = ("input-normalized-twice", "constant-input")

    class Options(RuleOptions):
        """Options of this rule."""

        largest: float = 30.0
        """Root mean square; a fifth of that of 0..255 images, four times that of 0..16 ones."""
        offset: float = 10.0
        """|mean| in standard deviations; 0..1 images have about 2."""
        smallest: float = 0.02
        """Largest |value| of inputs that are too small; 0..1 images divided by 255 once more have 0.004."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "layer-rms")
        if row is None:
            return
        rms, mean, std = row["value"], number(run, "layer-mean"), number(run, "layer-std")
        top = max(abs(number(run, "layer-min")), abs(number(run, "layer-max")))
        if rms > o.largest:
            what = f"rms {rms:.3g}, limit {o.largest:g}): outputs and gradients grow with it and steps overshoot"
        elif rms > 1 and std > 0 and abs(mean) > o.offset * std:
            what = f"offset {abs(mean) / std:.3g} deviations, limit {o.offset:g}): every sample looks alike to it"
        elif 0 < top < o.smallest:
            what = f"at most {top:.2g}, limit {o.smallest:g}): next to nothing reaches its outputs"
        else:
            return
        layer = row["detail"] or "input"
        chain = [f"first forward pass: inputs of {layer} have mean {mean:.4g}, std {std:.4g}, rms {rms:.4g}"]
        first = float(run.steps["loss"][0]) if run.steps.height else math.nan
        if run.initial_loss_expected and math.isfinite(first):
            chain.append(f"the first loss was {first:.4g} against {run.initial_loss_expected:.4g} by theory")
        yield Finding(
            message=f"the first layer ({layer}) gets inputs of mean {mean:.3g} and std {std:.3g} ({what}",
            place=Place(layer="input"),
            evidence={"layer": layer, "mean": mean, "std": std, "rms": rms, "chain": chain},
            fix=Fix(FixSafety.UNSAFE, f"normalise the input: (x - {mean:.4g}) / {std:.4g}"),
        )
