"""See BatchnormFewSamples."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.run._layers import modules
from snellen.rules.run._measures import number
from snellen.watching.facts import RunFacts


class BatchnormFewSamples(Rule):
    """Batch norm takes its statistics from very few samples.

    ## What it does
    Reports batch norm layers that ran in train() mode on fewer samples than the limit.

    ## Why is this bad?
    Mean and variance of so few are noise: training is unstable, and testing, with running averages, meets others.
    ResNet-50 loses 10 points from batch 32 to 2.

    ## How it is computed
    First axis of the input of batch norm layers in the first forward pass; silent where all of training is these
    samples, as with a network fitted to one picture. Gradient accumulation does not help: each micro-batch is
    normalised by itself.

    ## Example
        batchnorm-few-samples 3 batch norm layers (bn1 ...) take their statistics from 2 samples (limit 4)

    ## Fix
    Larger micro-batches, GroupNorm, or batch norm in eval() mode.

    ## Known false positives
    Image translation at batch 1, where batch norm acts as instance norm on purpose.

    ## References
    Wu & He 2018, Group Normalization, arXiv:1803.08494, table 2.
    """

    name = "batchnorm-few-samples"
    code = "RUN118"
    category = Category.SUSPICIOUS
    causes = ("batchnorm-tiny-batch", "batchnorm-not-synced")

    class Options(RuleOptions):
        """Options of this rule."""

        samples: int = 4
        """Fewest samples; Wu & He see the error rise steeply below 8 and without bound at 2."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        norms = [
            r for r in modules(run) if "BatchNorm" in r["kind"] and r["calls"] and r["training"] and r["input_shape"]
        ]
        few = [r for r in norms if r["input_shape"][0] < self.options.samples]
        size = few[0]["input_shape"][0] if few else 0
        if few and not number(run, "rows-distinct", "training") <= size:
            yield Finding(
                message=(
                    f"{plural(len(few), 'batch norm layer')} ({few[0]['name']} ...) take mean and variance from "
                    f"{plural(size, 'sample')} (limit {self.options.samples}): they are noise, and testing meets others"
                ),
                place=Place(layer=few[0]["name"]),
                evidence={"samples": size, "layers": [r["name"] for r in few][:20]},
                affected=len(few),
                of=len(norms),
                fix=Fix(FixSafety.UNSAFE, "use GroupNorm, or a larger batch"),
            )
