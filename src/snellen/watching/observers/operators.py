"""What a forward pass does below its modules: attention, activations and drops that are called as functions.

A dispatch mode sees every operator of the one forward pass it is entered for, and runs it unchanged.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

RECTIFIERS = frozenset({"aten.relu", "aten.relu_"})
SATURATING = {"aten.sigmoid": (0.5, 0.49), "aten.tanh": (0.0, 0.98)}
"""Centre, and the distance from it beyond which the slope is below 0.04 of its largest value."""
ACTIVATIONS = RECTIFIERS | frozenset(
    f"aten.{name}{inplace}"
    for name in ("gelu", "silu", "leaky_relu", "elu", "hardswish", "mish", "softplus", "tanh", "sigmoid")
    for inplace in ("", "_")
)
STEP_FUNCTIONS = frozenset(
    f"aten.{name}{inplace}"
    for name in ("round", "floor", "ceil", "trunc", "sign", "heaviside")
    for inplace in ("", "_")
)
"""Their derivative is 0 wherever it exists."""
KEEPING = frozenset(
    f"aten.{name}{inplace}"
    for name in ("add", "sub", "masked_fill", "where", "clone", "_to_copy", "copy", "contiguous", "tril", "triu")
    for inplace in ("", "_")
)
"""Operators that leave a score what it was, mask and bias aside."""
MOST_NUMBERS = 16_384
"""Numbers of a tensor from which its scale is taken."""
QUERIES = 64
"""Queries of each head whose attention is looked at, evenly spread."""
MASKED = -90.0
"""A score below this is a mask: masks are -100 and less, scores at the start a few."""
OWN_HOOKS = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.RNNBase, nn.RNNCellBase)
"""Modules whose activation is measured elsewhere, or saturates by design (gates)."""


@dataclass
class Frame:
    """A module that is running."""

    name: str
    module: nn.Module
    attention: bool = False
    """Attention ran in it or in a module inside it."""
    activation: bool = False
    block: bool = False
    """It holds a smaller module in which both ran."""
    convolutions: int = 0
    """That ran in it, up to two."""
    maps: bool = False
    """It holds a smaller module with two convolutions and an output as its input."""


@dataclass(frozen=True)
class _Lineage:
    """What became of a tensor: the constant it was multiplied by (None: no constant), and if it is q k, their width."""

    scale: float | None = 1.0
    width: int | None = None


Add = Callable[[str, str, Tensor | float], None]
"""Takes layer, signal and value."""
Note = Callable[[str, str, Mapping[str, Any]], None]
"""Takes layer, operator and what is to be kept of its call."""


class Operators(TorchDispatchMode):
    """Tells `add` of activations and attention, and `note` of step functions, drops and norms called as functions.

    `running` gives the innermost module of the moment; `padding`, where known, marks (N, T) padded tokens.
    """

    def __init__(self, running: Callable[[], Frame], add: Add, note: Note, padding: Tensor | None) -> None:
        super().__init__()
        self._running, self._add, self._note, self._padding = running, add, note, padding
        self._known: dict[int, _Lineage] = {}
        self._attentions: dict[str, int] = {}
        self.looking = True
        """Off while the observer itself computes."""
        self.failure: Exception | None = None
        """What stopped the looking, if anything did; the run went on."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operator, then look at it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.looking and self.failure is None:
            try:
                self._look(str(getattr(func, "overloadpacket", func)), func, args, kwargs, out)
            except Exception as error:  # looking must never stop the run it looks at; the observer reports it
                self.failure = error
        return out

    def _look(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        frame = self._running()
        if name in ("aten._softmax", "aten._safe_softmax"):
            lineage = self._known.get(_storage(args[0])) if args[0].is_floating_point() else None
            if lineage and lineage.width and args[0].dim() >= 3 and args[1] in (-1, args[0].dim() - 1):
                self._attend(frame, args[0], out, lineage.scale)
        elif name.startswith("aten._scaled_dot_product"):
            self._fused(frame, _bound(func, args, kwargs))
        elif name in ACTIVATIONS:
            frame.activation = True
            if not isinstance(frame.module, OWN_HOOKS) and isinstance(out, Tensor) and out.is_floating_point():
                self._activate(frame, name, out)
        elif name in STEP_FUNCTIONS:
            if out.is_floating_point() and out.dim() > 1:
                self._note(frame.name, name, {"output": list(out.shape)})
        elif name in ("aten.bernoulli_", "aten.native_dropout"):
            self._drop(frame, name, args, kwargs, out)
        elif name == "aten.native_layer_norm" and not isinstance(frame.module, nn.LayerNorm):
            self._note(frame.name, name, {"output": list(out[0].shape), "normalized_shape": [int(v) for v in args[1]]})
        self._follow(name, args, kwargs, out)

    def _follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Keep the lineage of `out`, which is q k, a multiple of something, or something new in a used address."""
        if not isinstance(out, Tensor) or not out.is_floating_point():
            return
        place = _storage(out)
        tensors = [a for a in args if isinstance(a, Tensor) and a.dim()]
        origins = [self._known.get(_storage(t), _Lineage()) for t in tensors]
        plain = name.removesuffix("_")
        if plain in ("aten.bmm", "aten.baddbmm") and len(tensors) >= 2:
            q, k = origins[-2:]
            scale = None if q.scale is None or k.scale is None else q.scale * k.scale * float(kwargs.get("alpha", 1))
            self._known[place] = _Lineage(scale, int(tensors[-2].shape[-1]))
        elif plain in ("aten.mul", "aten.div") and origins:
            lineage = max(origins, key=lambda o: o.width or 0)
            factor = _number(args[1] if args[0] is tensors[0] else args[0]) if len(tensors) == 1 else None
            if factor and lineage.scale is not None:
                scale = lineage.scale * factor if plain == "aten.mul" else lineage.scale / factor
                self._known[place] = _Lineage(scale, lineage.width)
            else:
                self._known[place] = _Lineage(None, lineage.width)
        elif (
            plain in ("aten.add", "aten.sub")
            and len({o.scale for o in origins}) > 1
            and not any(o.width for o in origins)
        ):
            self._known[place] = _Lineage(None)  # A sum, such as that of a layer and its adapter, has no one factor.
        elif plain in KEEPING and origins:
            self._known[place] = max(origins, key=lambda o: (o.width or 0, o.scale != 1.0))
        elif all(_storage(t) != place for t in tensors):
            self._known.pop(place, None)

    def _activate(self, frame: Frame, name: str, out: Tensor) -> None:
        layer = f"{frame.name}:{name.removeprefix('aten.').rstrip('_')}"
        if name in RECTIFIERS:
            x = few(out)
            self._add(layer, "zero_fraction", 1 - x.count_nonzero() / max(x.numel(), 1))
            if x.dim() > 1 and x.numel():
                self._add(layer, "dead_units", dead_units(x))
        elif (bounds := SATURATING.get(name.rstrip("_"))) is not None:
            self._add(layer, "saturation", ((some(out) - bounds[0]).abs() > bounds[1]).float().mean())

    def _drop(self, frame: Frame, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        if isinstance(frame.module, nn.modules.dropout._DropoutNd):
            return
        number = _number(args[1] if len(args) > 1 else kwargs.get("p"))
        drawn = out[0] if isinstance(out, tuple) else out
        # Stochastic depth draws one number per sample; only masks of values are meant.
        if number is not None and drawn.dim() > 1 and drawn[0].numel() > 1:
            kept = 1 - number if name == "aten.native_dropout" else number
            self._note(frame.name, name, {"p": 1 - kept, "output": list(drawn.shape)})

    def _fused(self, frame: Frame, given: Mapping[str, Any]) -> None:
        q, k = given["query"], given["key"]
        width = int(q.shape[-1])
        scale = given.get("scale") or width**-0.5
        rows = _rows(int(q.shape[-2]), q.device)
        few_q, few_k = q[:4].index_select(-2, rows).float(), k[:4].float()
        if few_k.dim() == 4 and few_k.shape[1] not in (1, few_q.shape[1]):
            few_k = few_k.repeat_interleave(few_q.shape[1] // few_k.shape[1], dim=1)  # grouped queries
        scores = few_q @ few_k.transpose(-2, -1) * scale
        mask = given.get("attn_mask")
        mask = mask if mask is not None else given.get("attn_bias")
        if mask is not None:
            mask = mask[:4] if mask.dim() == scores.dim() and mask.shape[0] > 1 else mask
            mask = mask.index_select(-2, rows) if mask.dim() > 1 and mask.shape[-2] > 1 else mask
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        if given.get("is_causal"):
            scores = scores.masked_fill(_later(rows, scores), -torch.inf)
        before = [self._known.get(_storage(t), _Lineage()).scale for t in (q, k)]
        whole = None if None in before else float(scale) * float(before[0] or 1) * float(before[1] or 1)
        few_queries = int(q.shape[-2]), rows
        self._measure(frame, scores, scores.softmax(-1), whole, width, 1, few_queries)

    def _attend(self, frame: Frame, scores: Tensor, weights: Tensor, scale: float | None) -> None:
        """`scores` and `weights` of every query, (N, heads, T, S), or (N * heads, T, S)."""
        width = int(self._known[_storage(scores)].width or 1)
        samples = 0 if self._padding is None else len(self._padding)
        heads = scores.shape[0] // samples if scores.dim() == 3 and samples and not scores.shape[0] % samples else 1
        rows = _rows(int(scores.shape[-2]), scores.device)
        s, p = (t[: 4 * heads].index_select(-2, rows).float() for t in (scores, weights))
        self._measure(frame, s, p, scale, width, heads, (int(scores.shape[-2]), rows))

    def _measure(
        self,
        frame: Frame,
        s: Tensor,
        p: Tensor,
        scale: float | None,
        width: int,
        heads: int,
        queries: tuple[int, Tensor],
    ) -> None:
        """`s` and `p`: scores and weights of some queries; `queries`: how many there are, and which these are."""
        count, which = queries
        frame.attention = True
        call = self._attentions[frame.name] = self._attentions.get(frame.name, 0) + 1
        layer = frame.name if call == 1 else f"{frame.name}:{call}"
        allowed = s > MASKED
        keys = allowed.sum(-1)
        several = keys >= 2
        entropy = -(p * p.clamp_min(1e-30).log()).sum(-1) / keys.clamp_min(2).log()
        mean = (s * allowed).nan_to_num(0.0, 0.0, 0.0).sum(-1, keepdim=True) / keys.clamp_min(1)[..., None]
        deviation = torch.where(allowed, s - mean, torch.zeros_like(s)).square().sum(-1) / keys.clamp_min(1)
        rows = several.sum().clamp_min(1)
        self._add(layer, "attention_entropy", (entropy * several).nan_to_num().sum() / rows)
        self._add(layer, "score_spread", (deviation.sqrt() * several).sum() / rows)
        if scale is not None:
            self._add(layer, "score_scale", scale * width**0.5)
        if s.shape[-1] == count > 1:
            ahead = (p * _later(which, p)).sum(-1)[..., which < count - 1]
            self._add(layer, "future_mass", ahead.nan_to_num().mean())
        if self._padding is not None and self._padding.shape[1] == s.shape[-1]:
            self._on_padding(layer, p.unflatten(0, (-1, heads)) if p.dim() == 3 else p, queries)

    def _on_padding(self, layer: str, weights: Tensor, queries: tuple[int, Tensor]) -> None:
        """Share of the weights (n, heads, t, T) of real queries that lies on padded keys, over samples with padding."""
        assert self._padding is not None
        pad = self._padding[: len(weights)].float()
        mass = (weights * pad[:, None, None, :]).sum(-1).nan_to_num()
        count, which = queries
        real = (1 - pad[:, which])[:, None, :] if count == pad.shape[1] else torch.ones_like(mass)
        real = (real * (pad.sum(1) > 0)[:, None, None]).expand_as(mass)
        if mass.shape[0] == len(pad):
            padded = (pad.sum(1) > 0).float()
            self._add(layer, "padding_mass", (mass * real).sum() / real.sum().clamp_min(1))
            self._add(layer, "padding_share", (pad.mean(1) * padded).sum() / padded.sum().clamp_min(1))


def few(x: Tensor) -> Tensor:
    """At most 4 samples of maps and sequences, 256 of vectors, in float32."""
    return (x.detach()[:4] if x.dim() > 2 else x.detach()[:256] if x.dim() else x.detach()).float()


def _rows(count: int, device: torch.device) -> Tensor:
    """Positions of at most about `QUERIES` of `count` queries, evenly spread."""
    return torch.arange(0, count, (count // QUERIES) | 1, device=device)


def _later(rows: Tensor, scores: Tensor) -> Tensor:
    """Where, among (rows, keys), the key comes after the query."""
    return torch.arange(scores.shape[-1], device=scores.device) > rows[:, None]


def some(x: Tensor) -> Tensor:
    """At most about `MOST_NUMBERS` of `few(x)`, (n, k), evenly spread: enough for a scale, which is then off by 1 %."""
    x = x.detach()[:4] if x.dim() > 2 else x.detach()[:256] if x.dim() else x.detach()[None]
    x = x.flatten(1) if x.dim() > 1 else x[:, None]
    return x[:, :: (x.numel() // MOST_NUMBERS) | 1].float()


def dead_units(x: Tensor) -> Tensor:
    """Share of the units of (n, C, ...) or (n, T, C) values, none below 0, that are 0 everywhere; 0-d."""
    units = x.dim() - 1 if x.dim() <= 3 else 1
    return (x.amax([d for d in range(x.dim()) if d != units]) == 0).float().mean()


def _storage(tensor: Any) -> int:
    return int(tensor.untyped_storage().data_ptr()) if isinstance(tensor, Tensor) else 0


def _number(value: Any) -> float | None:
    """A number, also one in a 0-d tensor of the host; None for anything else."""
    if isinstance(value, Tensor):
        return float(value) if value.dim() == 0 and value.device.type == "cpu" else None
    return float(value) if isinstance(value, int | float) else None


def _bound(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an operator by name."""
    return {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | dict(kwargs)
