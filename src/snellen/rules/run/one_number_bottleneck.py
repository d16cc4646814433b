"""See OneNumberBottleneck."""

import math
from collections.abc import Iterator
from itertools import pairwise

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._layers import WEIGHT_KINDS, modules
from snellen.watching.facts import RunFacts


class OneNumberBottleneck(Rule):
    """All that the network knows of a sample passes through one number.

    ## What it does
    Reports a layer in the middle of the network that gives one number a sample, from which the rest is computed.

    ## Why is this bad?
    Several outputs of one number lie on a curve: the network underfits whatever the learning rate, and one dead unit
    ends it.

    ## How it is computed
    In the order of the first forward pass: a layer with weights whose output has one value a sample, and whose next
    layer with weights takes one feature and gives more. Gates and attention weights, which multiply something wider,
    are not meant, nor is a scalar input.

    ## Example
        one-number-bottleneck fc2 gives 1 number a sample and fc3 makes 10 of it (limit 1)

    ## Fix
    Give that layer at least as many units as there are outputs.

    ## Known false positives
    Autoencoders with a code of one number on purpose.

    ## References
    Karpathy, A Recipe for Training Neural Networks: overfit; TheDeepChecker: cannot overfit one batch.
    """

    name = "one-number-bottleneck"
    code = "RUN128"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = [
            r
            for r in modules(run)
            if r["order"] is not None and r["kind"].startswith(WEIGHT_KINDS) and r["input_shape"] and r["output_shape"]
        ]
        for narrow, reader in pairwise(rows):
            before, one, wide = (
                math.prod(s[1:]) for s in (narrow["input_shape"], reader["input_shape"], reader["output_shape"])
            )
            if math.prod(narrow["output_shape"][1:]) == one == 1 and before > 1 and wide > 1:
                yield Finding(
                    message=(
                        f"{narrow['name']} gives 1 number a sample and {reader['name']} makes {wide} of it (limit 1): "
                        "all else about the sample is lost"
                    ),
                    place=Place(layer=narrow["name"]),
                    evidence={"from": before, "to": wide},
                    fix=Fix(FixSafety.UNSAFE, f"widen {narrow['name']}"),
                )
                return
