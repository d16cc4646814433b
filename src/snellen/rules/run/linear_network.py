"""See LinearNetwork."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._trials import last
from snellen.watching.facts import RunFacts


class LinearNetwork(Rule):
    """Several weight layers in a row compute one linear map.

    ## What it does
    Compares the output half-way between two samples with the mean of their outputs.

    ## Why is this bad?
    A chain of linear maps is one linear map: the depth costs compute and buys nothing, and what is not linearly
    separable cannot be learned.

    ## How it is computed
    In eval mode, on a copy: ||f((a+b)/2) - (f(a)+f(b))/2|| / ||f(a)-f(b)|| for pairs of samples three times as large
    as the batch's. Fires when it is below `limit` (float32 rounding gives some 1e-6; the smallest of the chart's
    nonlinear networks gives 0.06) and multiplying all weight matrices by 2 multiplies f(x) - f(0) by 2 to the power of
    at least `depth`: a single linear layer, as in logistic regression, gives 1.

    ## Example
        linear-network  half-way between samples the output is the mean of theirs to 3e-07 (limit 1e-04): the 3 weight
        layers are one linear map

    ## Fix
    Put an activation such as ReLU after every layer but the last.

    ## Known false positives
    Networks that are linear on purpose: linear autoencoders, studies of deep linear networks.

    ## References
    Goodfellow, Bengio & Courville 2016, Deep Learning, section 6.1.
    """

    name = "linear-network"
    code = "RUN060"
    category = Category.CORRECTNESS
    causes = (
        "missing-nonlinearity",
        "symmetric-units",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 1e-4
        """Relative distance of the midpoint's output from the chord."""
        depth: float = 1.5
        """Weight layers in series from which the missing activation is a fault."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        bend, depth = last(run, "midpoint"), last(run, "linear-depth")
        if bend is None or depth is None or bend["value"] >= self.options.limit or depth["value"] < self.options.depth:
            return
        if bend["step"] != depth["step"]:
            return
        layers = round(depth["value"])
        yield Finding(
            message=(
                f"half-way between two samples the output is the mean of theirs to {bend['value']:.0e} (limit "
                f"{self.options.limit:.0e}): the {layers} weight layers are one linear map, with no activation between"
            ),
            evidence={"midpoint": bend["value"], "layers_in_series": depth["value"]},
            fix=Fix(FixSafety.UNSAFE, "put an activation such as nn.ReLU() between the weight layers"),
        )
