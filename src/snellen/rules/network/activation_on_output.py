"""See ActivationOnOutput."""

import math
from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class ActivationOnOutput(Rule):
    """A classifier ends in softmax, sigmoid or ReLU.

    ## What it does
    Reports a classification network whose output has passed through a squashing function.

    ## Why is this bad?
    `cross_entropy` applies log-softmax itself. Applied twice, the loss of a perfect classifier with C classes
    cannot fall
    below ln(1 + (C - 1)/e), and gradients shrink; a ReLU there makes all negative logits equal.

    ## How it is computed
    The operator that made the output is softmax, sigmoid or ReLU. Sigmoid and ReLU are reported only for a network
    whose
    task is classification. Log-softmax, the partner of `nll_loss`, and functions inside the network are passed over.

    ## Example
        activation-on-output  the output passes softmax before the loss

    ## Fix
    Return raw logits; apply softmax only where probabilities are shown.

    ## Known false positives
    A network wrapped for inference, or trained with a loss over probabilities (`nll_loss` of the log, `bce_loss`).

    ## References
    PyTorch documentation, `torch.nn.CrossEntropyLoss`: the input is expected to be unnormalised logits.
    """

    name = "activation-on-output"
    code = "NET006"
    category = Category.SUSPICIOUS
    causes = ("softmax-before-cross-entropy", "softmax-over-batch", "relu-on-logits")

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        kind = network.output_activation
        if kind not in ("softmax", "sigmoid", "relu") or (kind != "softmax" and network.task != "classification"):
            return
        if network.task not in ("", "classification") or network.num_outputs == 1:
            return
        last = network.layers.filter(pl.col("order").is_not_null()).row(-1, named=True)
        classes = network.num_outputs
        floor = (
            f" and with {classes} classes it cannot fall below {math.log1p((classes - 1) / math.e):.2f}"
            if classes and kind == "softmax"
            else ""
        )
        yield Finding(
            message=f"the network's output passes {kind}, but cross-entropy expects raw logits: the loss"
            f" squashes twice{floor}",
            place=Place(layer=last["layer"]),
            evidence={"activation": kind, "kind": last["kind"]},
        )
