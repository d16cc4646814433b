"""The learning rate as a pure function of the step: nothing to save, nothing to resume.

Only the plateau has a memory (`Plateau`), of the validation metric; it stands in the checkpoint.

Notation: s 0-based step, W warm-up steps, H steps held, T steps of the run, E steps of an epoch, e = (s - W - H) / E
epochs since the fall began, u = (s - W - H) / (T - W - H) the part of the fall that is done, g gamma.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from snellen.training.recipe import Recipe

GAMMAS = {"step": 0.1, "inverse": 0.1, "exponential": 0.95, "halve": 0.5, "plateau": 0.1}
"""What a schedule takes for gamma where the recipe leaves it 0."""
START_SHARE = 1 / 25
END_SHARE = 1e-4
"""One-cycle: the first rate as a share of the peak, the last as a share of the first (Smith and Topin 2018)."""


@dataclass(frozen=True)
class Schedule:
    """The course of the learning rate over a run; `at` gives it. Epochs may be fractions."""

    kind: str
    """cosine, constant, step, piecewise, inverse, exponential, halve, restarts, one-cycle, plateau."""
    peak: float
    total_steps: int
    epoch_steps: int = 1
    """Optimizer steps of an epoch."""
    warmup_steps: int = 0
    warmup_start: float = 0.0
    """Share of the peak that the first step has; 0: the first of W equal stairs."""
    hold_steps: int = 0
    final: float = 0.01
    """Share of the peak where cosine and restarts end: the last steps still move a little."""
    gamma: float = 0.0
    every: float = 10.0
    milestones: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    staircase: bool = False
    """Fractional and exponential decay by whole epochs."""
    cycles: int = 3
    cycle_factor: float = 1.0
    rise: float = 0.3

    def at(self, step: int) -> float:
        """Learning rate of the 0-based `step`.

        Warm-up, of all but one-cycle: peak (s + 1) / W, or peak (r + (1 - r) s / W) from a share r on; then H steps of
        the peak; then

        * cosine (Loshchilov 2017, arXiv:1608.03983, eq. 5): low + (peak - low) (1 + cos pi u) / 2
        * restarts: the same over each of n cycles, each `cycle_factor` times as long as the one before
        * step: peak g^k, k milestones passed, or k = floor(e / every); halve: the same with g = 1/2
        * piecewise: values[k], k milestones passed
        * inverse: peak / (1 + g e); exponential: peak g^e
        * one-cycle (Smith and Topin 2018, arXiv:1708.07120; as torch's OneCycleLR): cosines up and down again
        * constant, and plateau before its first fall: peak
        """
        if self.kind == "one-cycle":
            return self._one_cycle(step)
        if step < self.warmup_steps:
            if not self.warmup_start:
                return self.peak * (step + 1) / self.warmup_steps
            return self.peak * (self.warmup_start + (1 - self.warmup_start) * step / self.warmup_steps)
        since = step - self.warmup_steps - self.hold_steps
        return self.peak if since < 0 else _FALLS[self.kind](self, since)

    @property
    def falling_steps(self) -> int:
        """Steps after warm-up and hold, T - W - H; at least 1."""
        return max(1, self.total_steps - self.warmup_steps - self.hold_steps)

    @property
    def decay(self) -> float:
        """Gamma, or what the schedule usually takes for it."""
        return self.gamma or GAMMAS.get(self.kind, 1.0)

    def cycle_ends(self) -> list[int]:
        """Restarts: the step after the last of each cycle, where the rate is lowest; empty for other kinds."""
        if self.kind != "restarts":
            return []
        n, m = self.cycles, self.cycle_factor
        parts = [i / n if m == 1 else (m**i - 1) / (m**n - 1) for i in range(1, n + 1)]
        begin = self.warmup_steps + self.hold_steps
        ends = [begin + round(self.falling_steps * part) for part in parts]
        return sorted({end for end in ends if end > begin})

    def _one_cycle(self, step: int) -> float:
        start = self.peak * START_SHARE
        top, last = self.rise * self.total_steps - 1, self.total_steps - 1
        if step <= top:
            return _eased(start, self.peak, step / top if top > 0 else 1.0)
        return _eased(self.peak, start * END_SHARE, min(1.0, (step - top) / max(last - top, 1e-9)))

    def _cosine(self, since: int) -> float:
        return _eased(self.peak, self.final * self.peak, min(1.0, since / self.falling_steps))

    def _restarts(self, since: int) -> float:
        begin, step = self.warmup_steps + self.hold_steps, self.warmup_steps + self.hold_steps + since
        for end in self.cycle_ends():
            if step < end:
                return _eased(self.peak, self.final * self.peak, (step - begin) / (end - begin))
            begin = end
        return self.final * self.peak

    def _step(self, since: int) -> float:
        epochs = since / self.epoch_steps
        passed = self._passed(epochs) if self.milestones and self.kind == "step" else int(epochs / self.every)
        return self.peak * self.decay**passed

    def _piecewise(self, since: int) -> float:
        return self.values[self._passed(since / self.epoch_steps)]

    def _inverse(self, since: int) -> float:
        return self.peak / (1 + self.decay * self._epochs(since))

    def _exponential(self, since: int) -> float:
        return float(self.peak * self.decay ** self._epochs(since))

    def _epochs(self, since: int) -> float:
        return since // self.epoch_steps if self.staircase else since / self.epoch_steps

    def _passed(self, epochs: float) -> int:
        return sum(epochs >= milestone for milestone in self.milestones)


_FALLS: dict[str, Callable[[Schedule, int], float]] = {
    "cosine": Schedule._cosine,
    "restarts": Schedule._restarts,
    "step": Schedule._step,
    "halve": Schedule._step,
    "piecewise": Schedule._piecewise,
    "inverse": Schedule._inverse,
    "exponential": Schedule._exponential,
    "constant": lambda self, since: self.peak,
    "plateau": lambda self, since: self.peak,
}


def _eased(begin: float, end: float, part: float) -> float:
    """Half a cosine from `begin` to `end`."""
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2


def schedule_of(recipe: Recipe, epoch_steps: int) -> Schedule:
    """The schedule that `recipe` names, for epochs of `epoch_steps` optimizer steps."""
    return Schedule(
        kind=recipe.schedule,
        peak=recipe.lr,
        total_steps=recipe.epochs * epoch_steps,
        epoch_steps=epoch_steps,
        warmup_steps=recipe.warmup_steps,
        warmup_start=recipe.warmup_start,
        hold_steps=recipe.hold_steps,
        final=recipe.lr_final,
        gamma=recipe.lr_gamma,
        every=recipe.lr_every,
        milestones=recipe.lr_milestones,
        values=recipe.lr_values,
        staircase=recipe.lr_staircase,
        cycles=recipe.cycles,
        cycle_factor=recipe.cycle_factor,
        rise=recipe.one_cycle_rise,
    )


@dataclass
class Plateau:
    """A factor on the learning rate that falls when the validation stands still."""

    gamma: float
    patience: int
    """Epochs without a better one that are borne; the next one lowers the rate."""
    factor: float = 1.0
    best: float = field(default=-math.inf)
    waited: int = 0

    def tell(self, merit: float) -> None:
        """Hear of an epoch's validation; higher is better, NaN is no better."""
        if merit > self.best:
            self.best, self.waited = merit, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.factor, self.waited = self.factor * self.gamma, 0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"factor": self.factor, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.factor, self.best, self.waited = state["factor"], state["best"], state["waited"]
