"""See SoftmaxOverOne."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class SoftmaxOverOne(Rule):
    """A softmax over a single output.

    ## What it does
    Reports a network that ends in softmax over one value.

    ## Why is this bad?
    The softmax of one number is 1 whatever the number: the output is constant and no gradient flows.

    ## How it is computed
    The output is made by softmax or log-softmax and the head has one output.

    ## Example
        softmax-over-one  the output is always 1

    ## Fix
    Use sigmoid for one output, or two outputs with softmax.

    ## Known false positives
    None known.

    ## References
    Goodfellow, Bengio & Courville 2016, Deep Learning, sec. 6.2.2.3 (softmax is over-parametrised by one).
    """

    name = "softmax-over-one"
    code = "NET013"
    category = Category.CORRECTNESS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if network.output_activation in ("softmax", "log_softmax") and network.num_outputs == 1:
            value = 1 if network.output_activation == "softmax" else 0
            yield Finding(
                message=f"the network ends in {network.output_activation} over one output: it always says"
                f" {value} and no gradient flows",
                place=Place(),
                evidence={"activation": network.output_activation},
            )
