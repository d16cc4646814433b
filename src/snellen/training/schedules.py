"""The learning rate as a pure function of the step: nothing to save, nothing to resume."""

import math

FINAL_SHARE = 0.01
"""Of the peak, where the cosine ends: the last steps still move a little."""


def learning_rate(step: int, *, peak: float, total_steps: int, warmup_steps: int, kind: str = "cosine") -> float:
    """Learning rate of the 0-based `step`.

    Warm-up: peak (step + 1) / warmup_steps while step < warmup_steps. Then, for cosine (Loshchilov 2017,
    arXiv:1608.03983, eq. 5), with t = (step - warmup_steps) / (total_steps - warmup_steps):
    low + (peak - low) (1 + cos pi t) / 2, low = 0.01 peak; else peak.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if kind == "constant":
        return peak
    t = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    low = FINAL_SHARE * peak
    return low + (peak - low) * (1 + math.cos(math.pi * t)) / 2
