"""See LayerWithoutGradient."""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
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
    sampled step after a backward. Layers that never ran are not meant. Fires, too, for layers that the optimizer is to
    train, at least `share` of its weights, that ran in the first steps and never with gradients on.

    ## Example
        layer-without-gradient 4 parameters (conv1.weight ...) are used and never get a gradient

    ## Fix
    Look behind the last layer named for `.detach()`, `.data`, `.item()`, numpy, argmax or an in-place rebuild.

    ## Known false positives
    A branch whose output is dropped on purpose; a frozen body whose weights were handed to the optimizer all the same.

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

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.05
        """Share of the optimizer's weights, in 0..1, that run without gradients from which it is worth a word."""
        min_steps: int = 10
        """Steps before this is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield a finding for what is cut off, and one for what runs without gradients."""
        yield from self._without_grad(run)
        cut = [str(name) for name in run.events.filter(pl.col("kind") == "gradient-not-reached")["layer"]]
        weights = set(run.parameters["name"]) - set(cut)
        # Of a derivative that the loss is made of, an offset is no part: its layer is not cut off.
        cut = [n for n in cut if not n.endswith("bias") or n.removesuffix("bias") + "weight" not in weights]
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

    def _without_grad(self, run: RunFacts) -> Iterator[Finding]:
        """The finding for layers that run under `no_grad` while the optimizer is to train them."""
        without = set(run.without_gradient)
        held = [r for r in run.parameters.iter_rows(named=True) if r["trainable"] and r["optimizers"]]
        idle = [r for r in held if r["ran"] and not r["called"] and r["name"] in without]
        share = sum(map(_numbers, idle)) / max(sum(map(_numbers, held)), 1)
        if share < self.options.share or len(idle) == len(held) or run.steps.height < self.options.min_steps:
            return
        names = [r["name"] for r in idle]
        yield Finding(
            message=(
                f"{plural(len(names), 'parameter')} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''}), "
                f"{share:.0%} of what the optimizer holds (limit {self.options.share:.0%}), ran under no_grad in each "
                "of the first steps and never got a gradient; nothing there learns"
            ),
            place=Place(layer=names[0]),
            evidence={"parameters": names[:20], "share": share},
            affected=len(names),
            of=len(held),
            fix=Fix(
                FixSafety.UNSAFE, "call these layers outside of torch.no_grad(), or leave them out of the optimizer"
            ),
        )


def _numbers(row: Mapping[str, Any]) -> int:
    """Numbers that a parameter holds."""
    return prod(row["shape"])
