"""States of a model and an optimizer whose tensors may be divided among processes (FSDP), as whole tensors."""

from typing import Any

from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: nn.Module) -> bool:
    """Whether parameters of `model` are divided among processes."""
    return any(isinstance(p, DTensor) for p in model.parameters())


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of `model` with whole tensors; every process must call it."""
    return {name: _whole(value) for name, value in model.state_dict().items()}


def load_whole_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put `whole_state` back. Raises RuntimeError, as `load_state_dict` does, where names or shapes differ."""
    now = model.state_dict()
    model.load_state_dict({name: _divided_as(now.get(name), value) for name, value in state.items()})


def whole_optimizer_state(optimizer: Any) -> dict[str, Any]:
    """The state dict of an optimizer with whole tensors; every process must call it."""
    state: dict[str, Any] = optimizer.state_dict()
    return {**state, "state": {k: {n: _whole(v) for n, v in own.items()} for k, own in state["state"].items()}}


def load_whole_optimizer_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Put `whole_optimizer_state` back."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    divided = {
        k: {n: _divided_as(parameters[k], v) if isinstance(v, Tensor) and v.ndim else v for n, v in own.items()}
        for k, own in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": divided})


def _whole(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _divided_as(pattern: Any, value: Tensor) -> Tensor:
    if not isinstance(pattern, DTensor):
        return value
    divided: Tensor = distribute_tensor(value.to(pattern.device), pattern.device_mesh, pattern.placements)
    return divided


def norm_of(value: Tensor) -> float:
    """A gradient norm as a number, whole where it is divided."""
    whole: Tensor = _whole(value)
    return float(whole)
