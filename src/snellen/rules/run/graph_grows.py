"""See GraphGrows."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import signal
from snellen.watching.facts import RunFacts


class GraphGrows(Rule):
    """The graphs of past steps stay in memory.

    ## What it does
    Marks the graph of each step and counts how many marks are alive later; counts the nodes behind the output.

    ## Why is this bad?
    Memory grows with every step until it runs out; where the graph itself reaches back, so does the time of
    backward.

    ## How it is computed
    Fires when at least `alive` graphs, and `share` of the latest 256, are alive at once, or when the graph behind
    the output has `growth` times the nodes it had at first. Graphs of micro-batches die with their step.

    ## Example
        graph-grows 240 of 256 graphs of earlier steps are alive; something keeps the loss or the hidden state
        with its graph

    ## Fix
    Add numbers, not graphs: `total += loss.item()`; detach the hidden state between batches; do not use
    `retain_graph=True` to silence the error.

    ## Known false positives
    Outputs kept on purpose with their graph, as for a second-order method over many steps.

    ## References
    PyTorch FAQ, "My model reports out of memory"; mldoct and trainlint find `+= loss` in source.
    """

    name = "graph-grows"
    code = "RUN100"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        alive: int = 32
        """Graphs alive at once."""
        share: float = 0.8
        """Share of the marked graphs that is alive, in 0..1."""
        growth: float = 3.0
        """Nodes now over nodes at first; sequences of different length stay below."""
        sizes: int = 6
        """Different sizes; layers that are unfrozen one by one lengthen the graph a few times, not step by step."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        alive, marked, nodes = (signal(run, n) for n in ("live_graphs", "marked_graphs", "graph_nodes"))
        both = alive.join(marked, on="step", suffix="_of").filter(pl.col("value") >= o.alive)
        both = both.filter(pl.col("value") >= o.share * pl.col("value_of"))
        sizes = nodes["value"].to_list()
        longer = len(set(sizes)) >= o.sizes and sizes[-1] >= o.growth * sizes[0] and sizes[-1] == max(sizes)
        if not both.height and not longer:
            return
        if longer:
            message = (
                f"the graph behind the output grew from {sizes[0]:g} to {sizes[-1]:g} nodes (limit {o.growth:g} "
                f"times); it "
                "reaches back into earlier steps, as when a hidden state is carried over without detach()"
            )
            chain = [f"{v:g} nodes at step {s}" for s, v in nodes.select("step", "value").rows()[-3:]]
            step = int(nodes["step"][-1])
        else:
            last = both.tail(1).to_dicts()[0]
            message = (
                f"{last['value']:g} of the latest {last['value_of']:g} graphs (limit {o.alive}) are still in "
                f"memory at step "
                f"{last['step']}; something keeps losses or outputs with their graph, as total += loss does"
            )
            chain = [f"{v:g} alive at step {s}" for s, v in alive.select("step", "value").rows()[-3:]]
            step = int(last["step"])
        yield Finding(
            message=message,
            place=Place(step=step),
            evidence={"chain": chain},
            fix=Fix(FixSafety.SAFE, "keep loss.item() and hidden.detach() instead"),
        )
