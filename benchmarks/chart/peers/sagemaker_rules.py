"""The published thresholds of SageMaker Debugger's built-in rules, stated anew as simple rules (its own are closed).

Tensors are taken at every fifth step instead of every 500th; every rule is reported as a warning.
"""

from collections.abc import Mapping
from typing import Any

import torch
from benchmarks.chart.harness import Said, Tool
from torch import Tensor, nn

EVERY = 5
MEANS = {
    "ExplodingTensor": ["loss-not-finite", "non-finite-input", "non-finite-weights"],
    "VanishingGradient": ["vanishing-gradient", "symmetric-initialisation", "initial-scale-off"],
    "DeadRelu": ["dead-relu"],
    "SaturatedActivation": ["vanishing-gradient", "saturated-activation", "input-scale-off"],
    "PoorWeightInitialization": ["initial-scale-off", "symmetric-initialisation", "variance-lost-through-depth"],
    "WeightUpdateRatio": ["lr-too-high", "lr-too-low", "lr-zero"],
    "AllZero": ["layer-without-gradient", "gradients-erased", "dead-relu", "constant-input"],
    "UnchangedTensor": ["weights-unchanged", "optimizer-never-steps", "lr-zero", "no-backward"],
    "LossNotDecreasing": ["loss-flat"],
    "Overfit": ["overfitting"],
    "ClassImbalance": ["class-imbalance"],
    "CheckInputImages": ["input-scale-off"],
}


class Peer(Tool):
    """SageMaker's rules."""

    name = "sagemaker-rules"

    def start(self) -> None:
        """Hooks on activations."""
        self.said: dict[str, Said] = {}
        self.losses: list[float] = []
        self.before: dict[str, Tensor] = {}
        self.unchanged = 0
        self.inactive: dict[str, Tensor] = {}
        self.variances: dict[str, float] = {}
        self.means: list[float] = []
        self.counts: dict[int, list[int]] = {}
        self.handles = [m.register_forward_hook(self._hook(n)) for n, m in self.model.named_modules() if n]

    def _say(self, rule: str, message: str, place: str = "") -> None:
        self.said.setdefault(rule, Said(rule, "warning", message, place, self.steps))

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self.steps % EVERY or not module.training or not args or not isinstance(args[0], Tensor):
                return
            given = args[0].detach()
            if isinstance(module, nn.ReLU):
                active = (output.detach() > 0).float().mean(0)
                self.inactive[name] = active < 0.01
            if isinstance(module, nn.Tanh | nn.Sigmoid):
                low, high = (-9.4999, 9.4999) if isinstance(module, nn.Tanh) else (-23.0, 16.99999)
                if float(((given < low) | (given > high)).float().mean()) > 0.5:
                    self._say("SaturatedActivation", "more than half of the inputs saturate", name)
            if self.steps < 10 and isinstance(module, nn.Linear | nn.Conv2d) and given.is_floating_point():
                self.variances[name] = float(given.float().var())

        return hook

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """Look at what is there."""
        value = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
        self.losses.append(value)
        if value != value or abs(value) == float("inf"):
            self._say("ExplodingTensor", "the loss is not finite")
        if len(self.losses) > 10 and not self.steps % 10 and value > self.losses[-11] * (1 - 0.001):
            self._say("LossNotDecreasing", f"{self.losses[-11]:.4g} -> {value:.4g} in 10 steps")
        if isinstance(inputs, Tensor) and inputs.dim() == 4:
            self.means.append(abs(float(inputs.float().mean())))
        if isinstance(targets, Tensor) and isinstance(outputs, Tensor) and targets.shape == outputs.shape[:1]:
            for wanted, got in zip(targets.tolist(), outputs.argmax(-1).tolist(), strict=True):
                row = self.counts.setdefault(int(wanted), [0, 0])
                row[0] += 1
                row[1] += wanted != got
        if self.steps % EVERY == 0:
            self._weights()
        self.steps += 1

    def _weights(self) -> None:
        same = []
        for name, p in self.model.named_parameters():
            now = p.detach()
            if not bool(now.isfinite().all()):
                self._say("ExplodingTensor", f"{name} is not finite", name)
            if name in self.before:
                old = self.before[name]
                same.append(torch.allclose(now, old, rtol=1e-5, atol=1e-8))
                ratio = float((now - old).norm() / (old.norm() + 1e-9))
                if ratio > 10 or ratio < 1e-8:
                    self._say("WeightUpdateRatio", f"{name}: update ratio {ratio:.2g}", name)
            self.before[name] = now.clone()
            if p.grad is not None and not p.grad.is_sparse:
                grad = p.grad.detach()
                if not bool(grad.isfinite().all()):
                    self._say("ExplodingTensor", f"the gradient of {name} is not finite", name)
                if not bool(grad.any()):
                    self._say("AllZero", f"the gradient of {name} is all zero", name)
                elif float(grad.abs().mean()) < 1e-7:
                    self._say("VanishingGradient", f"mean |gradient| of {name} below 1e-7", name)
                if self.steps < 10 and p.dim() > 1:
                    low, high = grad.flatten()[:100000].quantile(torch.tensor([0.05, 0.95]))
                    if float(high - low) < 1e-3:
                        self._say("PoorWeightInitialization", f"gradient range of {name} below 1e-3", name)
        self.unchanged = self.unchanged + 1 if same and all(same) else 0
        if self.unchanged >= 3:
            self._say("UnchangedTensor", "no weight changed over 3 looks")
        for name, dead in self.inactive.items():
            if float(dead.float().mean()) > 0.5:
                self._say("DeadRelu", f"more than half of {name} is inactive", name)
        spread = [v for v in self.variances.values() if v > 0]
        if self.steps < 10 and spread and max(spread) / min(spread) > 10:
            self._say("PoorWeightInitialization", "variances of layer inputs differ more than tenfold")

    def epoch(self, *, train: Mapping[str, float] | None = None, val: Mapping[str, float] | None = None) -> None:
        """The gap between training and validation."""
        if train and val and "loss" in train and "loss" in val and train["loss"] > 0:
            gap = (val["loss"] - train["loss"]) / train["loss"]
            if gap > 0.1:
                self._say("Overfit", f"validation loss is {gap:.0%} above training loss")

    def findings(self) -> list[Said]:
        """In the order in which they came."""
        for handle in self.handles:
            handle.remove()
        seen = [row for row in self.counts.values() if row[0]]
        if seen and max(r[0] for r in seen) > 10 * min(r[0] for r in seen) and any(r[1] > 0.7 * r[0] for r in seen):
            self._say("ClassImbalance", "classes differ more than tenfold, and a rare one is mistaken")
        if self.means and sum(self.means) / len(self.means) > 0.2:
            self._say("CheckInputImages", "the mean of the images is above 0.2")
        return list(self.said.values())
