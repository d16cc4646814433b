"""Records a training run of any PyTorch loop, for the rules to read.

    with snellen.watching.Recorder(model, optimizer) as recorder:
        for images, labels in loader:
            ...
            optimizer.step()
            recorder.step(loss=loss.item())
    facts = recorder.facts()

Kinds of events: `non-finite` (layer: where it began; "input" and "loss" are layers here), `gradients-erased`,
`no-backward`, `no-grad-forward`, `optimizer-never-stepped`, `columns-sum-to-one`, `output-zero-share`,
`input-scale`, `input-constant`, `mode-sensitive-layers`, `mode-sensitive-trained`, `stale-parameters`,
`gradient-not-reached`. Where an event counts steps its `step` is the first of them and its `value` how many.
`snellen.watch` adds `observer-failed` and `non-finite-operator` (message: the operator), and each observer those that
its file names.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from snellen.facts import table
from snellen.watching.facts import EPOCHS, EVENTS, SIGNALS, STEPS, RunFacts
from snellen.watching.hooks import Ledger
from snellen.watching.models import Models, Optimizers, as_list, as_one
from snellen.watching.probes import Probes, sensitive_to_mode

COUNTED = {
    "gradients-erased": "gradients arrived in backward and were gone when optimizer.step ran",
    "no-backward": "optimizer.step ran and no gradient had arrived since the last one",
    "no-grad-forward": "the model ran with gradients switched off and no other forward pass preceded the step",
    "input-constant": "every sample of the batch was the same",
    "columns-sum-to-one": "every output column sums to 1 over the batch",
}


RESOLUTION = 1e-3
"""Share of the largest dloss/doutput that its slope must make up to be told from rounding (float32: about 1e-6)."""


class Recorder:
    """Watches `model` and `optimizer`, one or several, from `__enter__` or `start` until `__exit__` or `finish`.

    `every`: steps between detailed samples (activations, updates); also the number of steps whose device results are
    read together. `folder`: facts are saved there after every epoch and at the end. `ledger`: where the time that
    watching takes, and what failed in it, are put down.
    """

    def __init__(
        self,
        model: Models,
        optimizer: Optimizers,
        *,
        every: int = 20,
        folder: Path | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every = {every}: at least 1 step")
        self._probes = Probes(as_one(model), as_list(optimizer), every, ledger)
        self._window = every
        self._folder = folder
        self._steps: list[dict[str, Any]] = []
        self._epochs: list[dict[str, Any]] = []
        self._signals: list[dict[str, Any]] = []
        self._pending: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._counts: dict[str, list[int]] = {}
        self._single: dict[str, dict[str, Any]] = {}
        self._outputs: list[list[float]] = []
        self._classes: Counter[int] = Counter()
        self._about: dict[str, Any] = {"task": "", "loss_kind": "", "metric_name": "", "finished": False}
        self._options: dict[str, Any] = {}
        self._finished = False
        self._told = 0

    def __enter__(self) -> Self:
        self._probes.attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(stopped_by(error))

    def start(
        self,
        *,
        task: str,
        num_classes: int | None = None,
        loss_kind: str = "",
        initial_loss_expected: float | None = None,
        metric_name: str = "",
        baseline_metric: float | None = None,
    ) -> None:
        """Say what is trained; the fields are those of RunFacts. Puts the hooks on."""
        self._about |= {
            "task": task,
            "num_classes": num_classes,
            "loss_kind": loss_kind,
            "initial_loss_expected": initial_loss_expected,
            "metric_name": metric_name,
            "baseline_metric": baseline_metric,
        }
        self._probes.attach()

    def step(
        self,
        *,
        loss: float | Tensor,
        epoch: int = 0,
        batch_size: int | None = None,
        targets: int | None = None,
        positives: int | None = None,
        labels: Tensor | None = None,
        grad_norm: float | None = None,
        clip_limit: float | None = None,
        seconds: float = 0.0,
        data_seconds: float = 0.0,
        skipped: bool = False,
    ) -> None:
        """Record one optimizer step; call it right after `optimizer.step()`. Fields as in `watching.facts.STEPS`.

        `loss`: a number, or a tensor of one; one that lies on a device is read with the next window.
        `labels`: class ids of the batch, integers of shape (N,) on any device; from them comes `same_class`.

        Raises:
            ValueError: `labels` are not one integer per image.
        """
        seen = self._probes.taken()
        if labels is not None:
            if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
                raise ValueError(f"labels {labels.dtype} {list(labels.shape)}: one integer per image is needed")
            seen["labels"] = labels.detach().clone()
        value: float | None = None
        if isinstance(loss, Tensor):
            loss = loss.detach()
            if loss.device.type == "cpu":
                value = float(loss.mean())
            else:
                seen["loss"] = loss.float().mean()
        else:
            value = float(loss)
        if not self._options:
            self._options = self._optimizer_options()
        row: dict[str, Any] = {
            "step": len(self._steps),
            "epoch": epoch,
            "loss": value,
            "lr": seen["sides"][0].get("lr", self._options.get("lr")),
            "grad_norm": None if grad_norm is None else float(grad_norm),
            "clip_limit": clip_limit,
            "update_ratio": None,
            "batch_size": batch_size,
            "targets": targets,
            "positives": positives,
            "same_class": None,
            "training_mode": seen.get("training"),
            "grads_before_backward": None,
            "seconds": seconds,
            "data_seconds": data_seconds,
            "skipped": skipped,
        }
        self._steps.append(row)
        self._pending.append((row, seen))
        if (value is not None and not math.isfinite(value)) or len(self._pending) >= self._window:
            self._read_device()

    def epoch(
        self,
        *,
        epoch: int,
        train_loss: float,
        val_loss: float | None = None,
        metric: float | None = None,
        train_metric: float | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Record the end of an epoch; fields as in `watching.facts.EPOCHS`. Saves to the folder, if there is one."""
        self._epochs.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "metric": metric,
                "train_metric": train_metric,
                "seconds": seconds,
            }
        )
        self._save()

    def finish(self, stop_reason: str = "") -> None:
        """End the watch: hooks off, facts saved. Calling it again does nothing."""
        if self._finished:
            return
        self._finished = True
        ended = stop_reason in ("", "finished", "early-stopping")
        self._about |= {"finished": ended, "stop_reason": stop_reason}
        self._read_device()
        self._probes.detach()
        self._save()

    def read(self) -> list[dict[str, Any]]:
        """Read the device now, and return the steps (columns of STEPS) that became known since the last call."""
        self._read_device()
        return self.fresh()

    def fresh(self) -> list[dict[str, Any]]:
        """The steps read from the device since the last call."""
        end = len(self._steps) - len(self._pending)
        begin, self._told = self._told, end
        return self._steps[begin:end]

    def gradient_norm(self, index: int) -> Tensor | None:
        """The gradient norm that optimizer `index` met at its last step since the last record; None before one."""
        norm: Tensor | None = self._probes.sides[index].seen.get("grad_norm")
        return norm

    def save_time(self, every: int, thin: bool) -> None:
        """Take detailed samples every `every` steps from the next sample on.

        `thin`: take gradient norms of the other steps from a part of each large tensor, which is off by about 5 %, and
        of many tensors from sixteen, scaled by what these made up of all at the last sample.
        """
        self._probes.every = every
        for side in self._probes.sides:
            side.thin = thin

    @property
    def every(self) -> int:
        """Steps between detailed samples now."""
        return self._probes.every

    @property
    def sampling(self) -> bool:
        """Whether the step now under way is measured in detail."""
        return self._probes.sampling

    def mean_loss(self, first_step: int = 0) -> float:
        """Mean loss of the steps from `first_step` on; NaN when there are none."""
        self._read_device()
        losses = [row["loss"] for row in self._steps[first_step:]]
        return sum(losses) / len(losses) if losses else math.nan

    def facts(self) -> RunFacts:
        """Everything recorded so far."""
        self._read_device()
        held = {id(p) for p in self._probes.held()}
        trainable = dict(self._probes.trainable())
        optimized = {n for n, p in trainable.items() if id(p) in held}
        return RunFacts(
            steps=table(STEPS, self._steps),
            epochs=table(EPOCHS, self._epochs),
            signals=table(SIGNALS, self._signals),
            events=table(EVENTS, self._events(held)),
            trainable_params=sum(p.numel() for p in trainable.values()),
            optimizer_params=sum(trainable[n].numel() for n in optimized),
            optimizer=type(self._probes.optimizers[0]).__name__,
            options=self._options or self._optimizer_options(),
            missing_from_optimizer=[n for n in trainable if n not in optimized and n not in self._moved()],
            without_gradient=sorted(self._probes.without_gradient or ()),
            output_range=self._output_range(),
            same_class=_same_class(self._classes),
            **self._about,
        )

    def state_dict(self) -> dict[str, Any]:
        """What was recorded, as plain values that `torch.load(weights_only=True)` reads."""
        self._read_device()
        return {
            "steps": self._steps,
            "epochs": self._epochs,
            "signals": self._signals,
            "counts": self._counts,
            "single": self._single,
            "outputs": self._outputs,
            "classes": dict(self._classes),
            "options": self._options,
            "step": self._probes.step,
            "optimizer_steps": [side.steps for side in self._probes.sides],
            "called": sorted(self._probes.called),
            "without_gradient": None
            if self._probes.without_gradient is None
            else sorted(self._probes.without_gradient),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._steps = [dict(row) for row in state["steps"]]
        self._epochs = [dict(row) for row in state["epochs"]]
        self._signals = [dict(row) for row in state["signals"]]
        self._counts = {kind: list(pair) for kind, pair in state["counts"].items()}
        self._single = {kind: dict(event) for kind, event in state["single"].items()}
        self._outputs = [list(row) for row in state["outputs"]]
        self._classes = Counter(state.get("classes", {}))
        self._options = dict(state["options"])
        probes = self._probes
        self._told = len(self._steps)
        probes.go_on(state["step"])
        for side, steps in zip(probes.sides, state["optimizer_steps"], strict=True):
            side.steps = steps
        probes.called = set(state["called"])
        without = state["without_gradient"]
        probes.without_gradient = None if without is None else set(without)

    def _save(self) -> None:
        if self._folder is not None:
            self.facts().save(self._folder / "signals")

    def _optimizer_options(self) -> dict[str, Any]:
        groups = self._probes.optimizers[0].param_groups
        plain = {
            key: float(value) if isinstance(value, Tensor) else value
            for key, value in groups[0].items()
            if key != "params" and isinstance(value, int | float | bool | str | Tensor | tuple | list)
        }
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
        if "weight_decay" in plain:
            plain["weight_decay"] = max(float(group.get("weight_decay", 0.0)) for group in groups)
        return plain

    def _read_device(self) -> None:
        """Read every waiting device result in one transfer, and turn it into rows and events."""
        pending, self._pending = self._pending, []
        samples = self._probes.samples()
        waiting = [seen for _, all_seen in pending for seen in (all_seen, *all_seen["sides"])]
        places = [(seen, key) for seen in waiting for key, value in seen.items() if isinstance(value, Tensor)]
        values = iter(_read([numbers for _, (_, _, numbers) in samples] + [seen[key] for seen, key in places]))
        for step, (names, signal, _) in samples:
            self._signals += [
                {"step": step, "layer": name, "signal": signal, "value": value}
                for name, value in zip(names, next(values), strict=True)
            ]
        for seen, key in places:
            seen[key] = next(values)
        for row, seen in pending:
            self._understand(row, seen)

    def _understand(self, row: dict[str, Any], seen: dict[str, Any]) -> None:
        step = row["step"]
        scalar = {k: v[0] for k, v in seen.items() if isinstance(v, list) and len(v) == 1 and k != "sides"}
        if row["loss"] is None:
            row["loss"] = scalar["loss"]
        self._understand_sides(row, seen["sides"])
        if seen["no_grad_forwards"] and not seen["grad_forwards"]:
            self._count("no-grad-forward", step)
        if scalar.get("input_varies") == 0.0:
            self._count("input-constant", step)
        if "input_std" in scalar and "input-scale" not in self._single:
            mean, std = scalar["input_mean"], scalar["input_std"]
            self._note("input-scale", step, "input", f"the first input has mean {mean:.4g} and std {std:.4g}", std)
        if "output" in seen:
            self._outputs.append(seen["output"])
            if seen["output"][3] < 5e-3 and seen["output"][0] >= 0:
                self._count("columns-sum-to-one", step)
        if labels := seen.get("labels"):
            counts = Counter(int(label) for label in labels)
            row["same_class"] = _same_class(counts)
            self._classes += counts
        if "pull" in seen:
            self._understand_pull(step, seen["pull"])
        if "non-finite" not in self._single:
            self._find_non_finite(row, seen, scalar)

    def _understand_sides(self, row: dict[str, Any], sides: list[dict[str, Any]]) -> None:
        """What each optimizer met: the norm of all gradients, whether they were left from before, or were lost."""
        step = row["step"]
        stepped = [side for side in sides if side["stepped"]]
        numbers = [{k: v[0] for k, v in side.items() if isinstance(v, list) and len(v) == 1} for side in stepped]
        if row["grad_norm"] is None and any("grad_norm" in n for n in numbers):
            row["grad_norm"] = math.hypot(*(n["grad_norm"] for n in numbers if "grad_norm" in n))
        moved = [n for n in numbers if "moved" in n]
        if moved:
            size = math.hypot(*(n["size"] for n in moved))
            row["update_ratio"] = math.hypot(*(n["moved"] for n in moved)) / max(size, 1e-12)
        alive = [n.get("alive", side.get("alive")) for n, side in zip(numbers, stepped, strict=True)]
        known = [bool(a) for a in alive if a is not None]
        row["grads_before_backward"] = any(known) if known and step > 0 else None
        for side, n in zip(stepped, numbers, strict=True):
            # LBFGS and its like run backward inside step, after our look at the gradients: then nothing can be said.
            if side["arrived"] and n.get("produced", 0.0) > 0 and not n.get("grad_norm", 0.0):
                self._count("gradients-erased", step)
            if not side["arrived"] and not side["grads_at_step"] and self._probes.has_probes:
                self._count("no-backward", step)

    def _understand_pull(self, step: int, pull: list[float]) -> None:
        """Keep what is left of dloss/doutput after the best line through it, where the line is more than rounding."""
        rest, slope, spread, top, zero = pull
        if math.isfinite(sum(pull)) and slope * spread > RESOLUTION * top > 0:
            for name, value in (("target_dependence", rest / top), ("target_seen", zero)):
                self._signals.append({"step": step, "layer": "output", "signal": name, "value": value})

    def _find_non_finite(self, row: dict[str, Any], seen: dict[str, Any], scalar: dict[str, float]) -> None:
        step, loss = row["step"], row["loss"]
        if not math.isfinite(scalar.get("input_sum", 0.0)):
            self._note("non-finite", step, "input", "the model's input holds NaN or infinity", 0.0)
        elif not math.isfinite(scalar.get("output_sum", 0.0)):
            bad = next(
                (
                    s["layer"]
                    for s in self._signals
                    if s["step"] == step and s["signal"] == "output_std" and not math.isfinite(s["value"])
                ),
                None,
            )
            where = f"first in the output of {bad}" if bad else "in its output"
            self._note("non-finite", step, bad, f"the model made NaN or infinity of a finite input, {where}", loss)
        elif not math.isfinite(loss):
            self._note("non-finite", step, "loss", "outputs are finite and the loss is not", loss)
        else:
            sides = [side for side in seen["sides"] if "grad_norms" in side]
            norms = [pair for side in sides for pair in zip(side["grad_names"], side["grad_norms"], strict=True)]
            bad = next((name for name, norm in norms if not math.isfinite(norm)), None)
            if bad and not row["skipped"]:
                self._note("non-finite", step, bad, f"loss and outputs are finite, the gradient of {bad} is not", loss)

    def _count(self, kind: str, step: int) -> None:
        self._counts.setdefault(kind, [step, 0])[1] += 1

    def _note(self, kind: str, step: int | None, layer: str | None, message: str, value: float) -> None:
        self._single[kind] = {"step": step, "kind": kind, "layer": layer, "message": message, "value": value}

    def _moved(self) -> set[str]:
        """Names of parameters whose norm is not that of the start: somebody updates them."""
        now, start = self._probes.norms(), self._probes.start_norms
        names = [name for name in now if name in start]
        pairs = _read([torch.stack([now[n].float(), start[n].float().to(now[n].device)]) for n in names])
        return {name for name, (a, b) in zip(names, pairs, strict=True) if a != b}

    def _events(self, held: set[int]) -> Iterator[dict[str, Any]]:
        yield from self._single.values()
        for kind, (step, count) in self._counts.items():
            yield {"step": step, "kind": kind, "layer": None, "message": COUNTED[kind], "value": float(count)}
        if self._outputs:
            share = sum(o[4] for o in self._outputs) / len(self._outputs)
            message = f"{share:.1%} of the first outputs are exactly 0"
            yield {"step": 0, "kind": "output-zero-share", "layer": None, "message": message, "value": share}
        sensitive = len(sensitive_to_mode(self._probes.model))
        message = f"{sensitive} layers act differently in train() and eval()"
        yield {"step": None, "kind": "mode-sensitive-layers", "layer": None, "message": message, "value": sensitive}
        trained = len(sensitive_to_mode(self._probes.model, trained=True))
        message = f"{trained} of them are trained or stand beside what is"
        yield {"step": None, "kind": "mode-sensitive-trained", "layer": None, "message": message, "value": trained}
        if stale := len(held - {id(p) for p in self._probes.model.parameters()}):
            message = f"the optimizer holds {stale} tensors that are not parameters of the model"
            yield {"step": None, "kind": "stale-parameters", "layer": None, "message": message, "value": stale}
        if self._steps and not self._probes.optimizer_steps and not self._moved():
            message = f"{len(self._steps)} steps were recorded and optimizer.step never ran"
            kind = "optimizer-never-stepped"
            yield {"step": 0, "kind": kind, "layer": None, "message": message, "value": float(len(self._steps))}
        # Used in the forward pass and still without gradient: the graph is cut behind it. Unused is another matter.
        cut = [n for n in sorted(self._probes.without_gradient or ()) if n.rpartition(".")[0] in self._probes.called]
        for name in cut:
            message = f"{name} took part in the forward pass and never received a gradient"
            yield {"step": 0, "kind": "gradient-not-reached", "layer": name, "message": message, "value": None}

    def _output_range(self) -> list[float]:
        if not self._outputs:
            return []
        rows = sum(o[2] for o in self._outputs) / len(self._outputs)
        return [min(o[0] for o in self._outputs), max(o[1] for o in self._outputs), rows]


def stopped_by(error: BaseException | None) -> str:
    """The stop reason of a loop that `error` ended, its message cut to 300 characters; "" for None."""
    if error is None:
        return ""
    text = " ".join(str(error).split())[:300]
    return f"stopped by {type(error).__name__}" + (f": {text}" if text else "")


def _same_class(counts: Counter[int]) -> float | None:
    """Share of pairs with one class; unlike entropy it is, for random batches, the same at every batch size."""
    total = counts.total()
    return sum(n * (n - 1) for n in counts.values()) / (total * (total - 1)) if total > 1 else None


def _read(tensors: list[Tensor]) -> list[list[float]]:
    """The values of `tensors` (0-d or 1-d), each a list, read in one transfer per device."""
    if not tensors:
        return []
    device = tensors[0].device
    flat = torch.cat([t.detach().reshape(-1).float().to(device) for t in tensors]).tolist()
    out: list[list[float]] = []
    at = 0
    for t in tensors:
        out.append(flat[at : at + t.numel()])
        at += t.numel()
    return out
