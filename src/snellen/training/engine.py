"""The device side of a run: precision, sharding, memory format, compilation, and how pixels become input."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import Tensor, nn

from snellen.errors import UseError
from snellen.training.pixels import normalised
from snellen.training.recipe import Recipe


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Device, precision and processes as `recipe` and the environment (torchrun's) have them.

    Raises UseError for a precision that the device has not, and for sharding where there is only one process.
    """
    plugin = None
    if recipe.sharded:
        if not torch.distributed.is_torchelastic_launched():
            raise UseError("sharded: there is one process; start several with torchrun --nproc-per-node=N")
        if recipe.ema_decay or recipe.swa_epochs:
            raise UseError("sharded: averages of weights are kept whole; set ema_decay and swa_epochs to 0")
        plugin = FullyShardedDataParallelPlugin(fsdp_version=2, reshard_after_forward=True)
    # It keeps the precision of its first object for the life of the process; another run may have another one.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision_of(recipe), cpu=not torch.cuda.is_available(), fsdp_plugin=plugin)


def precision_of(recipe: Recipe) -> str:
    """no, bf16 or fp16: what Accelerate is told. Raises UseError for fp16 without CUDA."""
    cuda = torch.cuda.is_available()
    if not recipe.amp:
        return "no"
    if recipe.amp_dtype == "auto":
        return ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if cuda else "no"
    if recipe.amp_dtype == "fp16" and not cuda:
        raise UseError("amp_dtype: fp16 needs a CUDA device; bf16 runs on a processor, too")
    return recipe.amp_dtype


class Normaliser:
    """Images (N, 3, S, S) uint8 -> the network's input, float, on the run's device."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.mean = torch.tensor(recipe.mean, device=device) * 255
        self.std = torch.tensor(recipe.std, device=device) * 255
        self.format = torch.channels_last if recipe.channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """(x - mean) / std in the recipe's memory format."""
        return normalised(images, self.mean, self.std).contiguous(memory_format=self.format)


def compiled(model: nn.Module, tell: Callable[[str], None]) -> None:
    """Let `model.forward` run compiled in training; `tell` why not, once, where that cannot be done.

    Evaluation, with its other batch sizes, runs as written. Hooks on the model itself stay outside the compiled part.
    """
    written = model.forward
    fast: Callable[..., Any] | None = torch.compile(written)

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal fast
        if fast is None or not (model.training and torch.is_grad_enabled()):
            return written(*args, **kwargs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # The compiler warns of its own dependencies.
                return fast(*args, **kwargs)
        except Exception as error:  # Its back ends raise of every kind; a fault of the network comes again below.
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            fast = None
            out = written(*args, **kwargs)
            tell(f"compile: the network runs uncompiled, {type(error).__name__}: {first[:200]}")
            return out

    model.forward = forward
