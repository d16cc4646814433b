"""guardtower 0.1: one instrumented step on the first batch, and its monitor for NaN through the whole run.

Its audit needs a closure of the loss; where a loop has no loss of (outputs, targets) it is left out.
"""

import warnings
from typing import Any

import torch
from benchmarks.chart.harness import Said, Tool
from benchmarks.chart.peers._state import untouched

MEANS = {
    "loss": ["forward-without-grad", "loss-without-graph", "loss-not-finite"],
    "LOSS-001": ["forward-without-grad", "loss-without-graph"],
    "backward": ["forward-without-grad", "loss-without-graph"],
    "train_mode": ["model-in-eval-mode"],
    "grad_connectivity": ["layer-without-gradient", "dead-relu", "symmetric-initialisation"],
    "GRAD-001": ["layer-without-gradient", "unused-layer"],
    "optimizer_coverage": ["frozen-parameters"],
    "OPT-001": ["parameters-missing-from-optimizer", "optimizer-holds-stale-tensors"],
    "frozen": ["frozen-parameters", "only-norms-train"],
    "weight_tying": ["layer-repeated"],
    "nonfinite": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "monitor": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "dead_relu": ["dead-relu", "relu-on-logits"],
    "grad_norms": ["exploding-gradient", "vanishing-gradient", "initial-scale-off", "input-scale-off"],
    "INPUT-001": ["input-ignored", "constant-output", "dead-relu"],
    "device_dtype": ["mixed-dtypes"],
    "LORA-001": ["lora-base-trainable"],
    "LORA-002": ["lora-adapter-frozen"],
    "LORA-003": ["parameters-missing-from-optimizer"],
}
SEVERITY = {"INFO": "info", "WARN": "warning", "ERROR": "error"}


class Peer(Tool):
    """guardtower."""

    name = "guardtower"

    def start(self) -> None:
        """Put the monitor on."""
        import guardtower

        self.said: list[Said] = []
        self.monitor = guardtower.monitor(self.model, on_nonfinite="warn")
        self.monitor.__enter__()

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """Audit at the first step."""
        if self.steps == 0 and self.loss_fn and isinstance(inputs, torch.Tensor) and targets is not None:
            self._audit(inputs.detach().clone(), targets)
        self.steps += 1

    def _audit(self, inputs: torch.Tensor, targets: Any) -> None:
        import guardtower

        with untouched(self.model), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = guardtower.audit(
                self.model,
                lambda: self.loss_fn(self.model(inputs), targets),
                optimizer=self.optimizers[0],
                inputs=inputs,
            )
        for f in sorted(report.findings, key=lambda f: -f.severity):
            names = [str(x) for v in f.details.values() if isinstance(v, list | dict) for x in v]
            self.said.append(Said(f.catalog_id or f.check, SEVERITY[f.severity.name], f.message, " ".join(names), 0))

    def findings(self) -> list[Said]:
        """The audit's, then the monitor's."""
        self.monitor.__exit__(None, None, None)
        hits = list(dict.fromkeys(self.monitor.hits))
        if hits:
            self.said.append(Said("monitor", "error", f"non-finite activation in {hits[0]}", hits[0]))
        return self.said
