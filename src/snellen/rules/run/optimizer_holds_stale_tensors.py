"""See OptimizerHoldsStaleTensors."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed, plural
from snellen.rules.run._series import event, signal
from snellen.watching.facts import RunFacts


class OptimizerHoldsStaleTensors(Rule):
    """The optimizer holds tensors that are no longer in the model.

    ## What it does
    Compares what the optimizer holds with the parameters of the model.

    ## Why is this bad?
    The optimizer updates copies that nothing computes with; the parameters in use keep their start.

    ## How it is computed
    Fires when the optimizer holds tensors that are not parameters of the model and at which no gradient ever
    arrived, while trainable parameters of the model are in no optimizer and never moved. Parameters of a loss
    function (a proxy loss, a learnt temperature) receive gradients and are not meant.

    ## Example
        optimizer-holds-stale-tensors the optimizer holds 6 tensors that are not in the model and never got a
        gradient; it was built before the model was replaced or moved

    ## Fix
    Build the optimizer after the last change to the model: after `.to()`, after wrapping, after replacing the
    head, after loading with `assign=True`.

    ## Known false positives
    None known.

    ## References
    accelerate issue 2665 (stale optimizer under FSDP); guardtower OPT-001.
    """

    name = "optimizer-holds-stale-tensors"
    code = "RUN080"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        stale = event(run, "stale-parameters")
        missing = run.missing_from_optimizer
        if not stale or not stale["value"] or not missing or not run.steps.height:
            return
        # A parameter of the loss is not in the model either, and learns.
        if signal(run, "grad_norm").filter(pl.col("layer") == "?").height:
            return
        count = int(stale["value"])
        chain = [
            f"{count} tensors in the optimizer are not in the model",
            "no gradient ever arrived at them",
            f"{len(missing)} trainable parameters are in no optimizer and kept their start",
        ]
        yield Finding(
            message=(
                f"the optimizer holds {plural(count, 'tensor')} (limit 0) not in the model and without any "
                f"gradient, while "
                f"{plural(len(missing), 'trainable parameter')} ({listed(missing, 3)}) are in no optimizer; it "
                f"was built "
                "before the model was replaced, moved or wrapped"
            ),
            place=Place(layer=missing[0]),
            evidence={"stale": count, "parameters": missing[:20], "chain": chain},
            affected=count,
            fix=Fix(FixSafety.UNSAFE, "build the optimizer after the last change to the model"),
        )
