"""See LayerWithoutGradient."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule
from snellen.findings.words import plural
from snellen.watching.facts import RunFacts


class LayerWithoutGradient(Rule):
    """Layers take part in the forward pass and never get a gradient: the graph is cut.

    ## What it does
    Lists parameters that ran with gradients on and whose `.grad` stayed None.

    ## Why is this bad?
    Everything before the cut keeps its random start.

    ## How it is computed
    Fires for parameters of layers that ran in a sampled forward pass, ask for a gradient, and had None at every
    sampled step after a backward. Layers that never ran are not meant.

    ## Example
        layer-without-gradient 4 parameters (conv1.weight ...) are used and never get a gradient

    ## Fix
    Look behind the last layer named for `.detach()`, `.data`, `.item()`, numpy, argmax or an in-place rebuild.

    ## Known false positives
    A branch whose output is dropped on purpose.

    ## References
    45 % of the silent bugs in the PYSIASSIST sample are wiring, order and graph; `computation graph disrupted`
    alone is 47 of 365.
    """

    name = "layer-without-gradient"
    code = "RUN012"
    category = Category.CORRECTNESS
    causes = (
        "no-positive-targets",
        "target-boxes-in-other-units",
        "mostly-empty-targets",
        "forward-without-grad",
        "no-backward",
        "gradients-erased",
        "loss-without-graph",
    )

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        cut = [str(name) for name in run.events.filter(pl.col("kind") == "gradient-not-reached")["layer"]]
        if cut:
            names = ", ".join(cut[:3]) + (" ..." if len(cut) > 3 else "")
            yield Finding(
                message=(
                    f"{plural(len(cut), 'parameter')} ({names}) took part in the forward pass and never got a "
                    "gradient (limit 0); the graph is cut behind that and nothing there learns"
                ),
                evidence={"parameters": cut[:20]},
                affected=len(cut),
                fix=Fix(
                    FixSafety.UNSAFE, "remove .detach(), .data, .item(), numpy or argmax behind the last layer named"
                ),
            )
