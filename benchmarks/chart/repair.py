"""Whether the change that a tool offers mends a run: faults of the recipe, mended by the recipe.

A finding's edit is `{"op": "set-recipe", KEY: VALUE, ...}`, with keys of `SETTERS`. Each round the first root cause
with such an edit has it applied, and the run is watched again; a run counts as mended when its score comes within 5 %
of that of its healthy twin.

    python -m benchmarks.chart.repair                                              all of them, seed 0
    python -m benchmarks.chart.repair --cases 'optimizer/rate-*' --seeds 0 1 2     some of them

The chart itself does the same (`benchmarks.chart.run`): its column *mended* is this rate.
"""

import argparse
import fnmatch
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from benchmarks.chart.case import Case, all_cases
from benchmarks.chart.harness import Nothing, Said, Snellen, Tool
from benchmarks.chart.program import Program, seed_everything
from benchmarks.chart.subjects import SUBJECTS
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

RECIPE_FAULTS = frozenset({9, 10, 11, 12, 14, 17, 18, 19, 53, 57, 63, 110})
"""Types of faults that a setting of the recipe can mend: rates, decay, momentum, clipping, smoothing, dropout."""
ROUNDS = 3
"""A rate that is a hundred times too high is not found in one step."""
ENOUGH = 0.95
"""Share of the healthy score."""


def _option(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        program.options[name] = value

    return put


def _field(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        setattr(program, name, value)

    return put


def _loss(name: str) -> Callable[[Program, Any], None]:
    def put(program: Program, value: Any) -> None:
        setattr(program.loss_fn, name, value)  # A module of torch keeps its settings as attributes.

    return put


def _smoothing(program: Program, value: Any) -> None:
    """In a loss of torch its attribute; a function written out becomes cross-entropy with that smoothing."""
    if isinstance(program.loss_fn, nn.Module):
        program.loss_fn.label_smoothing = float(value)
        return

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(out.reshape(-1, out.shape[-1]), y.reshape(-1), label_smoothing=float(value))

    program.loss_fn = loss


def _clip(program: Program, value: Any) -> None:
    program.clip_norm = float(value) or None


def _schedule(program: Program, value: Any) -> None:
    if value != "constant":
        raise ValueError(f"schedule {value!r}: a program can only be set to a constant one")
    program.scheduler = None


def _optimizer(program: Program, value: Any) -> None:
    program.optimizer = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[value]


def _dropout(program: Program, value: Any) -> None:
    for module in program.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = float(value)


SETTERS: Mapping[str, Callable[[Program, Any], None]] = {
    "lr": _field("lr"),
    "weight_decay": _option("weight_decay"),
    "momentum": _option("momentum"),
    "betas": _option("betas"),
    "eps": _option("eps"),
    "optimizer": _optimizer,
    "clip_norm": _clip,
    "batch_size": _field("batch_size"),
    "accumulate": _field("accumulate"),
    "schedule": _schedule,
    "schedule_per": _field("schedule_per"),
    "label_smoothing": _smoothing,
    "loss_reduction": _loss("reduction"),
    "dropout": _dropout,
}


def settings_of(edit: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value of an edit of the recipe; empty for any other edit, or one with a key that no program has."""
    if edit.get("op") != "set-recipe":
        return {}
    found = {key: value for key, value in edit.items() if key != "op"}
    return found if all(key in SETTERS for key in found) else {}


def first_settings(said: Sequence[Said]) -> dict[str, Any]:
    """Settings that the first root cause with an edit of the recipe offers."""
    roots = (s for s in said if s.severity in ("error", "warning") and not s.causes)
    return next((found for s in roots if (found := settings_of(s.edit))), {})


def run_with(
    subject: str, change: Callable[[Program], None] | None, settings: Mapping[str, Any], tool: Tool, seed: int
) -> float | None:
    """One run of a subject after a change and with settings."""
    seed_everything(seed)
    program = SUBJECTS[subject](seed)
    if change is not None:
        change(program)
    for key, value in settings.items():
        SETTERS[key](program, value)
    return program.train(tool)


def repair(case: Case, seed: int, said: Sequence[Said], tool: Callable[[], Tool], plain: Tool) -> dict[str, Any]:
    """Scores of the healthy twin and of the run with what is offered; the settings; and how many rounds it took."""
    healthy = run_with(case.subject, None, {}, plain, seed)
    score, settings, rounds = None, dict[str, Any](), 0
    while rounds < ROUNDS and (offered := first_settings(said)):
        if settings | offered == settings:
            break
        settings |= offered
        rounds += 1
        watching = tool()
        watching.looks = ()
        score = run_with(case.subject, case.change, settings, watching, seed)
        said = watching.findings()
        if mended(score, healthy):
            break
    return {"healthy": healthy, "score": score, "settings": settings, "rounds": rounds}


def mended(score: float | None, healthy: float | None) -> bool:
    """Whether a score is near enough to that of the healthy twin."""
    return score is not None and healthy is not None and score >= ENOUGH * healthy


def main() -> None:
    """Run faults of the recipe, mend them and print what came of it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--cases", nargs="+", default=["*"], help="patterns of names of cases")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counted = good = 0
    for case in all_cases():
        if case.change is None or case.fault_number not in RECIPE_FAULTS:
            continue
        if not any(fnmatch.fnmatch(case.name, pattern) for pattern in chosen.cases):
            continue
        for seed in chosen.seeds:
            watching = Snellen()
            watching.looks = ()
            before = run_with(case.subject, case.change, {}, watching, seed)
            found = repair(case, seed, watching.findings(), Snellen, Nothing())
            suffered = not mended(before, found["healthy"])
            well = mended(found["score"], found["healthy"])
            counted, good = counted + suffered, good + (suffered and well)
            verdict = "mended" if well else "NOT MENDED"
            settings = ", ".join(f"{key} {value}" for key, value in found["settings"].items()) or "nothing offered"
            print(
                f"{verdict if suffered else 'no harm':10} {case.name} ({seed}): {_plain(before)} -> "
                f"{_plain(found['score'])}, healthy {_plain(found['healthy'])}; {settings}",
                flush=True,
            )
    print(f"{good} of {counted} runs that suffered are mended" + (f": {good / counted:.3f}" if counted else ""))


def _plain(score: float | None) -> str:
    return "none" if score is None else f"{score:.3f}"


if __name__ == "__main__":
    main()
