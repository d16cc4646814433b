"""The effective receptive field: how much each input pixel sways one output, by gradients.

The gradient of the central outputs of a map with respect to the image, in absolute value, averaged over images and
summed over channels, as in Luo, Li, Urtasun & Zemel, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NeurIPS 2016. Its extent is far smaller than the theoretical field and near Gaussian.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

from snellen.facts import table
from snellen.network.facts import EFFECTIVE, NetworkFacts
from snellen.network.shadow import ExamineError
from snellen.network.stages import stages

MASS = 0.95
"""Share of the energy that the box holds."""

CELLS = 48
"""Most cells along one side of the map that the facts keep."""


@dataclass(frozen=True)
class EffectiveField:
    """What the central output of a layer is swayed by, in input pixels; the first pixel's middle is 0."""

    layer: str
    """"" for the model's output."""
    map: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    """Share of each input pixel (height, width) in the gradient's absolute value; sums to 1."""
    height: float
    """Rows of the least box around the centre of mass that holds 95 % of the map."""
    width: float
    fwhm: tuple[float, float]
    """Full width at half maximum of the map's profile over rows and over columns."""
    centre: tuple[float, float]
    """Row and column of the map's centre of mass."""

    @property
    def size(self) -> tuple[float, float]:
        """Height and width of the 95 % box."""
        return self.height, self.width

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the 95 % box; right and bottom are exclusive."""
        row, column = self.centre
        return (
            column - (self.width - 1) / 2, row - (self.height - 1) / 2,
            column + (self.width + 1) / 2, row + (self.height + 1) / 2,
        )  # fmt: skip


def effective_field(
    model: nn.Module, layer: str | None = None, images: Tensor | None = None, *,
    size: tuple[int, int] = (224, 224), samples: int = 8, seed: int = 0,
) -> EffectiveField:  # fmt: skip
    """Measure the effective receptive field of the centre of a map, with one forward and one backward pass.

    Args:
        model: With weights, on any device but meta. It runs in evaluation mode; its mode, gradients, buffers, hooks and
            the random generators are left as they were. Frozen parameters make no difference.
        layer: Dotted name of a module whose output is a map NCHW or tokens NLC; default: the model's own output.
        images: NCHW, prepared as the model takes them; default: `samples` of `size`, of standard normal noise.
        size: Height and width of the noise.
        samples: Number of noise images.
        seed: Of the noise.

    Raises:
        ExamineError: The model is on the meta device, there is no such layer, it did not run, its output is no map,
            the forward pass fails, or no gradient reaches the image.
    """
    weight = next(model.parameters(), torch.zeros(()))
    if weight.is_meta:
        raise ExamineError("an effective receptive field needs weights: this model is on the meta device")
    if layer and layer not in dict(model.named_modules()):
        raise ExamineError(f"no layer is called {layer!r}")
    if images is None:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn((samples, 3, *size), generator=generator)
    image = images.detach().to(weight.device, weight.dtype).clone().requires_grad_()
    devices = [weight.device.index or 0] if weight.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), evaluating(model), torch.enable_grad():
        out = _output_of(model, layer, image)
        target = _centre_outputs(out, image, layer or "the output").sum()
        # Gradients with respect to the image alone: none is stored in the parameters, or computed for them.
        gradient = torch.autograd.grad(target, image, allow_unused=True)[0] if target.requires_grad else None
    if gradient is None or not bool(gradient.any()):
        raise ExamineError(f"no gradient reaches the image from {layer or 'the output'}")
    return _described(layer or "", gradient.abs().sum((0, 1)).double().cpu().numpy())


def with_effective_levels(
    facts: NetworkFacts, model: nn.Module, images: Tensor | None = None, *, samples: int = 8
) -> NetworkFacts:
    """`facts` with effective fields measured, on `images` (NCHW) or on noise: of every level of a detector, of the
    last layer at each stride (`stages`) of any other network.

    One forward and one backward pass each; noise has the size that was examined. A level whose layer is not known
    keeps null. Raises ExamineError as `effective_field` does.
    """
    names = dict(model.named_modules())
    size = (facts.input_shape[-2], facts.input_shape[-1])
    wanted = list(facts.levels["layer"]) if len(facts.levels) else stages(facts)
    measured = {
        layer: effective_field(model, layer, images, size=size, samples=samples) for layer in wanted if layer in names
    }
    columns = {
        "effective_height": [measured[n].height if n in measured else None for n in facts.levels["layer"]],
        "effective_width": [measured[n].width if n in measured else None for n in facts.levels["layer"]],
    }
    levels = facts.levels.with_columns(pl.Series(name, values, pl.Float64) for name, values in columns.items())
    return replace(facts, levels=levels, effective=table(EFFECTIVE, [_row(found) for found in measured.values()]))


def _row(found: EffectiveField) -> dict[str, object]:
    rows, columns = (min(CELLS, n) for n in found.map.shape)
    down = [found.map.shape[0] * i // rows for i in range(rows)]
    across = [found.map.shape[1] * i // columns for i in range(columns)]
    heat = np.add.reduceat(np.add.reduceat(found.map, down, 0), across, 1)
    return {
        "layer": found.layer, "height": found.height, "width": found.width, "centre_row": found.centre[0],
        "centre_column": found.centre[1], "heat_rows": rows, "heat_columns": columns, "heat": heat.ravel().tolist(),
    }  # fmt: skip


def _output_of(model: nn.Module, layer: str | None, image: Tensor) -> Tensor:
    caught: list[object] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda *a: caught.append(a[2])) if layer else None
    try:
        output = model(image)
    except Exception as error:
        # Whatever a user's forward raises is told as what it is: a network that does not run on these images.
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ExamineError(f"{type(model).__name__} does not run on images of {list(image.shape)}: {text}") from error
    finally:
        if hook is not None:
            hook.remove()
    found = output if layer is None else caught[-1] if caught else None
    tensor = next((t for t in tree_iter(found) if isinstance(t, Tensor)), None)
    if tensor is None:
        raise ExamineError(f"{layer or 'the model'} gave no tensor")
    return tensor


def _centre_outputs(out: Tensor, image: Tensor, name: str) -> Tensor:
    """All channels of the central position of a map NCHW, or of tokens NLC that lie in a grid."""
    if out.dim() == 4:
        return out[:, :, out.shape[2] // 2, out.shape[3] // 2]
    if out.dim() == 3:
        height, width = image.shape[2:]
        # Tokens before the grid (a class token) belong to no place.
        for extra in range(17):
            grid = out.shape[1] - extra
            rows = round((grid * height / width) ** 0.5)
            if rows > 0 and grid % rows == 0 and abs(grid / rows * height - rows * width) < 1e-6 * height * grid:
                columns = grid // rows
                return out[:, extra + rows // 2 * columns + columns // 2]
    raise ExamineError(f"{name} is no map: its shape is {list(out.shape)}; name a layer whose output is NCHW or NLC")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode without gradients of weights; mode, buffers and `requires_grad` are put back."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    frozen = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for module, _ in modes:
            module.training = False
        for parameter, _ in frozen:
            parameter.requires_grad_(False)  # The image's gradient alone: no weight's is kept for.
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, required in frozen:
            parameter.requires_grad_(required)
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def _described(layer: str, energy: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> EffectiveField:
    energy = energy / energy.sum()
    rows, columns = energy.sum(1), energy.sum(0)
    row, column = (float(np.arange(len(p)) @ p) for p in (rows, columns))
    height, width = _energy_box(energy, row, column)
    return EffectiveField(layer, energy, height, width, (_fwhm(rows), _fwhm(columns)), (row, column))


def _energy_box(energy: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", row: float, column: float) -> tuple[
    float, float
]:  # fmt: skip
    """Sides of the least box about the centre of mass that holds `MASS`; its sides are as the profiles' deviations."""
    spread = [
        max(float(np.sqrt((np.arange(len(p)) - c) ** 2 @ p)), 0.5)
        for p, c in ((energy.sum(1), row), (energy.sum(0), column))
    ]
    reach = np.maximum(
        np.abs(np.arange(energy.shape[0]) - row)[:, None] / spread[0],
        np.abs(np.arange(energy.shape[1]) - column)[None, :] / spread[1],
    )
    reach = np.round(reach, 6)  # Pixels at one distance stay together in spite of rounding.
    order = np.argsort(reach, axis=None)
    within = np.searchsorted(np.cumsum(energy.ravel()[order]), MASS * (1 - 1e-12))
    least = float(reach.ravel()[order[min(int(within), len(order) - 1)]])
    inside = energy[reach.min(1) <= least][:, reach.min(0) <= least]
    return float(inside.shape[0]), float(inside.shape[1])


def _fwhm(profile: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    """Length over which a profile is at least half its maximum: from its first such entry to its last."""
    above = np.flatnonzero(profile >= profile.max() / 2)
    return float(above[-1] - above[0] + 1)
