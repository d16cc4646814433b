"""Recognises the loss of a watched loop by its value, and says of what kind the outputs were that went into it."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snellen.watching.batch_measures import loss_operators
from snellen.watching.loss_fit import Look, fit, look, main_part
from snellen.watching.loss_forms import values
from snellen.watching.nests import named_tensors
from snellen.watching.observers.observer import Batch, Context

FIRST = 3
"""Steps from the start that are looked at."""
FULL = 5
"""Looks with every form; a loss that none has met by then may still be one with class weights."""
MOST_FOR_WEIGHTS = 40
"""The same where class weights can still be solved for: a step for each class and two more are needed."""
SMALL = 200_000
"""Outputs up to this many numbers are looked at in every step until then."""
CONFIRM = 4
"""Looks after which a loss that was recognised is not looked at again."""
MOST_PAIRS = 6
"""Pairs of an output and a target that are tried."""

Key = tuple[str, str]


class LossObserver:
    """Compares the loss of each step with every known form of its outputs and targets.

    Class weights of the program's loss function, if it is known and has some, are one form more. A loss is looked at in
    the first steps and at some sampled ones, then no more.
    """

    def __init__(self, context: Context) -> None:
        weight = getattr(context.loss_fn, "weight", None)
        self._weight = weight.detach() if isinstance(weight, Tensor) and weight.dim() == 1 else None
        self._looks: dict[Key, list[Look]] = {}
        self._seen = 0
        self._form: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._done = False
        self._operators: list[str] = []

    def attach(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Nothing to hook: everything it sees comes with `batch`."""

    def detach(self) -> None:
        """Nothing to take off."""

    def batch(self, batch: Batch) -> None:
        """Look at one training step."""
        if not self._operators and batch.step < FIRST and isinstance(batch.loss, Tensor):
            self._operators = loss_operators(batch.loss)
        if self._done or batch.phase != "training" or batch.outputs is None or batch.loss is None:
            return
        outputs = _numbers(batch.outputs)
        if not outputs:
            return
        small = sum(t.numel() for _, t in outputs) <= SMALL
        if not (batch.step < FIRST or batch.sampled or (small and self._undecided())):
            return
        number = float(batch.loss.detach().float()) if isinstance(batch.loss, Tensor) else float(batch.loss)
        low = any(t.dtype in (torch.float16, torch.bfloat16) for _, t in outputs)
        pairs = [(o, (n, t, "")) for o, (n, t) in product(outputs, _targets(batch.targets))]
        pairs += [
            (o, (n, t, "inputs")) for o, (n, t) in product(outputs, _numbers(batch.inputs)) if o[1].shape == t.shape
        ]
        for (out_name, out), (name, target, kind) in pairs[:MOST_PAIRS]:
            found = values(
                out, target, target=kind, weight=self._weight, classes_only=self._seen >= FULL and not self._form
            )
            key = out_name, f"{kind}:{name}" if kind else name
            if found.of and (self._seen < FULL or key in self._looks):
                self._looks.setdefault(key, []).append(look(number, found, low_precision=low))
        self._seen += 1
        self._decide()

    def _undecided(self) -> bool:
        return not self._form and self._weights_possible() and self._seen < MOST_FOR_WEIGHTS

    def _decide(self) -> None:
        self._form = {}
        for (output, against), looks in self._looks.items():
            if (len(looks) <= FULL or len(looks) % 4 == 0) and (form := fit(looks)):
                self._form = form | {"output": output, "against": against} | self._given(form)
                break
        losses = [k.loss for k in next(iter(self._looks.values()), [])]
        if len(losses) >= FIRST:
            empty = not any(losses) or all(math.isnan(v) for v in losses)
            self._kept = self._empty(losses) if empty else self._partly()
        limit = CONFIRM if self._form else MOST_FOR_WEIGHTS if self._weights_possible() else FULL
        self._done = self._seen >= limit
        if self._done:
            self._looks = {}

    def _given(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """The class weights of the loss function, where the value confirms them or there is none to do so."""
        if self._weight is None or not form.get("weighted", form.get("name") in ("zero", "nan")):
            return {}
        middle = float(self._weight.double().mean()) or 1.0
        return {"weights": [round(float(w) / middle, 4) for w in self._weight]}

    def _partly(self) -> dict[str, Any]:
        """Of which pair a distance is the larger part of the loss; `name` is empty, for it is not all of it."""
        for (output, against), looks in self._looks.items():
            if part := main_part(looks):
                return {"name": "", **part, "output": output, "against": against}
        return {}

    def _weights_possible(self) -> bool:
        return any(looks[0].sums for looks in self._looks.values())

    def _empty(self, losses: Sequence[float]) -> dict[str, Any]:
        """A loss that is always 0 or NaN agrees with no form by ratio: say of which outputs and classes it is."""
        looks = next(iter(self._looks.values()))
        plain = [
            v["total"] / v["count"]
            for form, v in looks[0].values.items()
            if form.name == "cross-entropy" and not form.before and v["count"]
        ]
        about = {
            "name": "nan" if math.isnan(losses[0]) else "zero",
            "classes": looks[0].num_classes,
            "ignored_share": sum(k.ignored_share for k in looks) / len(looks),
            "cross_entropy": plain[0] if plain and math.isfinite(plain[0]) else None,
            "batches": len(losses),
        }
        return about | self._given(about)

    def facts(self) -> Mapping[str, Any]:
        """`loss_form`: what `loss_fit.fit` describes, with `output` and `against`, names of tensors; or `main_part`;
        and `loss_operators`."""
        form = self._form or self._kept
        return ({"loss_form": dict(form)} if form else {}) | (
            {"loss_operators": self._operators} if self._operators else {}
        )

    def state_dict(self) -> dict[str, Any]:
        """The form, if there is one; the looks that led to it are not kept."""
        return {"form": dict(self._form), "kept": dict(self._kept), "seen": self._seen, "done": self._done,
                "operators": self._operators}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._form, self._kept = dict(state["form"]), dict(state["kept"])
        self._operators = list(state.get("operators", []))
        self._seen, self._done = state["seen"], state["done"] or bool(state["form"])


def _numbers(value: Any) -> list[tuple[str, Tensor]]:
    """Floating tensors with at least one axis and one number, the logits of a model's output first."""
    found = [
        (n, t) for n, t in named_tensors(value) if t.is_floating_point() and t.dim() and t.numel() and not t.is_sparse
    ]
    return sorted(found, key=lambda pair: pair[0] not in ("logits", "out"))[:3]


def _targets(value: Any) -> list[tuple[str, Tensor]]:
    return [(n, t) for n, t in named_tensors(value) if t.dim() and t.numel() and not t.is_sparse][:3]
