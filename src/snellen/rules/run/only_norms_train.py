"""See OnlyNormsTrain."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed
from snellen.watching.facts import RunFacts


class OnlyNormsTrain(Rule):
    """Only biases and norm scales are trainable.

    ## What it does
    Reads which parameters ask for a gradient.

    ## Why is this bad?
    The weight matrices keep their start; the network can only shift and scale what they compute.

    ## How it is computed
    Fires when the model has frozen weight matrices and every trainable parameter has one dimension. Holds for the
    whole of one model; a frozen backbone under a trainable head has a trainable matrix.

    ## Example
        only-norms-train 320 of 50,890 weights (0.63 %) are trainable, and no weight matrix is among them

    ## Fix
    Freeze by module, not by name; look for a filter on names that matches the wrong layers. Set
    `requires_grad_(True)` on what should learn, before the optimizer is built.

    ## Known false positives
    Fine-tuning of biases or norms alone on purpose (BitFit).

    ## References
    TrainCheck's forum-84911 (every layer but batch norm frozen); Ben Zaken et al. 2022, BitFit, arXiv:2106.10199.
    """

    name = "only-norms-train"
    code = "RUN081"
    category = Category.SUSPICIOUS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        if run.parameters.is_empty() or not run.steps.height:
            return
        sizes = run.parameters.with_columns(
            numbers=pl.col("shape").list.eval(pl.element().product()).list.first().fill_null(1),
            axes=pl.col("shape").list.len(),
        )
        live = sizes.filter(pl.col("trainable"))
        matrices = sizes.filter(pl.col("axes") > 1)
        if live.is_empty() or matrices.is_empty() or bool((live["axes"] > 1).any()):
            return
        part, whole = int(live["numbers"].sum()), int(sizes["numbers"].sum())
        names = live["name"].to_list()
        chain = [
            f"0 of {matrices.height} weight matrices are trainable",
            f"{live.height} vectors are: {listed(names, 3)}",
            f"{part:,} of {whole:,} weights can change",
        ]
        yield Finding(
            message=(
                f"{part:,} of {whole:,} weights ({part / whole:.2%}) are trainable and no weight matrix (limit 1) "
                f"is among "
                "them; only biases and norm scales can learn"
            ),
            place=Place(layer=matrices["name"][0]),
            evidence={"trainable": part, "total": whole, "parameters": names[:20], "chain": chain},
            affected=matrices.height,
            of=matrices.height,
            fix=Fix(FixSafety.UNSAFE, "set requires_grad to True on the layers that should learn"),
        )
