"""What a case of the chart is, and where cases are found.

A module of cases holds one `Cases` and fills it with decorators:

    cases = Cases("loop")

    @cases.mutant(1, ["mlp", "cnn"], accepts=["gradients-not-cleared"])
    def no_zero_grad(program: Program) -> None:
        '''Nobody clears the gradients.'''
        program.zero_grad = program.nothing

    @cases.restated("mlp", accepts=["gradients-not-cleared"])
    def gradients_never_zeroed(harness: Harness, seed: int) -> float: ...     # a whole loop, written out

    @cases.healthy("mlp")
    def dropout_half(program: Program) -> None: ...                            # a subject with a harmless change
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

from benchmarks.chart.program import Program, seed_everything
from benchmarks.chart.subjects import SUBJECTS
from torch import nn
from torch.optim import Optimizer

Kind = Literal["healthy", "unseen", "mutant", "restated"]
Run = Callable[["Harness", int], float | None]
Change = Callable[[Program], None]


class Harness(Protocol):
    """A tool around a run. A loop calls these and nothing else, so that every tool sees the same loop."""

    def begin(
        self,
        model: nn.Module | Sequence[nn.Module],
        optimizers: Optimizer | Sequence[Optimizer],
        *,
        loss_fn: Callable[..., Any] | None = None,
    ) -> None:
        """Before the first step, when model, optimizers and schedulers exist."""

    def step(self, *, loss: Any, inputs: Any = None, targets: Any = None, outputs: Any = None) -> None:
        """After each step; `loss` is a tensor or a number."""

    def epoch(self, *, train: Mapping[str, float] | None = None, val: Mapping[str, float] | None = None) -> None:
        """After each epoch: "loss" and, where there is one, "accuracy" (higher is better)."""


@dataclass(frozen=True)
class Case:
    """One training program and what may be said of it."""

    name: str
    """Unique: group/fault/subject."""
    kind: Kind
    group: str
    """The module it stands in: loop, loss, data, ...; "healthy" for healthy ones."""
    fault_number: int | None
    """Number of the fault type in the list that the chart follows (1..115); None: healthy, or of no listed type."""
    subject: str
    about: str
    """One sentence: what is wrong."""
    accepted: frozenset[str]
    """Names of rules that are a right diagnosis of it; empty exactly when the run is healthy."""
    place: str | None
    """Text that a right place contains (layer, parameter, input...), alternatives parted by |; None: the whole run."""
    run: Run
    """Trains once; returns the score on held-out data, higher is better, or None where there is none."""
    change: Change | None = None
    """For mutants: what it does to its subject, so that the healthy twin and a repaired run can be trained."""

    @property
    def faulty(self) -> bool:
        """Whether there is something to be found."""
        return bool(self.accepted)


class Cases:
    """The cases of one module."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.cases: list[Case] = []

    def mutant(
        self,
        number: int | None,
        subjects: Sequence[str],
        *,
        accepts: Iterable[str],
        place: str | Mapping[str, str] | None = None,
    ) -> Callable[[Change], Change]:
        """Register a change to a subject's `Program` as one case per subject. `place` may differ by subject."""
        accepted = frozenset(accepts)
        if not accepted:
            raise ValueError("a mutant needs at least one accepted diagnosis")

        def register(change: Change) -> Change:
            for subject in subjects:
                where = place.get(subject) if isinstance(place, Mapping) else place
                self._add("mutant", number, subject, change, accepted, where, train(subject, change), change)
            return change

        return register

    def mutant_loop(
        self, number: int | None, subject: str, *, accepts: Iterable[str], place: str | None = None
    ) -> Callable[[Run], Run]:
        """Register a whole loop with an injected fault that no change to a `Program` can express."""
        return self._loop("mutant", number, subject, frozenset(accepts), place)

    def restated(
        self, subject: str, *, accepts: Iterable[str], number: int | None = None, place: str | None = None
    ) -> Callable[[Run], Run]:
        """Register a whole loop with a fault that somebody really had."""
        return self._loop("restated", number, subject, frozenset(accepts), place)

    def healthy(self, *subjects: str) -> Callable[[Change], Change]:
        """Register a harmless change to subjects' `Program`."""

        def register(change: Change) -> Change:
            for subject in subjects:
                self._add(self._well(), None, subject, change, frozenset(), None, train(subject, change), change)
            return change

        return register

    def healthy_loop(self, subject: str) -> Callable[[Run], Run]:
        """Register a whole loop with nothing wrong in it."""
        return self._loop(self._well(), None, subject, frozenset(), None)

    def _well(self) -> Kind:
        return "unseen" if self.group == "unseen" else "healthy"

    def _loop(
        self, kind: Kind, number: int | None, subject: str, accepted: frozenset[str], place: str | None
    ) -> Callable[[Run], Run]:
        def register(loop: Run) -> Run:
            def run(harness: Harness, seed: int) -> float | None:
                seed_everything(seed)
                return loop(harness, seed)

            self._add(kind, number, subject, loop, accepted, place, run, None)
            return loop

        return register

    def _add(
        self,
        kind: Kind,
        number: int | None,
        subject: str,
        source: Callable[..., Any],
        accepted: frozenset[str],
        place: str | None,
        run: Run,
        change: Change | None,
    ) -> None:
        name = f"{self.group}/{source.__name__.strip('_').replace('_', '-')}/{subject}"
        about = (source.__doc__ or "").strip().splitlines()
        if not about:
            raise ValueError(f"{name}: a docstring has to say what is wrong")
        if any(case.name == name for case in self.cases):
            raise ValueError(f"{name}: there is one already")
        self.cases.append(Case(name, kind, self.group, number, subject, about[0], accepted, place, run, change))


def train(subject: str, change: Change) -> Run:
    """A run of `subject` after `change`."""
    if subject not in SUBJECTS:
        raise ValueError(f"{subject}: no such subject; there are {', '.join(SUBJECTS)}")

    def run(harness: Harness, seed: int) -> float | None:
        seed_everything(seed)
        program = SUBJECTS[subject](seed)
        change(program)
        return program.train(harness)

    return run


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case: of `faults/*.py`, `restated*.py`, `healthy*.py`, in the order of their names.

    Raises:
        ValueError: two cases share a name.
    """
    from benchmarks import chart

    found: dict[str, Case] = {}
    kinds = ("healthy", "restated")
    modules = [f"benchmarks.chart.{m.name}" for m in pkgutil.iter_modules(chart.__path__) if m.name.startswith(kinds)]
    faults = importlib.import_module("benchmarks.chart.faults")
    modules += [f"benchmarks.chart.faults.{m.name}" for m in pkgutil.iter_modules(faults.__path__)]
    for name in modules:
        module = importlib.import_module(name)
        for holder in vars(module).values():
            if isinstance(holder, Cases):
                for case in holder.cases:
                    if found.setdefault(case.name, case) is not case:
                        raise ValueError(f"{case.name}: two cases of this name")
    return tuple(found[name] for name in sorted(found))
