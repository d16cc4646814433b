"""torchdiag 0.1: its checks of gradients, dead neurons and one whole step, at steps 0, 50 and 100."""

import contextlib
import copy
import io
import math
from typing import Any

import torch
from benchmarks.chart.harness import Said, Tool
from benchmarks.chart.peers._state import untouched

MEANS = {
    "no_grad": ["layer-without-gradient", "unused-layer", "no-backward", "forward-without-grad"],
    "EXPLODE": ["exploding-gradient", "lr-too-high", "input-scale-off", "initial-scale-off"],
    "VANISH": ["vanishing-gradient", "dead-relu", "symmetric-initialisation"],
    "dead neurons": ["dead-relu"],
    "loss not finite": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "backward failed": ["forward-without-grad", "loss-without-graph"],
    "no parameters changed": ["optimizer-holds-stale-tensors", "lr-zero", "weights-unchanged"],
}


class Peer(Tool):
    """torchdiag."""

    name = "torchdiag"

    def start(self) -> None:
        """Nothing said yet."""
        self.said: dict[Any, Said] = {}

    def _say(self, kind: str, severity: str, message: str, place: str = "") -> None:
        self.said.setdefault((kind, place), Said(kind, severity, message, place, self.steps))

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """Its three checks."""
        if self.steps in (0, 50, 100):
            with contextlib.redirect_stdout(io.StringIO()):
                self._check(inputs, targets)
        self.steps += 1

    def _check(self, inputs: Any, targets: Any) -> None:
        import torchdiag

        for name, row in torchdiag.check_gradients(self.model).items():
            if row["status"] != "OK":
                self._say(row["status"], "warning", f"{name}: {row['status']}", name)
        if len(self.models) > 1 or not isinstance(inputs, torch.Tensor):
            return
        with untouched(self.model):
            for name, row in torchdiag.check_dead_neurons(self.model, inputs).items():
                if row["dead_pct"] > 20:
                    severity = "error" if row["dead_pct"] > 50 else "warning"
                    self._say("dead neurons", severity, f"{name}: {row['dead_pct']:.0f}% neurons dead", name)
        if self.loss_fn and targets is not None and self.steps == 0:
            model, optimizer = copy.deepcopy((self.model, self.optimizers[0]))
            with untouched(self.model):
                row = torchdiag.verify_step(model, optimizer, self.loss_fn, inputs, targets)
            if not math.isfinite(row["loss"] if isinstance(row.get("loss"), float) else 0.0):
                self._say("loss not finite", "error", f"loss is {row['loss']}")
            if str(row.get("backward", "")).startswith("FAILED"):
                self._say("backward failed", "error", row["backward"])
            if row.get("params_updated") == 0:
                self._say("no parameters changed", "error", "no parameters changed")

    def findings(self) -> list[Said]:
        """Errors first."""
        return sorted(self.said.values(), key=lambda s: s.severity != "error")
