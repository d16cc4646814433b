"""See SamplesMixed."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import modules
from snellen.rules.run._loss import one_answer_each, rows
from snellen.rules.run._trials import first, last
from snellen.watching.facts import RunFacts

OVER_TIME = ("MultiheadAttention", "LSTM", "GRU", "RNN")
"""Layers whose first axis is time unless they are told otherwise."""


class SamplesMixed(Rule):
    """The output for one sample depends on the other samples of its batch.

    ## What it does
    Takes the gradient of one sample's outputs with respect to all inputs of the batch.

    ## Why is this bad?
    The network answers differently for the same sample in other company, so that validation, deployment and even
    another order of the batch give other results. Mostly an axis is in the wrong place: `view` where `permute` was
    meant, `batch_first` of a recurrent or attention layer, softmax or norm over axis 0.

    ## How it is computed
    On a copy in eval mode, where batch norm uses its running statistics, the share (L2) of the gradient of the first
    and the last sample's outputs that falls on other samples; fires from `limit`. Where the first axis need not count
    samples (the model takes only this number of rows, as networks over a fixed graph do; targets share two axes with
    the inputs, as (time, batch) does), nothing is measured. If the other samples' order matters too, the message says
    that axes are mixed up, else that the samples are normalised or attended over the batch. Fires too when inputs are
    (N, T) or (N, T, F) with one target for each of N samples, and an attention or recurrent layer without
    `batch_first` was given them with N still the first axis, so that it runs over the batch.

    ## Example
        samples-mixed  61 % of the gradient of one sample's output falls on other samples of the batch (limit 5 %)

    ## Fix
    Look for `view`/`reshape` that cross the batch axis (use `permute` or `transpose` first), set `batch_first=True`,
    and give softmax and norms the axis of classes or channels.

    ## Known false positives
    Networks that compare samples on purpose: set networks over the batch, minibatch discrimination in a GAN's judge.

    ## References
    Ben Braiek & Khomh 2023, TheDeepChecker: per-instance independence. Karpathy, A Recipe for Training Neural Networks:
    "use backprop to chart dependencies".
    """

    name = "samples-mixed"
    code = "RUN061"
    category = Category.CORRECTNESS
    causes = ("no-positive-targets", "softmax-over-batch", "norm-over-wrong-axis")

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 0.05
        """Share of the gradient (L2, 0..1) on other samples; 0 in every network of the chart that mixes none."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        share = first(run, "cross-sample") or {"value": 0.0}
        if share["value"] < self.options.limit:
            share = last(run, "cross-sample") or share
        if share["value"] < self.options.limit:
            yield from self._over_the_batch(run)
            return
        order = last(run, "cross-sample-order")
        how = (
            "in another order they give another answer, so axes are mixed up (view for permute, batch_first)"
            if order is not None and order["value"] > 0
            else "their order does not matter, so something normalises, attends or averages over axis 0"
        )
        yield Finding(
            message=(
                f"{share['value']:.0%} of the gradient of one sample's output falls on other samples of the batch "
                f"(limit {self.options.limit:.0%}); {how}"
            ),
            evidence={"share": share["value"], "order_matters": order["value"] if order else None},
            fix=Fix(FixSafety.UNSAFE, "keep axis 0 for the samples: permute before view, batch_first=True, dim=1"),
        )

    def _over_the_batch(self, run: RunFacts) -> Iterator[Finding]:
        given, targets = rows(run, "input")["shape"].to_list(), rows(run, "target")["shape"].to_list()
        if not given or len(given[0]) not in (2, 3) or not one_answer_each(run) or targets[0][:1] != given[0][:1]:
            return
        count, length = given[0][:2]
        for m in modules(run):
            if m["kind"] not in OVER_TIME or m["settings"].get("batch_first", True) or count == length:
                continue
            if (m["input_shape"] or [])[:2] == [count, length] and m["calls"]:
                yield Finding(
                    message=(
                        f"{m['kind']} {m['name']} takes (time, batch, features) and got {m['input_shape']} of a "
                        f"batch of {count} samples (limit: batch_first=True): it runs over the samples, not over their "
                        f"{length} steps"
                    ),
                    place=Place(layer=m["name"]),
                    evidence={"layer": m["name"], "input_shape": m["input_shape"]},
                    fix=Fix(FixSafety.UNSAFE, "batch_first=True, or transpose(0, 1) before and behind it"),
                )
                return
