"""Weights of a file, from which training starts: another run's, a library's, Darknet's."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from snellen.errors import UseError
from snellen.training import checkpoint
from snellen.training.run_folder import RunFolder

NAMED = 4
"""Names of parameters told in a message."""
BACKBONE = ".conv."
"""In the name of a Darknet file that holds the first convolutions only, such as darknet53.conv.74."""


class StartError(UseError):
    """A file that holds no weights for this network."""


def start_from(model: nn.Module, path: Path) -> str:
    """Put the weights of `path` into `model` where name and shape agree, and say in a line what became of them.

    Args:
        model: The network, with its own first weights: what the file does not hold keeps them.
        path: A run folder (its best epoch); `.safetensors`; Darknet's `.weights` of the whole network, or `.conv.N` of
            its backbone, which must fit number for number; else what `torch.save` wrote, read without pickled code: a
            state dict, or one under "model" or "state_dict".

    Raises:
        StartError: Nothing of it fits. CheckpointError, WeightsError: it cannot be read.
    """
    if path.suffix == ".weights" or BACKBONE in path.name:
        return _of_darknet(model, path)
    given, own = _tensors(path), model.state_dict()
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not any(v.is_floating_point() for v in fitting.values()):
        raise StartError(f"{path}: none of its {len(given)} tensors fits, such as {_some(given)}; wanted {_some(own)}")
    model.load_state_dict(fitting, strict=False)
    left = [k for k in own if k not in fitting]
    beside = [k for k in given if k not in fitting]
    told = f"{len(fitting)} of {len(own)} tensors from {path}"
    told += f"; as initialised: {_some(left)}" if left else ""
    return told + (f"; not used: {_some(beside)}" if beside else "")


def _of_darknet(model: nn.Module, path: Path) -> str:
    from snellen.models.detection.darknet import load_weights

    if BACKBONE not in path.name:
        load_weights(model, path)
        return f"all from {path}"
    load_weights(getattr(model, "backbone", model), path)
    return f"the backbone from {path}; as initialised: all behind it"


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise StartError(f"{path}: {error}") from error
    if path.is_dir():
        run = RunFolder(path)
        path = run.best if run.best.is_file() else run.last
    state = checkpoint.load(path)
    for key in ("model", "state_dict"):
        if isinstance(state.get(key), dict):
            state = state[key]
    return {str(k).removeprefix("module."): v for k, v in state.items() if isinstance(v, torch.Tensor)}


def _some(names: dict[str, Tensor] | list[str]) -> str:
    told = ", ".join(list(names)[:NAMED])
    return told + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
