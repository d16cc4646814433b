"""See FrozenParameters."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Rule
from snellen.network.facts import NetworkFacts


class FrozenParameters(Rule):
    """So much of the network is frozen that it cannot learn.

    ## What it does
    Reports a network none of whose weight matrices is trainable.

    ## Why is this bad?
    Training runs, the loss hardly moves and the result is the initial network: with every matrix frozen only biases and
    norm scales, or nothing, can change.

    ## How it is computed
    Fires when `requires_grad` is off for every parameter of two or more dimensions. A frozen backbone under a trainable
    head has a trainable matrix and is silent.

    ## Example
        frozen-parameters  0 of 11 689 512 weights are trainable

    ## Fix
    Set `requires_grad = True` on the head at least, before the optimizer is built.

    ## Known false positives
    Fine-tuning of biases or norms alone (BitFit), and networks examined only for inference.

    ## References
    Ben Zaken et al. 2022, BitFit, arXiv:2106.10199.
    """

    name = "frozen-parameters"
    code = "NET003"
    category = Category.SUSPICIOUS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        matrices = network.parameters.filter(pl.col("shape").list.len() > 1)
        if matrices.is_empty() or matrices["trainable"].any():
            return
        share = network.trainable_params / max(network.total_params, 1)
        what = "nothing can learn" if network.trainable_params == 0 else "only biases and norm scales can learn"
        yield Finding(
            message=f"{network.trainable_params:,} of {network.total_params:,} weights ({share:.2%}) are"
            f" trainable and no weight"
            f" matrix is among them: {what}",
            evidence={"trainable": network.trainable_params, "total": network.total_params},
            affected=matrices.height,
            of=matrices.height,
        )
