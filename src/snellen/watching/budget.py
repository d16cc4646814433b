"""How often dear things may be measured, so that watching stays within its share of the time."""

import math
import statistics
from collections import deque

LONGEST = 1000
"""Steps between samples at most: a run that is hardly sampled is hardly diagnosed."""
GRACE_SECONDS = 1.0
"""Time that watching may take in all before the budget binds: a short run is better understood than fast."""
THIN_AFTER = 5
"""Steps without samples before it is judged what such steps cost."""
REMEMBERED = 20
"""Steps of each kind from which the costs are taken."""


class Budget:
    """Chooses `every` from what sampled and other steps have cost and how long a step takes."""

    def __init__(self, share: float, every: int) -> None:
        self.share, self.least, self.every = share, every, every
        self.thin = False
        """Whether steps that are not sampled must cost less than exact norms of all gradients do."""
        self._spent = 0.0
        self._sampled: deque[float] = deque(maxlen=REMEMBERED)
        self._other: deque[float] = deque(maxlen=REMEMBERED)
        self._steps: deque[float] = deque(maxlen=REMEMBERED)

    def spend(self, own: float, step: float, sampled: bool) -> None:
        """Take note of a step of `step` seconds of which watching took `own`."""
        (self._sampled if sampled else self._other).append(own)
        self._steps.append(max(step - own, 0.0))
        self._spent += own
        if len(self._other) >= THIN_AFTER and not self.thin and not sampled:
            self.thin = statistics.median(self._other) > self.share / 4 * statistics.median(self._steps)
        if self._spent > GRACE_SECONDS and self._sampled and self._other:
            other = statistics.median(self._other)
            extra = statistics.median(self._sampled) - other
            allowed = self.share * statistics.median(self._steps)
            # Where even steps without samples take more than their share, samples still get a quarter of it.
            left = max(allowed - other, allowed / 4)
            wanted = math.ceil(extra / left) if left > 0 else LONGEST
            self.every = min(max(wanted, self.least), LONGEST)
