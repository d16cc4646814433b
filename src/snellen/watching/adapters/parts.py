"""What the adapters share: the framework, and the parts of a batch."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor

from snellen.errors import UseError

TARGETS = ("labels", "label", "targets", "target", "y")
"""Keys under which batches carry what the loss compares outputs with."""


def framework(module: str, extra: str) -> Any:
    """The framework's module. Raises UseError when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UseError(f"{package} is not installed: pip install 'snellen[{extra}]'") from error


def targets_of(batch: Any) -> Any:
    """The targets in a batch: under a usual key, or the second of a pair; None where it is neither."""
    if isinstance(batch, Mapping):
        return next((batch[key] for key in TARGETS if batch.get(key) is not None), None)
    return batch[1] if isinstance(batch, list | tuple) and len(batch) == 2 else None


def without_targets(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a batch of named tensors, its targets left out."""
    return {k: v for k, v in batch.items() if k not in TARGETS and isinstance(v, Tensor)}


def by_phase(metrics: Mapping[str, Any], phase: str) -> dict[str, float]:
    """Those metrics whose name begins with `phase`, without it: val_loss -> loss."""
    found = {}
    for name, value in metrics.items():
        if name.startswith(phase) and len(name) > len(phase) and name[len(phase)] in "_/-.":
            found[name[len(phase) + 1 :]] = float(value)
    return found
