"""See FreezeHasNoEffect."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed, plural
from snellen.watching.facts import RunFacts


class FreezeHasNoEffect(Rule):
    """Layers that were meant to be frozen still change.

    ## What it does
    Looks for attempts to freeze that PyTorch ignores, and for frozen parameters that the optimizer moves.

    ## Why is this bad?
    Pretrained weights are overwritten by the noise of a fresh head.

    ## How it is computed
    Fires when an attribute that is nearly `requires_grad` (`require_grad`, `trainable`, `requires_grad_`
    assigned) was set to False on a parameter or module whose parameters still ask for gradients;
    `module.requires_grad = False` is one such. Fires too when a parameter without requires_grad holds an old
    gradient and optimizer steps move it.

    ## Example
        freeze-has-no-effect require_grad = False was set on 4 parameters (backbone.0.weight ...), whose
        requires_grad is still True

    ## Fix
    Call `module.requires_grad_(False)`; set the gradients of layers frozen later to None.

    ## Known false positives
    An own attribute `trainable` that means something else.

    ## References
    PYSIASSIST lists freezing that does not freeze among the silent bugs of the PyTorch forum; trainlint flags the
    typo `require_grad`.
    """

    name = "freeze-has-no-effect"
    code = "RUN082"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        vain = run.events.filter(pl.col("kind") == "freeze-without-effect").to_dicts()
        moved = run.events.filter(pl.col("kind") == "frozen-moved").to_dicts()
        if not (vain or moved):
            return
        first = (vain or moved)[0]
        names = [str(row["layer"]) for row in vain or moved]
        why = (
            f"an attribute like requires_grad was set to False on {listed([n or 'the model' for n in names], 3)} and "
            "PyTorch ignores it"
            if vain
            else (
                f"{plural(len(names), 'frozen parameter')} ({listed(names, 3)}) still hold old gradients and the "
                "optimizer moves them"
            )
        )
        once = not vain and all(row["value"] == 1 for row in moved)
        harm = "what should be frozen moved in one step" if once else "what should be frozen trains"
        yield Finding(
            message=f"{why} (limit 0); {harm}",
            place=Place(layer=names[0] or None, step=first["step"]),
            evidence={"parameters": names[:20], "chain": [str(row["message"]) for row in (vain or moved)[:3]]},
            affected=len(names),
            fix=Fix(FixSafety.UNSAFE, "call requires_grad_(False) on the module before the optimizer is built"),
        )
