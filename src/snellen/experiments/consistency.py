"""Does evaluation say the same twice, and does the model say the same in both modes?"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from snellen.experiments.modes import BATCH_STATISTICS, in_mode
from snellen.experiments.snapshot import generators_kept
from snellen.experiments.subject import CannotRunError, Row, Subject

MASKS = ("dropout", "bernoulli")
"""Operators that draw a mask; others that draw numbers (`normal`, `randn`, `uniform`) sample on purpose."""
OF_PROBABILITIES = (torch.ops.aten.bernoulli.default, torch.ops.aten.bernoulli_.Tensor)
"""A mask has one probability; these are given one for each place, as units that fire by chance have."""
DRAWS = (*MASKS, "randn", "rand", "normal", "uniform", "multinomial", "exponential", "randint", "randperm")


class Draws(TorchDispatchMode):
    """Notes the operators that draw random numbers, each with the module that was running."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._running: list[str] = []
        self._names = {id(m): name for name, m in model.named_modules()}

    def watch(self, model: nn.Module) -> list[Any]:
        """Put hooks on every module, to be removed by the caller."""
        handles: list[Any] = []
        for module in model.modules():
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        return handles

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._running.append(self._names[id(module)])

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._running.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if func in OF_PROBABILITIES:
            self.found.append(("a sample of probabilities", self._running[-1] if self._running else ""))
        elif any(name.strip("_").startswith((d, f"native_{d}")) for d in DRAWS):
            self.found.append((name.strip("_"), self._running[-1] if self._running else ""))
        return func(*args, **(kwargs or {}))


def repeated_evaluation(subject: Subject) -> Iterator[Row]:
    """`evaluation-repeated`: largest difference of two passes in eval mode, over the outputs' spread; a sound one is 0.

    `layer` is the module that drew a mask, or else drew any random number, and the detail names the operator.
    """
    with in_mode(subject.model, False):
        draws = Draws(subject.model)
        handles = draws.watch(subject.model)
        try:
            with draws:
                first = subject.table()
        finally:
            for handle in handles:
                handle.remove()
        second = subject.table()
    found = sorted(draws.found, key=lambda d: not d[0].removeprefix("native_").startswith(MASKS))
    operator, layer = found[0] if found else ("", None)
    detail = f"{operator} was drawn in eval mode" if found else "no random operator ran in eval mode"
    value = float((first - second).abs().max()) / _spread(first)
    yield subject.row("evaluation-repeated", value, layer=layer, expected=0.0, detail=detail)


def train_against_eval(subject: Subject) -> Iterator[Row]:
    """The same batch in both modes.

    `mode-loss` with setting 1 (train, the mean of three passes, so that one dropout mask does not decide) and 0 (eval);
    `mode-outputs`: relative distance of the outputs of the two. Per layer with running statistics `running-statistics`:
    how far the batch's mean is from the running mean, in running standard deviations, or the logarithm (base e) of the
    ratio of the deviations, whichever is larger, median over channels; the setting is the layer's momentum.
    """
    seen: list[Row] = []
    handles = [
        m.register_forward_pre_hook(_statistics(subject, name, seen))
        for name, m in subject.model.named_modules()
        if isinstance(m, BATCH_STATISTICS) and m.running_mean is not None
    ]
    try:
        with in_mode(subject.model, False), torch.no_grad():
            outputs = subject.outputs()
            evaluated, loss = _safe_table(subject), _safe_loss(subject, outputs)
    finally:
        for handle in handles:
            handle.remove()
    losses: list[float] = []
    trained: Tensor | None = None
    with in_mode(subject.model, True), torch.no_grad(), _statistics_kept(subject.model):
        for _ in range(3):
            outputs = subject.outputs()
            trained = _safe_table(subject)
            value = _safe_loss(subject, outputs)
            losses += [value] if value is not None else []
    if loss is not None and losses:
        yield subject.row(
            "mode-loss", sum(losses) / len(losses), setting=1.0, detail="train mode, mean of three passes"
        )
        yield subject.row("mode-loss", loss, setting=0.0, detail="eval mode, same samples")
    if evaluated is not None and trained is not None and evaluated.shape == trained.shape:
        apart = float((evaluated - trained).norm() / trained.norm().clamp_min(1e-12))
        yield subject.row("mode-outputs", apart, expected=0.0, detail="relative distance of train and eval outputs")
    done: set[str] = set()
    for row in seen:
        if row["layer"] not in done:
            done.add(row["layer"])
            yield row


class _statistics_kept:  # noqa: N801  a context manager, used as a function
    """Running statistics as they were, whatever passes in train mode do to them."""

    def __init__(self, model: nn.Module) -> None:
        self._kept = [
            (b, b.detach().clone())
            for m in model.modules()
            if isinstance(m, BATCH_STATISTICS)
            for b in m.buffers(recurse=False)
        ]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        with torch.no_grad():
            for buffer, value in self._kept:
                buffer.copy_(value)


def _statistics(subject: Subject, name: str, rows: list[Row]) -> Any:
    def before(module: Any, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].detach().float()
        if x.dim() < 2 or x.shape[0] * x[0, 0].numel() < 8:
            return
        over = [d for d in range(x.dim()) if d != 1]
        mean, var = x.mean(over), x.var(over, unbiased=False)
        running_mean, running_var = module.running_mean.float(), module.running_var.float()
        shift = (mean - running_mean).abs() / (running_var + module.eps).sqrt()
        scale = 0.5 * ((var + 1e-12).log() - (running_var + 1e-12).log()).abs()
        varied = var > 1e-10
        if not bool(varied.any()):
            return
        value = float(torch.maximum(shift, scale)[varied].median())
        momentum = module.momentum
        rows.append(
            subject.row(
                "running-statistics", value, layer=name, setting=momentum, expected=0.0,
                detail=f"{type(module).__name__}, momentum {momentum}, eps {module.eps:g}",
            )
        )  # fmt: skip

    return before


def _safe_table(subject: Subject) -> Tensor | None:
    try:
        with generators_kept():
            return subject.table()
    except CannotRunError:
        return None


def _safe_loss(subject: Subject, outputs: Any) -> float | None:
    if subject.loss_fn is None and not subject.takes_targets:
        return None
    try:
        value = float(subject.loss(outputs))
    except CannotRunError:
        return None
    return value if value == value and abs(value) != float("inf") else None


def _spread(table: Tensor) -> float:
    """A scale of the outputs: their root mean square about each column's mean, or of the numbers where rows agree."""
    about = (table - table.mean(0)).square().mean().sqrt()
    return max(float(about), 1e-3 * float(table.square().mean().sqrt()), 1e-12)
