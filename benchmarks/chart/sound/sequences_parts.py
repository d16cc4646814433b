"""What several programs of `sequences_*.py` share."""

import numpy as np


class _Corridor:
    """A point is pushed left or right and must stay near a target that differs each episode."""

    def __init__(self, rng, T=20):
        self.rng, self.T = rng, T

    def reset(self):
        self.x, self.goal, self.t = self.rng.uniform(-1, 1), self.rng.uniform(-1, 1), 0
        return np.array([self.x, self.goal], dtype=np.float32)

    def step(self, a):
        self.x = float(np.clip(self.x + (-0.15, 0.0, 0.15)[a] + 0.02 * self.rng.normal(), -1.5, 1.5))
        self.t += 1
        return (
            np.array([self.x, self.goal], dtype=np.float32),
            1.0 - min(1.0, 2 * abs(self.x - self.goal)),
            self.t >= self.T,
        )
