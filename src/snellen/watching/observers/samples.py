"""Which samples a run sees: a print of each row, what its channels hold, and how its loss stands to its label.

All is taken from a strided subsample of each row on its own device and read when the facts are asked for.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from snellen.watching.bystanders import FIRST_STEP
from snellen.watching.models import roots
from snellen.watching.nests import named_tensors
from snellen.watching.observers.observer import Batch, Context
from snellen.watching.observers.prints import factors, row_prints
from snellen.watching.observers.sample_measures import Seen, measures
from snellen.watching.probes import first_tensor

VALUES = 128
"""Values of a row that are looked at, evenly spread; two images that agree in all of them are one."""
POSITIONS = 256
"""Pixels of a channel that its mean and deviation are taken from."""
CHANNELS = 32
"""Up to so many features of a flat input are told apart; more are one channel, as pixels of a flattened image are."""
ROWS = 200_000
"""Rows whose prints are kept."""
COMPARED = 1024
"""Rows whose values are kept, to be compared with each other."""
ALIGNED = 64
"""Training batches whose rows are kept in their places, and how many rows of each at most: half of it."""
DETAILED = 30
"""Batches of each phase whose channels are measured."""
JUDGED = 200
"""First and last training batches whose losses per sample are kept."""
TOGETHER = 16
"""Batches that are worked on in one go: right after a backward pass the caches hold nothing of the code."""
MOST_NUMBERS = 16
"""Numbers of a target that are compared with those of like samples."""
WIDEST = 1_000_000
"""Outputs of a batch (samples times classes) above which losses per sample are not computed."""
WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention)
NORMS = (
    nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip


class SampleObserver:
    """Keeps prints, channel statistics and losses of samples; see `sample_measures` for what becomes of them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handles: list[Any] = []
        self._picks: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}
        self._rows = {"training": 0, "validation": 0}
        self._detailed = {"training": 0, "validation": 0}
        self._seen = Seen()
        self._early: list[dict[str, Any]] = []
        self._recent: deque[dict[str, Any]] = deque(maxlen=JUDGED)
        self._waiting: list[tuple[dict[str, Any], Tensor, Tensor | None]] = []
        """Records without prints, the values those are made of, and the outputs to judge."""
        self._leaf_seen = False
        self._leaf: dict[str, Any] | None = None

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Hooks on the layers, until the first of them that has weights or normalises was called."""
        for _, root in roots(model):
            for name, module in root.named_modules():
                if isinstance(module, WEIGHTED + NORMS):
                    hook = self._context.hook("samples", self._first_layer(name))
                    self._handles.append(module.register_forward_pre_hook(hook))

    def _first_layer(self, name: str) -> Any:
        def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if self._leaf_seen:
                return
            self._leaf_seen = True
            x = first_tensor(inputs)
            if x is None or not x.is_floating_point() or not x.numel() or isinstance(module, NORMS):
                return
            x = x.detach().float()
            numbers = torch.stack([x.mean(), x.std(correction=0), x.min(), x.max(), x.square().mean().sqrt()])
            self._leaf = {"layer": name, "numbers": numbers}

        return before

    def batch(self, batch: Batch) -> None:
        """Prints and statistics of the rows of one batch."""
        if self._leaf_seen and self._handles:
            self.detach()
        if batch.step == 0 and batch.phase == "training":
            loaders = self._context.bystanders.alive(DataLoader, FIRST_STEP)
            self._seen.workers = max((loader.num_workers for loader in loaders), default=0)
        x = _rows_of(batch.inputs)
        if x is None or not x.numel() or self._rows[batch.phase] >= ROWS:
            return
        count, flat = len(x), x.reshape(len(x), -1)
        self._rows[batch.phase] += count
        values = flat.index_select(1, self._pick(flat.shape[1], flat.device)[0])
        record: dict[str, Any] = {"step": batch.step, "phase": batch.phase, "features": flat.shape[1]}
        record["beside"] = _beside(batch.inputs, x, count)
        record["ids"] = not flat.is_floating_point() and flat.dtype != torch.uint8
        labels = _labels(batch.targets, count)
        if labels is not None and not labels.is_floating_point():
            labels = labels.long()
        if labels is not None:
            record["labels"] = labels
        elif (numbers := _numbers(batch.targets, count)) is not None:
            record["numbers"] = numbers
        number = values.is_floating_point() or values.dtype == torch.uint8
        if number and batch.phase == "training":
            if self._rows["training"] - count < COMPARED:
                record["values"] = values.float()
            elif len(self._seen.batches) + len(self._waiting) < ALIGNED:
                record["values"] = values[: ALIGNED // 2].float()
        if number and (self._detailed[batch.phase] < DETAILED or batch.sampled):
            self._detailed[batch.phase] += 1
            record |= _channels(x)
        classes = labels is not None and not labels.is_floating_point()
        out = _scores(batch.outputs, count) if classes and batch.phase == "training" else None
        self._waiting.append((record, values, out))
        if len(self._waiting) >= TOGETHER:
            self._work()

    def _work(self) -> None:
        """Prints of the batches that wait, and loss, guess and confidence of their samples."""
        waiting, self._waiting = self._waiting, []
        for record, values, out in waiting:
            record["prints"] = row_prints(values, self._pick(record["features"], values.device)[1])
            for other in record.pop("beside"):
                record["prints"] = record["prints"] * 31 + row_prints(other.to(values.device))
            self._seen.batches.append(record)
            if out is not None:
                record["right"] = out.argmax(1) == record["labels"]
                if out.shape[1] > 2:
                    self._judge(out, record["labels"], record["prints"])

    def _judge(self, out: Tensor, labels: Tensor, prints: Tensor) -> None:
        shares = (out >= 0).all() & ((out.sum(1) - 1).abs() < 1e-3).all()
        logs = torch.where(shares, out.clamp_min(1e-12).log(), out.log_softmax(1))
        inside = (labels >= 0) & (labels < out.shape[1])
        own = logs.gather(1, labels.clamp(0, out.shape[1] - 1)[:, None])[:, 0]
        top, guess = logs.max(1)
        judged = {
            "prints": prints,
            "labels": torch.where(inside, labels, -1),
            "own": own,
            "top": top,
            "guess": guess,
            "classes": out.shape[1],
        }
        self._recent.append(judged)
        if len(self._early) < JUDGED:
            self._early.append(judged)

    def _pick(self, features: int, device: torch.device) -> tuple[Tensor, Tensor]:
        key = (features, device)
        if key not in self._picks:
            taken = min(features, VALUES)
            where = torch.linspace(0, features - 1, taken, dtype=torch.float64).round().long()
            self._picks[key] = (where.to(device), factors(taken).to(device))
        return self._picks[key]

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def facts(self) -> Mapping[str, Any]:
        """Rows of `measures`."""
        self._work()
        recent = list(self._recent)
        early = self._early if recent and self._early and recent[0] is not self._early[0] else []
        return {"measures": measures(self._seen, recent, early, self._leaf)}

    def state_dict(self) -> dict[str, Any]:
        """Prints, statistics and losses so far, on the CPU."""
        self._work()
        return {
            "workers": self._seen.workers,
            "batches": [_on_cpu(b) for b in self._seen.batches],
            "recent": [_on_cpu(b) for b in self._recent],
            "early": [_on_cpu(b) for b in self._early],
            "leaf": None if self._leaf is None else _on_cpu(self._leaf),
            "leaf_seen": self._leaf_seen,
            "rows": dict(self._rows),
            "detailed": dict(self._detailed),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._seen = Seen([dict(b) for b in state["batches"]], state.get("workers", 0))
        self._recent = deque((dict(b) for b in state["recent"]), maxlen=JUDGED)
        self._early = [dict(b) for b in state.get("early", ())]
        self._leaf, self._leaf_seen = state["leaf"], state["leaf_seen"]
        self._rows, self._detailed = dict(state["rows"]), dict(state["detailed"])


def _on_cpu(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.cpu() if isinstance(v, Tensor) else v for k, v in record.items()}


def _rows_of(inputs: Any) -> Tensor | None:
    """One row per sample: a batch as it is, a list of images as their strided values, all of one length."""
    if isinstance(inputs, list | tuple) and len(inputs) == 1:
        return _rows_of(inputs[0])
    if isinstance(inputs, list | tuple) and inputs and all(isinstance(x, Tensor) and x.dim() == 3 for x in inputs):
        if len({x.shape for x in inputs}) == 1:
            return torch.stack([x.detach() for x in inputs])
        parts = []
        for x in inputs:
            flat = x.detach().flatten(1)
            where = torch.linspace(0, flat.shape[1] - 1, POSITIONS, dtype=torch.float64).round().long()
            parts.append(flat.index_select(1, where.to(x.device)))
        return torch.stack(parts) if len({p.shape[0] for p in parts}) == 1 else None
    x = first_tensor(inputs)
    return None if x is None or x.dim() < 2 or x.is_complex() else x.detach()


def _beside(inputs: Any, first: Tensor, count: int) -> list[Tensor]:
    """Strided values, (N, k), of what else is given for each sample: two pictures of a pair are one row."""
    given = [t.detach() for _, t in named_tensors(inputs) if t.dim() and len(t) == count and not t.is_complex()]
    if not any(t.data_ptr() == first.data_ptr() for t in given):
        return []  # A list of images: they are the rows themselves.
    others = [t.reshape(count, -1) for t in given if t.data_ptr() != first.data_ptr() and t.numel()]
    return [t[:, :: max(t.shape[1] // VALUES, 1)].clone() for t in others[:3]]


def _scores(outputs: Any, count: int) -> Tensor | None:
    """A copy of the outputs, (N, C) float32, where they are one score per class and not too many."""
    out = first_tensor(outputs)
    if out is None or out.dim() != 2 or len(out) != count or not 2 <= out.shape[1] <= WIDEST // max(count, 1):
        return None
    return out.detach().to(torch.float32, copy=True)


def _labels(targets: Any, count: int) -> Tensor | None:
    """One number per sample, (N,), whole or not; None where the targets are something else."""
    y = targets if isinstance(targets, Tensor) else first_tensor(targets) if isinstance(targets, list | tuple) else None
    if y is None or y.is_complex() or len(y.shape) not in (1, 2) or y.shape[0] != count:
        return None
    if y.dim() == 2:
        if y.shape[1] != 1:
            return None
        y = y[:, 0]
    return y.detach().clone()


def _numbers(targets: Any, count: int) -> Tensor | None:
    """A few numbers per sample, (N, k); None where the targets are something else."""
    y = first_tensor(targets)
    if y is None or not y.is_floating_point() or y.dim() != 2 or len(y) != count or y.shape[1] > MOST_NUMBERS:
        return None
    return y.detach().clone()


def _channels(x: Tensor) -> dict[str, Any]:
    """Mean and mean square of each row's channels, (N, C), and the bounds of the whole batch."""
    if x.dim() > 2:
        flat = x.reshape(*x.shape[:2], -1)
        flat = flat[..., :: max(flat.shape[-1] // POSITIONS, 1)].float()
    else:
        flat = x[:, :, None].float() if x.shape[1] <= CHANNELS else x[:, None, :].float()
    if flat.shape[1] > CHANNELS:
        flat = flat.reshape(len(x), 1, -1)
    return {
        "mean": flat.mean(2),
        "square": flat.square().mean(2),
        "bounds": torch.stack([x.amin(), x.amax()]).float(),
    }
