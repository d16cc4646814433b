"""What is kept of the step that became non-finite: enough to run it again, loadable without pickled code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.errors import UseError
from snellen.files import written_whole

FORMAT = 1
NAME = "blame/step.pt"
"""Where it lies in a run folder."""


@dataclass
class Captured:
    """One forward pass of a step: weights before it, batch, and the state of the generators."""

    step: int
    weights: dict[str, Tensor]
    """The model's state_dict before the update."""
    modes: list[str]
    """Names of the modules in train() mode."""
    args: list[Any]
    kwargs: dict[str, Any]
    random: dict[str, Any]
    """"torch": state of the CPU's generator; "cuda": of each CUDA device."""
    autocast: dict[str, str]
    """Device type -> dtype for which autocast was on."""
    loss: float | None = None
    targets: Any = None
    gradients: list[Tensor | None] = field(default_factory=list)
    """Of the loss by each tensor among the outputs, as backward brought them."""
    left_out: list[str] = field(default_factory=list)
    """What the batch held beside tensors and plain values, and is missing here."""
    device: str = "cpu"

    def save(self, run: Path) -> None:
        """Write it into the run folder."""
        left_out: list[str] = list(self.left_out)
        state = {f.name: _plain(getattr(self, f.name), left_out) for f in fields(self)}
        with written_whole(run / NAME) as temporary:
            torch.save({**state, "left_out": left_out, "format": FORMAT}, temporary)

    @classmethod
    def load(cls, run: Path) -> "Captured":
        """Read what `save` wrote, on the CPU. Raises UseError when there is none or it is damaged."""
        path = run / NAME
        if not path.is_file():
            raise UseError(f"{run}: nothing to replay; a watched run keeps the step in which it became non-finite")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state.pop("format") != FORMAT:
                raise UseError(f"{path}: written by another version of Snellen")
            return cls(**state)
        except UseError:
            raise
        except Exception as error:  # torch.load raises many kinds on a damaged or hostile file
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UseError(f"{path}: cannot be read: {first}") from error

    def prepare(self, model: nn.Module) -> None:
        """Give `model` the weights and modes of that step. Raises UseError when it is another model."""
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise UseError(
                f"replay: the model is not the one that was watched: {str(error).splitlines()[-1]}"
            ) from error
        modes = set(self.modes)
        for name, module in model.named_modules():
            module.training = name in modes

    @contextmanager
    def as_then(self) -> Iterator[None]:
        """Within: generators as they were before the forward pass, and the same autocast. The caller keeps its own."""
        devices = list(range(torch.cuda.device_count())) if self.random["cuda"] else []
        with torch.random.fork_rng(devices):
            torch.set_rng_state(self.random["torch"])
            if devices:
                torch.cuda.set_rng_state_all(self.random["cuda"])
            contexts = [torch.autocast(kind, getattr(torch, dtype)) for kind, dtype in self.autocast.items()]
            for context in contexts:
                context.__enter__()
            try:
                yield
            finally:
                for context in reversed(contexts):
                    context.__exit__(None, None, None)


def autocast_now() -> dict[str, str]:
    """Device type -> dtype for which autocast is on."""
    on = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    return {kind: str(torch.get_autocast_dtype(kind)).removeprefix("torch.") for kind in on}


def generators_now(cuda: bool) -> dict[str, Any]:
    """State of the generators that layers draw from."""
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if cuda else []}


def _plain(value: Any, left_out: list[str]) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, bool | int | float | str | None):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v, left_out) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(v, left_out) for v in value]
        return tuple(items) if type(value) is tuple else items
    left_out.append(type(value).__name__)
    return None
