"""See UnregisteredLayers."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.findings.words import listed, plural
from snellen.watching.facts import RunFacts


class UnregisteredLayers(Rule):
    """Layers that compute are not registered with the model.

    ## What it does
    Walks through the attributes of every module for parameters in plain lists, dicts and tensors.

    ## Why is this bad?
    `model.parameters()` does not list them: the optimizer leaves them at their start, `.to()` and `state_dict()`
    pass them by.

    ## How it is computed
    Fires when a parameter in a plain Python container, or a plain tensor that asks for a gradient, is not among
    the parameters of the model, receives gradients, and is in no watched optimizer. A teacher hidden in a list
    gets none.

    ## Example
        unregistered-layers 4 parameters in blocks[0] receive gradients and are in no optimizer; the layers
        are in a Python list

    ## Fix
    Use `nn.ModuleList`, `nn.ModuleDict` or `nn.Parameter`.

    ## Known false positives
    A frozen network in a list whose parameters still ask for gradients.

    ## References
    PYSIASSIST; PyTorch documentation of torch.nn.ModuleList.
    """

    name = "unregistered-layers"
    code = "RUN099"
    category = Category.CORRECTNESS

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.events.filter(pl.col("kind") == "unregistered-parameter")
        if rows.is_empty():
            return
        names = [str(n) for n in rows["layer"]]
        numbers = int(rows["value"].sum())
        yield Finding(
            message=(
                f"{plural(len(names), 'parameter')} ({listed(names, 3)}; {numbers:,} numbers) receive gradients "
                f"and are neither "
                "in model.parameters() nor in an optimizer (limit 0); layers in a plain list, dict or tensor "
                "never learn"
            ),
            place=Place(layer=names[0]),
            evidence={
                "parameters": names[:20],
                "chain": ["found by walking through attributes", "not in model.parameters()", "gradients arrive"],
            },
            affected=len(names),
            fix=Fix(FixSafety.UNSAFE, "hold the layers in nn.ModuleList, nn.ModuleDict or nn.Parameter"),
        )
