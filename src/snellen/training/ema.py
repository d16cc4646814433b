"""An exponential moving average of the weights (Polyak 1992): steadier than the weights of the last step."""

from typing import Any

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The averaged state of a model; `values` is a state dict."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int) -> None:
        """avg += (1 - d) (now - avg), d = min(decay, (1 + step) / (10 + step)): young averages forget the start."""
        d = min(self.decay, (1 + step) / (10 + step))
        for name, now in model.state_dict().items():
            if now.is_floating_point():
                self.values[name].lerp_(now.to(self.values[name].dtype), 1 - d)
            else:
                self.values[name].copy_(now)

    def after_epoch(self, model: nn.Module) -> None:
        """Nothing: steps count."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Put back what `state_dict` gave."""
        self.values = {k: v.to(device) for k, v in state["values"].items()}
