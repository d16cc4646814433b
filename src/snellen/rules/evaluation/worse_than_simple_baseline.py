"""See WorseThanSimpleBaseline."""

from collections.abc import Iterator

from pydantic import Field
from scipy.stats import binom

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class WorseThanSimpleBaseline(Rule):
    """A linear model on edges and colours classifies the same images better than the network.

    ## What it does
    Compares the network with logistic regression on HOG and colour histograms, which `snellen exam` fits in seconds on
    the same training images.

    ## Why is this bad?
    Whatever the network has learned, less than a second of 2005 would have done. Such a network has usually been
    trained too little, on inputs it cannot read, or from scratch on too few images.

    ## How it is computed
    Of the held-out images that one of the two alone gets right, the network should have at least half. Fires when it
    has so few that chance would give as few with a probability below `chance` (exact one-sided McNemar test).

    ## Example
        worse-than-simple-baseline  the network gets 0.62 of 180 images right, hog+colour+logistic 0.81 (p < 0.001)

    ## Fix
    Train longer, start from published weights, or use the baseline: `snellen train DATA --model hog+colour+logistic`.

    ## Known false positives
    A network that was trained for one epoch on purpose.

    ## References
    McNemar 1947; Dalal & Triggs 2005. Sculley et al. 2018, "Winner's Curse?": baselines tuned as little as this one
    have beaten published networks.
    """

    name = "worse-than-simple-baseline"
    code = "EVL048"
    category = Category.SUSPICIOUS
    causes = ("below-baseline", "loss-flat", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        chance: float = Field(default=0.01, gt=0, lt=0.5)
        """Probability below which a difference is not put down to chance."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the images on which the two differ."""
        told = scores.simple_baseline
        if not told:
            return
        worse, better = int(told["only_baseline"]), int(told["only_network"])
        p = float(binom.cdf(better, worse + better, 0.5)) if worse > better else 1.0
        if p >= self.options.chance:
            return
        yield Finding(
            message=f"the network gets {told['network']:.3f} of {told['images']} images right, {told['name']} "
            f"{told['accuracy']:.3f}: {worse} images only it, {better} only the network (p = {p:.1g}, limit "
            f"{self.options.chance:g}); a linear model on edges and colours is the better classifier here",
            place=Place(split=scores.split),
            evidence={**told, "p": p},
            affected=worse,
            of=int(told["images"]),
            fix=Fix(FixSafety.UNSAFE, f"train longer or from published weights, or use {told['name']}"),
        )
