"""See ExplodingGradient."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import NETWORK_FAULTS
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._layers import at_start, modules
from snellen.rules.run._series import losses
from snellen.watching.facts import RunFacts


class ExplodingGradient(Rule):
    """Gradients explode, now and then or with depth, and nothing bounds them.

    ## What it does
    Looks for steps whose gradient dwarfs those before and throws the loss back, and for gradients that grow on
    their way to the first layers.

    ## Why is this bad?
    One such step undoes the work of hundreds; recurrent networks over long sequences do it without any high
    learning rate.

    ## How it is computed
    Tail: without clipping, and after calm steps (no sampled update above `calm` of the weights), a gradient norm of at
    least `peak` times the median of the steps before (at least `before` of them) and behind it a loss of at least
    `rise` times the median loss before and `felt` times that of the first steps, which is not back at the former loss
    within `healed` steps. Depth: at step 0, before any update, a
    weight's gradient norm of at least `growth` times that of the last weight (`growth_in_time` for the weights that a
    recurrent layer applies at each time step), and at least `large` times the norm of the weight itself.

    ## Example
        exploding-gradient step 84: the gradient is 310 times the median before (limit 50), and the loss rose from 0.4
        to 7.1

    ## Fix
    `torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)` between backward and step; GRU or LSTM for a plain RNN.

    ## Known false positives
    A single corrupt batch has the same signs; look at that batch.

    ## References
    Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063.
    """

    name = "exploding-gradient"
    code = "RUN113"
    category = Category.SUSPICIOUS
    causes = (
        "no-positive-targets",
        "initial-weights-off-scale",
        "input-scale-off",
        "negative-loss",
        "gradients-not-cleared",
        "loss-spike",
        "momentum-too-high",
        "optimizer-state-lost",
        "batchnorm-few-samples",
        *NETWORK_FAULTS,
        "clip-after-step",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        peak: float = 50.0
        """Times the median gradient norm; healthy runs on small batches stay below 20."""
        rise: float = 1.5
        """Times the median loss before, in one of the 5 steps after the peak."""
        felt: float = 0.1
        """Times the median loss of the first `before` steps: a hard sample after all others are learned is no harm."""
        healed: int = 30
        """Steps within which a median of three losses, back at that before, says that no harm was done."""
        calm: float = 0.1
        """Largest sampled ||dW|| / ||W|| before the peak; above it the learning rate is to blame."""
        before: int = 10
        """Steps before a peak that tell what is usual."""
        growth: float = 1e3
        """First over last gradient at step 0 (torchmortem: 1000; AutoTrainer: 70)."""
        growth_in_time: float = 10.0
        """The same for a recurrent weight, whose gradient is a sum over time; sound ones stay below 3."""
        large: float = 10.0
        """Gradient norm over weight norm of the weight that explodes."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = self._tail(run) or self._depth(run)
        if found:
            yield found

    def _tail(self, run: RunFacts) -> Finding | None:
        o = self.options
        if run.steps["clip_limit"].drop_nulls().len():
            return None
        norms = run.steps["grad_norm"].cast(float).fill_null(np.nan).to_numpy()
        values = losses(run)
        moved = run.steps["update_ratio"].cast(float).fill_null(0.0).to_numpy()
        for step in range(o.before, len(norms) - 1):
            usual = float(np.nanmedian(norms[:step])) if np.isfinite(norms[:step]).any() else 0.0
            if not usual or not norms[step] >= o.peak * usual or moved[1:step].max(initial=0.0) >= o.calm:
                continue
            loss_before, after = float(np.median(values[:step][-20:])), values[step + 1 : step + 6]
            worst = float(np.nanmax(after)) if np.isfinite(after).any() else float("inf")
            least = max(o.rise * loss_before, o.felt * float(np.median(values[: o.before])))
            rest = values[step + 1 : step + 1 + o.healed]
            back = any(np.median(rest[i : i + 3]) <= loss_before for i in range(len(rest) - 2))
            if loss_before > 0 and not worst <= least and not back:
                return self._finding(
                    run,
                    f"step {step}: the gradient norm {norms[step]:.3g} is {norms[step] / usual:.0f} times the median "
                    f"before (limit {o.peak:g}), nothing clips it, and the loss rose from {loss_before:.3g} to "
                    f"{worst:.3g}",
                    step,
                    [
                        f"steps before {step}: median gradient norm {usual:.3g}, loss {loss_before:.3g}",
                        f"step {step}: gradient norm {norms[step]:.3g}",
                        f"steps after: loss {worst:.3g}",
                    ],
                )
        return None

    def _depth(self, run: RunFacts) -> Finding | None:
        o = self.options
        grads = {n: v for n, v in at_start(run, "grad_norm").items() if v > 0 and "weight" in n.rpartition(".")[2]}
        weights = at_start(run, "weight_norm")
        if len(grads) < 2:
            return None
        name = max(grads, key=lambda n: grads[n])
        # Of several networks, each with an optimizer of its own, one says nothing of another.
        several = run.calls["optimizer"].n_unique() > 1
        last = [v for n, v in grads.items() if not several or n.partition(".")[0] == name.partition(".")[0]][-1]
        growth = o.growth_in_time if "weight_hh" in name else o.growth
        if grads[name] >= growth * last and grads[name] >= o.large * weights.get(name, np.inf):
            return self._finding(
                run,
                f"at step 0 the gradient of {name} is {grads[name]:.3g}, {grads[name] / last:.2g} times that of the "
                f"last weight (limit {growth:g}): it grows on its way back, before any update",
                0,
                [f"step 0: {n} {v:.2g}" for n, v in list(grads.items())[:8]],
                name.rpartition(".")[0],
            )
        return None

    def _finding(self, run: RunFacts, message: str, step: int, chain: list[str], layer: str | None = None) -> Finding:
        recurrent = next((r["name"] for r in modules(run) if r["kind"] in ("RNN", "LSTM", "GRU") and r["calls"]), None)
        return Finding(
            message=message + (f"; {recurrent} unrolls over time" if recurrent else ""),
            place=Place(step=step, layer=recurrent or layer),
            evidence={"chain": chain},
            fix=Fix(
                # At step 0 it is the initialisation that clipping hides.
                FixSafety.SAFE if step else FixSafety.UNSAFE,
                "clip the gradient to norm 1",
                set_recipe(clip_norm=1.0),
            ),
        )
