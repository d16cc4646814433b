"""See DeadRelu."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import NETWORK_FAULTS
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class DeadRelu(Rule):
    """A ReLU layer gives 0 for nearly every input.

    ## What it does
    Finds ReLU layers with almost only zeros, and says whether they began so or died.

    ## Why is this bad?
    No gradient passes a dead layer: everything before it stops learning.

    ## How it is computed
    Share of exact zeros in a ReLU's output on a few samples at each sampled step; fires at `share` in the last
    sample. Zeros in the first sample (step 0) mean initialisation or input, later ones mean an update.

    ## Example
        dead-relu relu2 is 100 % zero since step 0: initialisation or input, not the learning rate

    ## Fix
    Dead from step 0: look at biases and the input's scale. Died later: lower the learning rate.

    ## Known false positives
    Layers made for sparsity above the limit.

    ## References
    TheDeepChecker (95th percentile), AutoTrainer (0.7), guardtower (0.95).
    """

    name = "dead-relu"
    code = "RUN018"
    category = Category.SUSPICIOUS
    causes = (
        "input-scale-off",
        "lr-too-high",
        "initial-loss-off",
        "gradients-not-cleared",
        "weight-decay-dominates",
        "constant-input",
        "momentum-too-high",
        "one-number-bottleneck",
        "accumulation-not-averaged",
        "class-pure-batches",
        "scaler-bypassed",
        *NETWORK_FAULTS,
        "loss-spike",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.98
        """Share of zeros, in 0..1; half is usual, trained convolutions reach 0.9."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = signal(run, "zero_fraction")
        layers = rows.sort("step").group_by("layer", maintain_order=True).agg(pl.col("value"), pl.col("step"))
        dead = layers.filter(pl.col("value").list.last() >= self.options.share)
        if not dead.height or rows["step"].max() == rows["step"].min():
            return
        first = dead.row(0, named=True)
        born = first["value"][0] >= self.options.share
        since = next(s for s, v in zip(first["step"], first["value"], strict=True) if v >= self.options.share)
        why = (
            "from step 0: initialisation or input is the cause, not the learning rate"
            if born
            else f"since step {since}: an update killed it"
        )
        yield Finding(
            message=(
                f"{dead.height} ReLU {'layer' if dead.height == 1 else 'layers'} ({first['layer']}"
                f"{' ...' if dead.height > 1 else ''}) {'is' if dead.height == 1 else 'are'} "
                f"{first['value'][-1]:.0%} zero (limit {self.options.share:.0%}), dead {why}; no gradient "
                "passes"
            ),
            place=Place(layer=first["layer"].partition(":")[0] or None, step=since),
            evidence={"layers": dead["layer"].to_list()[:20], "dead_at_start": born, "since_step": since},
            affected=dead.height,
            of=layers.height,
            fix=Fix(FixSafety.UNSAFE, "use the default initialisation and a normalised input")
            if born
            else Fix(FixSafety.UNSAFE, "lower the learning rate, or use LeakyReLU"),
        )
