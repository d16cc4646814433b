"""All experiments on one subject, within a time: what the preflight does, and what a watch does on a copy."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from snellen.experiments.consistency import repeated_evaluation, train_against_eval
from snellen.experiments.dependence import cross_sample, input_dependence
from snellen.experiments.fitting import SAMPLES as DRILLED
from snellen.experiments.fitting import overfit_one_batch
from snellen.experiments.linearity import midpoint
from snellen.experiments.losses import batch_size, initial_loss
from snellen.experiments.nest import samples
from snellen.experiments.rates import LEAST_SWEEP, rate_range, rate_trials
from snellen.experiments.reach import gradient_reach, memory, optimizer_coverage
from snellen.experiments.sequences import answer_seen, future, padding, token_order
from snellen.experiments.snapshot import restored
from snellen.experiments.subject import CannotRunError, Clock, Row, Subject, first_line
from snellen.progress import Progress, silent

Experiment = Callable[[Subject], Iterable[Row]]
SAMPLES = 8
"""Samples in experiments on outputs; enough for what they tell, and cheap."""
FEWEST = 4
"""... of networks that take seconds for them."""


@dataclass(frozen=True)
class Passes:
    """An experiment and what it costs."""

    name: str
    run: Experiment
    passes: float
    """About how many forward passes of its samples it takes; a backward counts as two."""


OUTPUT_LEVEL: tuple[Passes, ...] = (
    Passes("sample-spread", input_dependence, 4),
    Passes("evaluation-repeated", repeated_evaluation, 2),
    Passes("midpoint", midpoint, 3),
    Passes("cross-sample", cross_sample, 9),
    Passes("position-blindness", token_order, 1),
    Passes("future-leakage", future, 0.5),
    Passes("answer-seen", answer_seen, 0.5),
    Passes("padding-attended", padding, 0.5),
)
"""Experiments on outputs alone."""

CAUTION = 1.3
"""A pass may take so much longer than the dearest before it."""
LEAST_STEPS = 20
"""Steps below which learning a batch by heart says nothing."""

BOTH_MODES = Passes("mode-loss", train_against_eval, 4)


def output_level(subject: Subject, clock: Clock, *, modes: bool = False) -> Iterator[Row]:
    """The experiments on outputs, on 8 samples; with `modes` train against eval too, on up to 32."""
    yield from _each(at_most(subject, SAMPLES), OUTPUT_LEVEL, clock)
    if subject.loss_fn is not None:
        yield from _each(at_most(subject, SAMPLES), (Passes("batch-loss", batch_size, 4),), clock)
    if modes:
        yield from _each(at_most(subject, 32), (BOTH_MODES,), clock)


def everything(
    subject: Subject, seconds: float = 60.0, progress: Progress = silent, batches: Sequence[Subject] = ()
) -> list[Row]:
    """All experiments, each on a snapshot that is put back bit for bit; what does not fit into `seconds` is named.

    The rows come in the order of the experiments. The costly ones share what the cheap ones leave: learning a batch by
    heart gets half of it, the sweep of rates and the trial steps the rest. After the first of them the outputs of the
    trained copy are looked at again (`step` 1 and more says so), because a network with a zero head depends on nothing
    before it has learned.
    """
    clock = Clock(seconds)
    rows = list(_each(subject, (Passes("initial-loss", initial_loss, 1),), clock))
    # Twenty-odd passes on the few samples shall not take more than a third of the time.
    few = at_most(subject, SAMPLES if clock.passes(SAMPLES) > 75 else FEWEST)
    half = few if clock.passes(32) < 75 else at_most(subject, 32)
    stages: list[tuple[str, Callable[[], Iterable[Row]]]] = [
        ("gradient-reach", lambda: _each(subject, (Passes("gradient-reach", gradient_reach, 3),), clock)),
        ("optimizer-coverage", lambda: optimizer_coverage(subject)),
        *((p.name, _one(few, p, clock)) for p in OUTPUT_LEVEL),
        ("batch-loss", lambda: _each(few, (Passes("batch-loss", batch_size, 4),), clock)),
        ("mode-loss", lambda: _each(half, (BOTH_MODES,), clock)),
        ("memory", lambda: _each(subject, (Passes("memory", memory, 3),), clock)),
        ("overfit", lambda: _learned(subject, clock)),
        ("lr-trial", _timed(subject, few, "lr-trial", lambda s: rate_trials(s, clock.part(clock.left * 0.45)), clock)),
        ("lr-range", _timed(subject, few, "lr-suggestion", lambda s: rate_range(s, clock, batches), clock)),
    ]  # fmt: skip
    for number, (name, stage) in enumerate(stages):
        progress("preflight", number, len(stages), name)
        rows += stage()
    progress("preflight", len(stages), len(stages), "")
    return rows


def _one(subject: Subject, part: Passes, clock: Clock) -> Callable[[], Iterable[Row]]:
    return lambda: _each(subject, (part,), clock)


def _learned(subject: Subject, clock: Clock) -> Iterator[Row]:
    """Overfitting, and a second look at the outputs of what it learned."""
    mine = clock.part(clock.left * 0.5)
    if mine.passes(min(samples(subject.inputs) or 1, DRILLED)) < 3 * LEAST_STEPS:
        yield subject.row("overfit-loss", None, detail=f"left out: time for less than {LEAST_STEPS} steps")
        return
    with restored(subject.model, subject.optimizer):
        yield from _safely(subject, "overfit-loss", lambda s: overfit_one_batch(s, mine))
        later = at_most(replace(subject, optimizer=None, step=1), SAMPLES)
        yield from _each(later, (OUTPUT_LEVEL[0], OUTPUT_LEVEL[4]), clock)


def _timed(subject: Subject, few: Subject, name: str, run: Experiment, clock: Clock) -> Callable[[], Iterable[Row]]:
    """On the batch, or on `few` of its samples where steps on all of them would not fit."""

    def stage() -> Iterable[Row]:
        if clock.left <= 0:
            return [subject.row(name, None, detail="left out: time")]
        whole = clock.passes(samples(subject.inputs) or 1) > 6 * LEAST_SWEEP
        return _safely(subject if whole else few, name, run)

    return stage


def at_most(subject: Subject, samples: int) -> Subject:
    """The first samples, or the batch as it is where it cannot be cut."""
    try:
        return subject.smaller(samples)
    except CannotRunError:
        return subject


def _each(subject: Subject, parts: Iterable[Passes], clock: Clock) -> Iterator[Row]:
    """Run `parts` one after the other; one that would not fit into the time is named and left out."""
    count = samples(subject.inputs) or 1
    for part in parts:
        if clock.left <= 0 or CAUTION * part.passes > clock.passes(count):
            yield subject.row(part.name, None, detail="left out: time")
            continue
        began = time.perf_counter()
        with restored(subject.model, subject.optimizer):
            yield from list(_safely(subject, part.name, part.run))
        # The dearest so far: a foretold time that is too long leaves out a trial, one too short breaks the promise.
        clock.cost = max(clock.cost, (time.perf_counter() - began) / part.passes / count)


def _safely(subject: Subject, name: str, run: Experiment) -> Iterator[Row]:
    """The rows of an experiment; whatever it raises becomes a row that says why there is no value."""
    try:
        yield from run(subject)
    except CannotRunError as error:
        yield subject.row(name, None, detail=str(error))
    except Exception as error:
        yield subject.row(name, None, detail=f"{type(error).__name__}: {first_line(error)}")
